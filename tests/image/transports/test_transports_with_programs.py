"""Every transport against the programs that its users have: docker-registry, skopeo, podman, umoci."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import samples
from support.containers import forget, free_port, need, podman, stop, wait_for_port
from support.registry_program import registry

from ramekin.errors import NetworkError
from ramekin.image import oci, transports
from ramekin.image.image import Image
from ramekin.image.reference import parse
from ramekin.image.transports.registry import fallback_tag
from ramekin.image.tree import Tree, file
from ramekin.image.validate import validate
from ramekin.store.store import Store

pytestmark = pytest.mark.runtime

as_root = pytest.mark.skipif(os.getuid() != 0, reason="tried as root only")
STATIC = Path("/sbin/ldconfig")
"""A statically linked program that every Debian machine has; it prints its version."""

PASSWORDS = "me:$2b$05$j1Q3BVwlqLp/II7zX70gx.PR8YK1fpB06fn5vGthGUzqknk8ebI0.\n"
"""The user `me` with the password `secret`, as htpasswd writes it."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> Image:
    """An image that runs, with a layer that goes up in a PATCH."""
    program = Tree([file("bin/greet", STATIC.read_bytes(), mode=0o755)]).with_parents()
    noise = Tree([file("srv/noise", samples.noise(6 << 20))]).with_parents()
    base = samples.BASE.without(lambda entry: entry.path == "bin")
    return samples.image(store, [base, program, noise], cmd=("/bin/greet", "--version"))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for podman, which takes no long paths."""
    with tempfile.TemporaryDirectory(prefix="rk-", ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        finally:
            forget(Path(folder))


def call(*command: str | Path) -> str:
    need(str(command[0]))
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


@contextmanager
def guarded_registry(folder: Path) -> Iterator[str]:
    """A docker-registry that wants a name and a password."""
    need("docker-registry")
    port = free_port()
    (folder / "passwords").write_text(PASSWORDS)
    settings = folder / "guarded.yml"
    settings.write_text(
        f"""\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder / "guarded"}}}}}
auth: {{htpasswd: {{realm: guarded, path: {folder / "passwords"}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
    )
    log = folder / "guarded.log"
    with log.open("wb") as out:
        command = ["docker-registry", "serve", str(settings)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for_port(port, process, log)
        yield f"127.0.0.1:{port}"
    finally:
        stop(process)


def runs(folder: Path, *load: str) -> None:
    """podman takes the image by the command and runs it."""
    need("podman", "runc")
    loaded = call(*podman(folder), *load).strip().splitlines()[-1].removeprefix("Loaded image: ")
    limits = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]
    said = call(*podman(folder), "run", "--rm", "--network=host", "--log-driver=none", *limits, loaded)
    assert "ldconfig" in said


@as_root
def test_a_registry_gives_our_image_to_skopeo_and_podman(
    image: Image, store: Store, tmp_path: Path, short: Path
) -> None:
    image = samples.with_sbom(store, image)
    with registry(tmp_path) as host:
        name = f"docker://{host}/team/web:1"
        transports.write(image, parse(name))
        call("skopeo", "copy", "--src-tls-verify=false", name, f"oci:{tmp_path}/skopeo:1")
        runs(short, "pull", "--quiet", "--tls-verify=false", f"{host}/team/web:1")
        with transports.read(parse(f"oci:{tmp_path}/skopeo:1")) as theirs:
            assert theirs.root.digest == image.root.digest
            assert validate(theirs) == []
        # this registry has no referrers API, so the tag stands in for it
        transports.copy(parse(name), parse(f"oci:{tmp_path}/back:1"))
        with transports.read(parse(f"oci:{tmp_path}/back:1")) as back:
            assert [one.digest for one in back.referrers] == [image.referrers[0].digest]
            assert validate(back) == []
        inspected = call(
            "skopeo",
            "inspect",
            "--raw",
            "--tls-verify=false",
            f"docker://{host}/team/web:" + fallback_tag(image.root.digest),
        )
        assert json.loads(inspected)["manifests"][0]["artifactType"] == samples.SPDX


def test_a_second_repository_mounts_what_the_first_has(image: Image, tmp_path: Path) -> None:
    with registry(tmp_path) as host:
        transports.write(image, parse(f"docker://{host}/a:1"))
        transports.copy(parse(f"docker://{host}/a:1"), parse(f"docker://{host}/b:1"))
        blobs = tmp_path / "registry/docker/registry/v2/blobs/sha256"
        assert len(list(blobs.glob("*/*"))) == 5
        transports.copy(parse(f"docker://{host}/b:1"), parse(f"oci:{tmp_path}/back"))


def test_skopeos_push_is_pulled(image: Image, tmp_path: Path) -> None:
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    with registry(tmp_path) as host:
        for number, form in enumerate(("oci", "v2s2")):
            name = f"docker://{host}/web:{number}"
            call("skopeo", "copy", "--dest-tls-verify=false", "--format", form, f"oci:{tmp_path}/web:1", name)
            transports.copy(parse(name), parse(f"oci:{tmp_path}/back:{number}"))
            with transports.read(parse(f"oci:{tmp_path}/back:{number}")) as back:
                assert validate(back) == []
                assert (back.root.media_type == oci.DOCKER_MANIFEST) == (form == "v2s2")
                assert back.config(back.manifest()).rootfs == image.config(image.manifest()).rootfs


def test_an_index_goes_through_a_registry(store: Store, tmp_path: Path) -> None:
    both = samples.index(store, [samples.image(store, platform=p) for p in (samples.AMD64, samples.ARM64)])
    with registry(tmp_path) as host:
        name = f"docker://{host}/web:1"
        transports.write(both, parse(name))
        call("skopeo", "copy", "--all", "--src-tls-verify=false", name, f"oci:{tmp_path}/skopeo:1")
        with transports.read(parse(f"oci:{tmp_path}/skopeo:1")) as theirs:
            assert theirs.root.digest == both.root.digest
        one = call("skopeo", "inspect", "--override-arch=arm64", "--tls-verify=false", name)
        assert json.loads(one)["Architecture"] == "arm64"


def test_a_registry_with_passwords(
    home: Path, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarded_registry(tmp_path) as host:
        name = f"docker://{host}/web:1"
        with pytest.raises(NetworkError, match="credentials"):
            transports.write(image, parse(name))
        call(
            "skopeo",
            "login",
            "--tls-verify=false",
            "-u",
            "me",
            "-p",
            "secret",
            "--authfile",
            home / ".docker/config.json",
            host,
        )
        transports.write(image, parse(name))
        (home / ".docker/config.json").write_text(json.dumps({"credHelpers": {host: "test"}}))
        (tmp_path / "bin").mkdir()
        helper = tmp_path / "bin/docker-credential-test"
        answer = json.dumps({"ServerURL": host, "Username": "me", "Secret": "secret"})
        helper.write_text(f"""#!/bin/sh\n[ "$1" = get ] && [ "$(cat)" = {host} ] && echo '{answer}'\n""")
        helper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
        transports.copy(parse(name), parse(f"oci:{tmp_path}/back"))


@as_root
def test_podman_loads_and_runs_a_docker_archive(image: Image, tmp_path: Path, short: Path) -> None:
    transports.write(image, parse(f"docker-archive:{tmp_path}/web.tar:team/web:1"))
    runs(short, "load", "--quiet", "--input", str(tmp_path / "web.tar"))


@as_root
def test_podman_loads_and_runs_an_oci_archive(image: Image, tmp_path: Path, short: Path) -> None:
    transports.write(image, parse(f"oci-archive:{tmp_path}/web.tar:web"))
    runs(short, "load", "--quiet", "--input", str(tmp_path / "web.tar"))


@as_root
def test_umoci_unpacks_a_layout(image: Image, store: Store, tmp_path: Path) -> None:
    image = samples.with_sbom(store, image)
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    call("umoci", "unpack", "--image", f"{tmp_path}/web:1", tmp_path / "bundle")
    transports.write(image, parse(f"rootfs:{tmp_path}/ours"))
    assert (tmp_path / "bundle/rootfs/bin/greet").read_bytes() == STATIC.read_bytes()
    left_out = ["diff", "--recursive", "--no-dereference"]
    call(*left_out, tmp_path / "bundle/rootfs", tmp_path / "ours")


@as_root
def test_what_umoci_writes_is_read(image: Image, tmp_path: Path) -> None:
    transports.write(image, parse(f"oci:{tmp_path}/web:1"))
    call("umoci", "config", "--image", f"{tmp_path}/web:1", "--tag", "2", "--config.env", "A=b")
    with transports.read(parse(f"oci:{tmp_path}/web:2")) as theirs:
        assert validate(theirs) == []
        config = theirs.config(theirs.manifest())
        assert config.config is not None
        assert "A=b" in (config.config.env or ())
    # and its tag survives ours
    transports.write(image, parse(f"oci:{tmp_path}/web:3"))
    assert set(call("umoci", "ls", "--layout", tmp_path / "web").split()) == {"1", "2", "3"}


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_skopeo_reads_and_writes_the_same(image: Image, tmp_path: Path, transport: str) -> None:
    suffix = {"oci": ":1", "oci-archive": ":1", "docker-archive": ":web:1", "dir": ""}[transport]
    transports.write(image, parse(f"{transport}:{tmp_path}/ours{suffix}"))
    if transport == "dir":
        (tmp_path / "theirs").mkdir()
    call("skopeo", "copy", f"{transport}:{tmp_path}/ours{suffix}", f"{transport}:{tmp_path}/theirs{suffix}")
    with (
        transports.read(parse(f"{transport}:{tmp_path}/theirs{suffix}")) as theirs,
        transports.read(parse(f"{transport}:{tmp_path}/ours{suffix}")) as ours,
    ):
        assert validate(theirs) == []
        # skopeo compresses layers that were not, and writes plain ones into docker-archives
        same = theirs.config(theirs.manifest()).rootfs == ours.config(ours.manifest()).rootfs
        assert same
        assert transport == "docker-archive" or theirs.root.digest == ours.root.digest


@as_root
def test_podmans_docker_archive_is_read(image: Image, tmp_path: Path, short: Path) -> None:
    transports.write(image, parse(f"oci-archive:{tmp_path}/web.tar:web"))
    name = call(*podman(short), "load", "--quiet", "--input", tmp_path / "web.tar").strip()
    name = name.removeprefix("Loaded image: ")
    saved = tmp_path / "saved.tar"
    call(*podman(short), "save", "--quiet", "--format", "docker-archive", "--output", saved, name)
    with transports.read(parse(f"docker-archive:{saved}")) as theirs:
        assert validate(theirs) == []
        assert theirs.config(theirs.manifest()).rootfs == image.config(image.manifest()).rootfs
