"""Images made by hand to select from: a few files of each ecosystem, with the databases that tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from support import samples

from ramekin.image import compress, layer, oci
from ramekin.image.image import Image
from ramekin.image.oci import Config, History, Manifest, RootFS, Runtime
from ramekin.image.tree import Entry, Tree, directory, file, symlink
from ramekin.slim import contents as contents_of
from ramekin.slim.contents import Contents
from ramekin.slim.observation import Observation
from ramekin.store.store import Store

PLAIN = compress.Compression("none", 0)
Files = Mapping[str, bytes | str]


def entries(files: Files) -> list[Entry]:
    """Files by path: text that starts with `-> ` is a symbolic link, a path ending in `/` a folder; what lies
    in a `bin` folder, or is a script, may be run.
    """
    made: list[Entry] = []
    for path, content in files.items():
        if path.endswith("/"):
            made.append(directory(path.rstrip("/")))
        elif isinstance(content, str) and content.startswith("-> "):
            made.append(symlink(path, content[3:]))
        else:
            data = content.encode() if isinstance(content, str) else content
            runs = "bin/" in path or data[:2] == b"#!"
            made.append(file(path, data, mode=0o755 if runs else 0o644))
    return made


def image(store: Store, *layers: Files, run: Runtime | None = None) -> Image:
    """An image of layers of files, lowest first."""
    written = [
        layer.write(Tree(entries(files)).with_parents(), store, compress.parse("gzip:1")) for files in layers
    ]
    config = Config(
        architecture="amd64",
        os="linux",
        created="2026-01-01T00:00:00Z",
        config=run or Runtime(),
        rootfs=RootFS("layers", tuple(one.diff_id for one in written)),
        history=tuple(History(created_by=f"step {number}") for number, _ in enumerate(written)),
    )
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=samples.keep(store, oci.encode(config), oci.CONFIG),
        layers=tuple(one.descriptor for one in written),
    )
    return samples.of_manifest(store, manifest, platform=samples.AMD64)


def contents(store: Store, tmp_path: Path, *layers: Files, run: Runtime | None = None) -> Contents:
    """The same, read."""
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    return contents_of.read(image(store, *layers, run=run), name="the image", spool=spool)


def seen(*opened: str, executed: Sequence[str] = ()) -> Observation:
    """An observation of files that were opened."""
    return Observation(opened=tuple(sorted({*opened, *executed})), executed=tuple(executed))


def dpkg(packages: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, str]:
    """dpkg's database: by package, further fields of its paragraph and the files that it has."""
    status = []
    found: dict[str, str] = {}
    for name, (fields, paths) in packages.items():
        lines = "".join(f"{line}\n" for line in fields.split("\n") if line)
        status.append(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n{lines}"
        )
        found[f"var/lib/dpkg/info/{name}.list"] = "".join(f"/{path}\n" for path in ("", *paths))
        found[f"var/lib/dpkg/info/{name}.postinst"] = "#!/bin/sh\n"
    return {"var/lib/dpkg/status": "\n".join(status), **found}


def distribution(
    name: str,
    modules: Mapping[str, str],
    *,
    requires: Sequence[str] = (),
    entry_points: str = "",
    site: str = "usr/local/lib/python3.12/site-packages",
) -> dict[str, str]:
    """A Python distribution as pip installs one."""
    folder = f"{site}/{name}-1.0.dist-info"
    files = {f"{site}/{path}": text for path, text in modules.items()}
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files[f"{folder}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}\nText.\n"
    if entry_points:
        files[f"{folder}/entry_points.txt"] = entry_points
    listed = [path.removeprefix(site + "/") for path in (*files, f"{folder}/RECORD")]
    files[f"{folder}/RECORD"] = "".join(f"{path},,\n" for path in listed)
    return files


def package_json(name: str, **fields: object) -> bytes:
    """A package.json."""
    return msgspec.json.encode({"name": name, "version": "1.0.0", **fields})
