"""A small image as Debian's are: a busybox, packages that dpkg knows, and a site of an author's own.

The site's scripts put their paths together, so that nothing but running them shows what they read:

    /cgi-bin/show?PATH     prints /usr/share/PATH
    /cgi-bin/there?PATH    says whether there is /usr/share/PATH, without opening it
    /cgi-bin/list?PATH     lists the folder
    /cgi-bin/now           says what time it is, and something that was never said before
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from support import samples
from support.containers import need

from ramekin.build import configure, request
from ramekin.image import compress, layer, oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, History, Manifest, RootFS, Runtime
from ramekin.image.tree import Entry, Tree, directory, file, symlink
from ramekin.store.store import Store

SHELL = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nplace=/usr/share/${QUERY_STRING}\n"
SCRIPTS = {
    "show": SHELL + 'cat "$place" || echo "cannot show it"\n',
    "there": SHELL + 'if test -e "$place"; then echo yes; else echo no; fi\n',
    "list": SHELL + 'ls "$place"\n',
    "now": SHELL + "date +%s; cat /proc/sys/kernel/random/uuid\n",
}
LINKS = ("sh", "cat", "ls", "httpd", "test", "date", "sleep", "printf", "true", "false", "env", "head", "dd")
PACKAGES: Mapping[str, Mapping[str, bytes]] = {
    "greetings": {
        "usr/share/greetings/hello": b"hello from a package\n",
        "usr/share/greetings/later": b"hello again\n" * 100,
    },
    "plugins": {"usr/share/plugins/one.so": b"1" * 1000, "usr/share/plugins/two.so": b"2" * 1000},
    "unused": {"usr/share/unused/big": bytes(range(256)) * 4000},
    "told": {
        "usr/share/told/locale-file": b"l" * 500,
        "usr/share/told/other": b"o" * 500,
    },
}
HTTPD = ("httpd", "-f", "-p", "8000", "-h", "/srv")
DATE = 1_700_000_000


def tree() -> Tree:
    """All files of the image."""
    need("busybox")
    busybox = Path(shutil.which("busybox") or "").resolve().read_bytes()
    entries: list[Entry] = [
        *(directory(path) for path in ("tmp", "run", "var/log", "srv/cgi-bin")),
        file("usr/bin/busybox", busybox, mode=0o755),
        *(symlink(f"usr/bin/{name}", "busybox") for name in LINKS),
        symlink("bin", "usr/bin"),
        file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:998:997::/srv:/bin/sh\n"),
        file("etc/group", b"root:x:0:\nweb:x:997:\n"),
        file(
            "srv/index.html", b"<a href='/about.html'>about</a><a href='/cgi-bin/show?greetings/hello'>x</a>"
        ),
        file("srv/about.html", b"<h1>about</h1>"),
    ]
    entries += [file(f"srv/cgi-bin/{name}", text.encode(), mode=0o755) for name, text in SCRIPTS.items()]
    status = ["Package: busybox\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"]
    lists = {"busybox": ["usr/bin/busybox", *(f"usr/bin/{name}" for name in LINKS)]}
    for name, files in PACKAGES.items():
        status.append(f"Package: {name}\nStatus: install ok installed\nVersion: 1.0\nArchitecture: all\n")
        lists[name] = list(files)
        entries += [file(path, data) for path, data in files.items()]
    entries.append(file("var/lib/dpkg/status", "\n".join(status).encode()))
    entries += [
        file(f"var/lib/dpkg/info/{name}.list", "".join(f"/{path}\n" for path in paths).encode())
        for name, paths in lists.items()
    ]
    return Tree(entries).with_parents()


def image(
    store: Store,
    *,
    cmd: Sequence[str] = HTTPD,
    architecture: str = "",
    expose: int | None = 8000,
    health: Sequence[str] = (),
    files: Sequence[Entry] = (),
) -> Image:
    """The image, in `store`. `files` stand in place of its own of the same name, or beside them."""
    made = layer.write(tree().plus(files), store, compress.parse("gzip:1"))
    here = configure.platform(request.host_architecture())
    config = Config(
        architecture=architecture or here.architecture,
        os="linux",
        config=Runtime(
            cmd=tuple(cmd),
            env=("PATH=/usr/bin",),
            exposed_ports={f"{expose}/tcp": {}} if expose is not None else None,
        ),
        rootfs=RootFS(type="layers", diff_ids=(made.diff_id,)),
        history=(History(created_by="a test"),),
        created="2023-11-14T22:13:20Z",
    )
    data = oci.encode(config)
    if health:
        plain = msgspec.json.decode(data)
        plain["config"]["Healthcheck"] = {"Test": list(health)}
        data = msgspec.json.encode(plain)
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=samples.keep(store, data, oci.CONFIG),
        layers=(made.descriptor,),
    )
    return samples.of_manifest(store, manifest, platform=here)
