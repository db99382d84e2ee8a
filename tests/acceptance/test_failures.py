"""What goes wrong around a build is said in a line or two, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.archive import Fault, Server, SigningKey
from support.containers import Layout, free_port, ramekin
from support.kitchen import SUITE, Kitchen

ROOT_ONLY = pytest.mark.skipif(
    os.getuid() != 0, reason="mounts a small file system, so is tried as root only"
)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    return Kitchen.open(tmp_path_factory.mktemp("kitchen"), SigningKey.generate())


def words(*packages: str, target: Path, store: Path) -> list[str]:
    source = ["--source", f"debian:{SUITE}", "--arch", "amd64"]
    return ["build", *(packages or ("gratin",)), *source, "-o", f"oci:{target}", "--store", str(store)]


def said(result: subprocess.CompletedProcess[str], *parts: str, status: int = 1) -> None:
    """The command failed in words that hold `parts`, and in few of them."""
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr and "a bug in Ramekin" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert 0 < len(lines) <= 8, result.stderr
    plain = " ".join(result.stderr.split()).replace("│ ", "")
    for part in parts:
        assert part.lower() in plain.lower(), result.stderr


def nothing_left(folder: Path, store: Path) -> None:
    """No target, no half of one beside it, and nothing staged in the store."""
    assert [path.name for path in folder.iterdir() if path.name != store.name] == []
    staging = store / "staging"
    assert not staging.exists() or list(staging.iterdir()) == []


def test_no_network_names_the_server_and_the_reason(kitchen: Kitchen, tmp_path: Path) -> None:
    port = free_port()
    env = kitchen.env(f"http://127.0.0.1:{port}")
    store = tmp_path / "store"
    result = ramekin(*words(target=tmp_path / "image", store=store), env=env, check=False, timeout=120)
    said(result, f"127.0.0.1:{port}")
    nothing_left(tmp_path, store)


def test_a_host_that_has_no_address_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    env = kitchen.env("http://kitchen.invalid/archive")
    store = tmp_path / "store"
    result = ramekin(*words(target=tmp_path / "image", store=store), env=env, check=False, timeout=120)
    said(result, "kitchen.invalid")
    nothing_left(tmp_path, store)


def test_an_image_that_was_built_is_built_again_without_a_network(kitchen: Kitchen, tmp_path: Path) -> None:
    store = tmp_path / "store"
    lock = tmp_path / "lock.json"
    with Server(kitchen.archive.root) as server:
        url = server.url
        build = [*words(target=tmp_path / "image", store=store), "--lock", str(lock)]
        ramekin(*build, env=kitchen.env(url))
    before = Layout(tmp_path / "image").digest
    shutil.rmtree(tmp_path / "image")
    ramekin(*build, env=kitchen.env(url), timeout=120)
    assert Layout(tmp_path / "image").digest == before


def test_an_unknown_suite_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = words(target=tmp_path / "image", store=store)
    command[command.index(f"debian:{SUITE}")] = "debian:bookwurm"
    said(ramekin(*command, env=kitchen.env(), check=False), "bookwurm")
    nothing_left(tmp_path, store)


def test_an_unknown_source_is_wrong_use(kitchen: Kitchen, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = words(target=tmp_path / "image", store=store)
    command[command.index(f"debian:{SUITE}")] = "debain:bookworm"
    said(ramekin(*command, env=kitchen.env(), check=False), "debain", "debian", status=2)
    nothing_left(tmp_path, store)


def test_an_unknown_package_is_named_with_what_is_near(kitchen: Kitchen, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = words("gratine", target=tmp_path / "image", store=store)
    said(ramekin(*command, env=kitchen.env(), check=False), "gratine", "gratin")
    nothing_left(tmp_path, store)


def test_an_impossible_request_is_told_in_terms_of_packages(kitchen: Kitchen, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = words("stew", target=tmp_path / "image", store=store)
    said(ramekin(*command, env=kitchen.env(), check=False), "stew", "rabbit")
    nothing_left(tmp_path, store)


def test_an_archive_signed_by_another_key_is_refused(kitchen: Kitchen, tmp_path: Path) -> None:
    keyring = tmp_path.parent / f"{tmp_path.name}-other.gpg"
    keyring.write_bytes(SigningKey.generate().certificate)
    env = kitchen.env(keyring=keyring)
    result = ramekin(*words(target=tmp_path / "image", store=tmp_path / "store"), env=env, check=False)
    said(result, "InRelease", "key")
    nothing_left(tmp_path, tmp_path / "store")


def test_a_keyring_that_is_not_there_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    env = kitchen.env(keyring=tmp_path / "no-such-keyring.gpg")
    store = tmp_path / "store"
    result = ramekin(*words(target=tmp_path / "image", store=store), env=env, check=False)
    said(result, "no-such-keyring.gpg")
    nothing_left(tmp_path, store)


def test_a_script_that_nothing_stands_in_for_is_a_warning_and_strictly_an_error(
    kitchen: Kitchen, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    command = words("souffle", target=tmp_path / "image", store=store)
    said(ramekin(*command, "--strict", env=kitchen.env(), check=False), "souffle", "mount --bind /oven")
    nothing_left(tmp_path, store)
    lenient = ramekin(*command, env=kitchen.env())
    assert "mount --bind /oven" in " ".join(lenient.stderr.split())


def test_a_corrupt_package_is_named_and_kept_nowhere(kitchen: Kitchen, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Server(kitchen.archive.root) as server:
        server.faults.append(Fault(r"potato_.*\.deb", corrupt=True))
        result = ramekin(
            *words(target=tmp_path / "image", store=store), env=kitchen.env(server.url), check=False
        )
        said(result, "potato")
        nothing_left(tmp_path, store)
        server.faults.clear()
        ramekin(*words(target=tmp_path / "image", store=store), env=kitchen.env(server.url))


def test_a_target_that_cannot_be_written_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    store = tmp_path / "store"
    result = ramekin(*words(target=Path("/proc/image"), store=store), env=kitchen.env(), check=False)
    said(result, "/proc/image")
    nothing_left(tmp_path, store)


def test_a_store_that_cannot_be_written_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    result = ramekin(
        *words(target=tmp_path / "image", store=Path("/proc/store")), env=kitchen.env(), check=False
    )
    said(result, "/proc/store")
    assert not (tmp_path / "image").exists()


def on_small_disk(
    disk: Path, kibibytes: int, *command: str, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run ramekin where `disk` is a file system of its own; what it holds at the end follows on stdout."""
    script = (
        'set -u; mount -t tmpfs -o size="$1"k small "$2"; cd "$2"; shift 2; "$@"; status=$?; find . | sort; '
        "exit $status"
    )
    return subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"),
            *(str(kibibytes), str(disk), sys.executable, "-m", "ramekin", *command),
        ],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@ROOT_ONLY
def test_a_full_disk_under_the_target_is_named_and_the_old_image_stays(
    kitchen: Kitchen, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = words(target=disk / "image", store=tmp_path / "store")
    result = on_small_disk(disk, 64, *command, env=kitchen.env())
    said(result, str(disk), "space")
    assert result.stdout.split() == ["."]


@ROOT_ONLY
def test_a_full_disk_under_the_store_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    result = on_small_disk(
        disk, 300, *words(target=tmp_path / "image", store=disk / "store"), env=kitchen.env()
    )
    said(result, str(disk), "space")
    assert not (tmp_path / "image").exists()
    assert [line for line in result.stdout.split() if "/staging/" in line] == []


@pytest.fixture(scope="module")
def expected(kitchen: Kitchen, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("expected")
    ramekin(*words(target=folder / "image", store=folder / "store"), env=kitchen.env())
    return Layout(folder / "image").digest


def started(*command: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ramekin", *command],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("awaited", ["InRelease", "by-hash", ".deb"])
def test_an_interrupted_build_ends_at_once_and_the_next_one_is_right(
    kitchen: Kitchen, expected: str, tmp_path: Path, sent: signal.Signals, awaited: str
) -> None:
    store = tmp_path / "store"
    asked = threading.Event()
    with Server(kitchen.archive.root) as server:
        env = kitchen.env(server.url)
        server.hook = lambda path: asked.set() if awaited in path else None
        server.faults.append(Fault(awaited.replace(".", r"\."), delay=60, times=2))
        process = started(*words(target=tmp_path / "image", store=store), env=env)
        assert asked.wait(30)
        time.sleep(0.2)
        process.send_signal(sent)
        since = time.monotonic()
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - since < 20
        assert process.returncode == 128 + sent
        assert "Traceback" not in errors
        nothing_left(tmp_path, store)
        server.faults.clear()
        ramekin(*words(target=tmp_path / "image", store=store), env=env)
    assert Layout(tmp_path / "image").digest == expected


@pytest.mark.parametrize("after", [0.15, 0.3, 0.4, 0.5, 0.6, 0.8])
def test_a_build_that_was_killed_leaves_nothing_wrong(
    kitchen: Kitchen, expected: str, tmp_path: Path, after: float
) -> None:
    store = tmp_path / "store"
    process = started(*words(target=tmp_path / "image", store=store), env=kitchen.env())
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    if (tmp_path / "image/index.json").exists():
        assert Layout(tmp_path / "image").digest == expected
    ramekin(*words(target=tmp_path / "image", store=store), env=kitchen.env())
    assert Layout(tmp_path / "image").digest == expected
    ramekin("validate", f"oci:{tmp_path}/image")
    ramekin("store", "verify", "--store", store)


def test_two_builds_at_once_on_one_store_are_both_right(
    kitchen: Kitchen, expected: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    env = kitchen.env()
    targets = [tmp_path / name for name in ("a", "b", "shared", "shared")]
    builds = [started(*words(target=target, store=store), env=env) for target in targets]
    for build in builds:
        _, errors = build.communicate(timeout=120)
        assert build.returncode == 0, errors
    for target in targets:
        assert Layout(target).digest == expected
        ramekin("validate", f"oci:{target}")


def test_a_target_stays_as_it_was_when_the_build_fails(kitchen: Kitchen, tmp_path: Path) -> None:
    target, store = tmp_path / "image", tmp_path / "store"
    ramekin(*words("leek", target=target, store=store), env=kitchen.env())
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    ramekin(*words("stew", target=target, store=store), env=kitchen.env(), check=False)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def test_a_reader_that_goes_away_is_no_failure_worth_a_traceback(kitchen: Kitchen, tmp_path: Path) -> None:
    process = started(
        "show", "gratin", "--source", f"debian:{SUITE}", "--store", str(tmp_path), env=kitchen.env()
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.wait(60)
    assert "Traceback" not in errors and "Exception ignored" not in errors


def test_a_server_that_never_answers_does_not_hold_up_ctrl_c(tmp_path: Path, kitchen: Kitchen) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        env = kitchen.env(f"http://127.0.0.1:{silent.getsockname()[1]}")
        process = started(*words(target=tmp_path / "image", store=tmp_path / "store"), env=env)
        connection, _ = silent.accept()
        with connection:
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
