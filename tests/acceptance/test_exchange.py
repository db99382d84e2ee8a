"""The redis image passes through the programs that its users move images with, and comes out the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.containers import (
    Invocation,
    Layout,
    container,
    forget,
    free_port,
    need,
    podman,
    podman_command,
    podman_image,
    ramekin,
    stop,
    wait_for_port,
)
from support.registry_program import registry

pytestmark = [pytest.mark.archive, pytest.mark.runtime]

Build = Callable[..., Layout]
as_root = pytest.mark.skipif(os.getuid() != 0, reason="podman and umoci are tried as root only")


def call(*command: str | Path) -> str:
    need(str(command[0]))
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def answers(image: Layout, folder: Path, identifier: str) -> None:
    """Start redis from an image in podman's storage, and store a value in it."""
    port = free_port()
    command = podman_command(
        Invocation(image, ["--port", str(port), "--bind", "127.0.0.1"]), folder, identifier
    )
    log = folder / "redis.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for_port(port, process, log)
    finally:
        stop(process)
        forget(folder)


@as_root
def test_a_registry_takes_it_and_skopeo_and_podman_pull_it(build: Build, tmp_path: Path) -> None:
    image = build("redis-server")
    with registry(tmp_path) as host:
        name = f"docker://{host}/dishes/redis:1"
        ramekin("copy", image.reference, name)
        call("skopeo", "copy", "--src-tls-verify=false", name, f"oci:{tmp_path}/pulled:1")
        assert Layout(tmp_path / "pulled").digest == image.digest
        identifier = podman_image(
            tmp_path, "pull", "--quiet", "--tls-verify=false", name.removeprefix("docker://")
        )
        answers(image, tmp_path, identifier)
        ramekin("copy", name, f"oci:{tmp_path}/back:1")
        assert Layout(tmp_path / "back").digest == image.digest


def test_build_pushes_straight_to_a_registry(store: Path, build: Build, tmp_path: Path) -> None:
    with registry(tmp_path) as host:
        target = f"docker://{host}/redis:latest"
        ramekin("build", "redis-server", "-o", target, "--store", store)
        inspected = json.loads(call("skopeo", "inspect", "--tls-verify=false", target))
        assert inspected["Digest"] == build("redis-server").digest
        assert inspected["Labels"]["org.opencontainers.image.title"] == "redis-server"


@as_root
def test_podman_loads_the_docker_archive(build: Build, tmp_path: Path) -> None:
    need("podman")
    image = build("redis-server")
    archive = tmp_path / "redis.tar"
    ramekin("copy", image.reference, f"docker-archive:{archive}:localhost/redis:1")
    identifier = podman_image(tmp_path, "load", "--quiet", "--input", str(archive))
    assert identifier == "localhost/redis:1"
    answers(image, tmp_path, identifier)
    shown = json.loads(call(*podman(tmp_path), "image", "inspect", identifier))[0]
    assert shown["RootFS"]["Layers"] == image.config["rootfs"]["diff_ids"]


@as_root
def test_podman_loads_the_oci_archive(build: Build, tmp_path: Path) -> None:
    need("podman")
    image = build("redis-server")
    archive = tmp_path / "redis.oci.tar"
    ramekin("copy", image.reference, f"oci-archive:{archive}:redis")
    answers(image, tmp_path, podman_image(tmp_path, "load", "--quiet", "--input", str(archive)))


def test_other_programs_read_a_layout_of_one_image_without_a_tag(build: Build, tmp_path: Path) -> None:
    image = build("redis-server")
    call("skopeo", "copy", f"oci:{image.path}", f"oci:{tmp_path}/copied:1")
    assert Layout(tmp_path / "copied").digest == image.digest


@as_root
def test_umoci_unpacks_the_layout_to_the_same_files_as_we_do(
    build: Build, tmp_path: Path, laid_out: Callable[[Layout], Path]
) -> None:
    image = build("redis-server")
    call("umoci", "unpack", "--image", image.reference.removeprefix("oci:"), tmp_path / "bundle")
    theirs, ours = tmp_path / "bundle" / "rootfs", laid_out(image)
    assert listing(theirs) == listing(ours)


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Type, mode, owner, size or target, and time of every path below a folder."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = (
            str(path.readlink()) if path.is_symlink() else 0 if path.is_dir() else path.read_bytes()
        )
        when = 0 if path.is_dir() else int(status.st_mtime)
        found[str(path.relative_to(root))] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            content,
            when,
        )
    return found


def test_zstd_layers_run_too(build: Build, tmp_path: Path) -> None:
    image = build("redis-server", "--compress", "zstd")
    assert {layer["mediaType"] for layer in image.manifest["layers"]} == {
        "application/vnd.oci.image.layer.v1.tar+zstd"
    }
    port = free_port()
    with container(image, tmp_path, ["--port", str(port), "--bind", "127.0.0.1"]) as redis:
        redis.wait_for_port(port)


def test_every_transport_brings_back_the_same_image(build: Build, tmp_path: Path) -> None:
    image = build("redis-server")
    ramekin("copy", image.reference, f"oci-archive:{tmp_path}/a.tar:r")
    ramekin("copy", f"oci-archive:{tmp_path}/a.tar:r", f"oci:{tmp_path}/b:r")
    assert Layout(tmp_path / "b").digest == image.digest
    ramekin("copy", image.reference, f"dir:{tmp_path}/c")
    ramekin("copy", f"dir:{tmp_path}/c", f"oci:{tmp_path}/d:r")
    assert Layout(tmp_path / "d").digest == image.digest


def test_two_architectures_make_an_index(build: Build, store: Path, tmp_path: Path) -> None:
    target = tmp_path / "layout"
    ramekin("build", "sqlite3", "--arch", "amd64,arm64", "-o", f"oci:{target}", "--store", store)
    entry = Layout(target).descriptor
    assert entry["mediaType"] == "application/vnd.oci.image.index.v1+json"
    index = json.loads(Layout(target).blob(entry))
    assert [m["platform"]["architecture"] for m in index["manifests"]] == ["amd64", "arm64"]
    assert index["manifests"][0]["digest"] == build("sqlite3", "--arch", "amd64").digest
    ramekin("validate", f"oci:{target}")


@pytest.mark.parametrize("kind", ["spdx", "cyclonedx"])
def test_a_bill_of_materials_is_attached_and_names_every_package(
    store: Path, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "layout"
    ramekin("build", "sqlite3", "--sbom", kind, "-o", f"oci:{target}", "--store", store)
    ramekin("validate", f"oci:{target}")
    entries = json.loads((target / "index.json").read_text())["manifests"]
    layout = Layout(target)
    artifacts = [json.loads(layout.blob(entry)) for entry in entries]
    (bill,) = [d for d in artifacts if "subject" in d and kind in json.dumps(d).lower()]
    assert bill["subject"]["digest"] in [entry["digest"] for entry in entries]
    document = json.loads(layout.blob(bill["layers"][0]))
    names = [package["name"] for package in document["packages" if kind == "spdx" else "components"]]
    assert {"sqlite3", "libc6", "libsqlite3-0"} <= set(names)
    with registry(tmp_path) as host:
        ramekin("copy", f"oci:{target}", f"docker://{host}/sqlite:1")
        tags = json.loads(call("skopeo", "list-tags", "--tls-verify=false", f"docker://{host}/sqlite"))[
            "Tags"
        ]
        digest = bill["subject"]["digest"]
        assert digest.replace(":", "-") in tags, "a registry without the referrers API has the fallback tag"
