"""The store keeps what it was given, shows nothing that is not whole, and says what failed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ramekin.errors import DigestMismatchError, NotFoundError, RamekinError, UsageError
from ramekin.image import oci
from ramekin.store import digest as digests
from ramekin.store import folder
from ramekin.store.action import key
from ramekin.store.objects import Objects
from ramekin.store.store import Store, StoreError, blob_name, default_location, result_name

KEY = key("layer", "a", 1)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind."""
    return Store.at(tmp_path / "store" if request.param == "folder" else f"memory://{tmp_path}")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def files_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# --- blobs -----------------------------------------------------------------------------------------------


def test_a_blob_is_found_again_by_its_digest(store: Store) -> None:
    digest = store.put(b"hello")
    assert digest == digests.of(b"hello")
    assert store.has(digest)
    assert store.size(digest) == 5
    assert store.read(digest) == b"hello"
    with store.open(oci.describe(b"hello", "text/plain")) as stream:
        assert stream.read() == b"hello"


def test_an_empty_blob_is_a_blob(store: Store) -> None:
    assert store.read(store.put(b"")) == b""


def test_a_blob_that_is_not_there_is_not_found(store: Store) -> None:
    digest = digests.of(b"nothing")
    assert not store.has(digest)
    assert store.size(digest) is None
    assert store.path(digest) is None
    with pytest.raises(NotFoundError, match="not in the store"):
        store.open(digest)


def test_a_staged_blob_is_hashed_in_pieces(store: Store) -> None:
    with store.stage() as stage:
        for _ in range(1000):
            stage.write(b"x" * 1000)
        digest = stage.commit(digests.of(b"x" * 1_000_000), 1_000_000)
    assert store.size(digest) == 1_000_000


def test_a_blob_that_was_not_committed_is_forgotten(local: Store) -> None:
    with pytest.raises(RuntimeError), local.stage() as stage:
        stage.write(b"half")
        raise RuntimeError
    assert local.root is not None
    assert files_of(local.root) == ["lock"]


def test_a_blob_with_another_digest_or_size_is_refused_and_forgotten(store: Store) -> None:
    with store.stage() as stage:
        stage.write(b"hello")
        with pytest.raises(DigestMismatchError, match="5 bytes where 6"):
            stage.commit(size=6)
        with pytest.raises(DigestMismatchError, match="where sha256:"):
            stage.commit(digests.of(b"other"))
    assert not store.has(digests.of(b"hello"))


def test_flushing_reaches_every_folder_that_has_a_new_name(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(folder, "_sync_folder", flushed.append)
    digest = local.put(b"hello")
    assert flushed == []
    local.flush()
    parent = Path(local.location, blob_name(digest)).parent
    assert flushed == [str(parent), str(parent.parent)]
    local.flush()
    assert len(flushed) == 2


def test_a_local_blob_has_a_file_that_is_read_only(local: Store) -> None:
    path = local.path(local.put(b"hello"))
    assert path is not None
    assert path.read_bytes() == b"hello"
    assert path.stat().st_mode & 0o222 == 0


def test_a_damaged_blob_is_never_read_to_its_end(local: Store) -> None:
    digest = local.put(b"x" * 1000)
    path = local.path(digest)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(b"x" * 999 + b"y")
    with pytest.raises(DigestMismatchError, match=digest):
        local.read(digest)
    path.write_bytes(b"x" * 999)
    with pytest.raises(DigestMismatchError):
        local.read(digest)
    with pytest.raises(DigestMismatchError, match="999 bytes where 1000"):
        local.open(oci.Descriptor("text/plain", digest, 1000))


def test_a_blob_of_the_wrong_size_is_replaced_when_it_comes_again(local: Store) -> None:
    path = local.path(local.put(b"hello"))
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(b"hel")
    assert local.read(local.put(b"hello")) == b"hello"


# --- results ---------------------------------------------------------------------------------------------


def test_a_result_is_found_again_by_its_key(store: Store) -> None:
    assert store.result(KEY) is None
    store.record(KEY, b'{"a":1}\n\nmore', blobs=[store.put(b"1"), store.put(b"2")])
    assert store.result(KEY) == b'{"a":1}\n\nmore'
    store.record(KEY, b"", blobs=[])
    assert store.result(KEY) == b""


def test_a_result_lives_only_as_long_as_its_blobs(store: Store) -> None:
    kept, lost = store.put(b"kept"), store.put(b"lost")
    store.record(KEY, b"{}", blobs=[kept, lost])
    store.backend.delete(blob_name(lost))
    assert store.result(KEY) is None
    store.put(b"lost")
    assert store.result(KEY) == b"{}"


@pytest.mark.parametrize("torn", [b"", b"\0" * 80, b"{}", b"sha256:00\n{}"])
def test_a_torn_result_does_not_exist(store: Store, torn: bytes) -> None:
    store.backend.write(result_name(KEY), torn)
    assert store.result(KEY) is None


def test_a_warm_build_of_sixty_layers_looks_them_up_in_ten_milliseconds(local: Store) -> None:
    keys = [key("layer", number) for number in range(60)]
    for number, one in enumerate(keys):
        local.record(one, b"x" * 500, blobs=[local.put(b"%d" % number)])

    def look() -> float:
        start = time.perf_counter()
        again = Store.at(local.location)
        assert all(again.result(one) for one in keys)
        return time.perf_counter() - start

    assert min(look() for _ in range(5)) < 0.010


def test_a_local_store_does_not_load_what_only_object_stores_need(tmp_path: Path) -> None:
    code = (
        "import sys; from ramekin.store.store import Store; s = Store.at(sys.argv[1]); s.read(s.put(b'x'));"
        "print(*{'obstore', 'niquests', 'msgspec'} & set(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True
    )
    assert loaded.stdout.split() == []


# --- one at a time ---------------------------------------------------------------------------------------


def test_threads_hold_a_key_one_at_a_time(store: Store) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with store.exclusive(KEY):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_other_keys_are_not_held(store: Store) -> None:
    with store.exclusive(KEY), store.exclusive(key("other")):
        pass


def test_an_error_frees_the_key(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError), store.exclusive(KEY):
            raise RuntimeError
    assert not list(store.backend.list("locks"))


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process and return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def exit_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_processes_hold_a_key_one_at_a_time_and_share_blobs(local: Store, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")

    def work() -> None:
        store = Store.at(local.location)
        for number in range(20):
            with store.exclusive(KEY):
                count = int(counter.read_text())
                counter.write_text(str(count + 1))
            digest = store.put(b"%d" % number * 1000)
            store.record(key("n", number), b"{}", blobs=[digest])
            assert store.read(digest) == b"%d" % number * 1000
            assert store.result(key("n", number)) == b"{}"

    assert [exit_of(pid) for pid in [in_child(work) for _ in range(3)]] == [0, 0, 0]
    assert counter.read_text() == "60"


def test_the_death_of_a_holder_frees_the_key(local: Store, tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def work() -> None:
        with Store.at(local.location).exclusive(KEY):
            ready.touch()
            time.sleep(60)

    pid = in_child(work)
    while not ready.exists():
        time.sleep(0.01)
    os.kill(pid, 9)
    exit_of(pid)
    with local.exclusive(KEY):
        pass


def test_a_lease_whose_holder_is_silent_is_taken_over() -> None:
    objects = Objects.at("memory://lease")
    objects.write("locks/a", b"someone who died")
    objects = Objects("memory://lease", objects._bucket, lease=0.2)
    start = time.monotonic()
    with objects.lock("locks/a"):
        assert time.monotonic() - start >= 0.2
    assert objects.read("locks/a") is None


def test_a_lease_is_kept_for_as_long_as_its_holder_works() -> None:
    objects = Objects("memory://kept", Objects.at("memory://kept")._bucket, lease=1.0)
    order = []

    def second() -> None:
        with objects.lock("locks/a"):
            order.append("second")

    with objects.lock("locks/a"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(2.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# --- crashes ---------------------------------------------------------------------------------------------


def kill_at_line(number: int) -> None:
    """Have this process killed when it comes to the given line of the store's code, counted from now."""
    left = number
    watched = ("ramekin/store/folder.py", "ramekin/store/store.py")

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(watched):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), 9)
        return trace

    sys.settrace(trace)


def make_two_blobs_and_a_result(location: str) -> None:
    store = Store.at(location)
    with store.stage() as stage:
        stage.write(b"a" * 100_000)
        stage.write(b"b" * 400_000)
        first = stage.commit()
    with store.exclusive(KEY):
        store.record(KEY, b"{}", blobs=[first, store.put(b"second")])


def assert_all_that_is_visible_is_whole(store: Store) -> None:
    for found in store.backend.list("blobs"):
        assert digests.hex_of(digests.of(store.backend.read(found.name) or b"")) == found.name[-64:]
    assert store.result(KEY) in (None, b"{}")


def test_a_process_that_is_killed_anywhere_leaves_nothing_wrong(tmp_path: Path) -> None:
    steps = 0
    while True:
        location = str(tmp_path / f"store-{steps}")

        def work(location: str = location, number: int = steps) -> None:
            kill_at_line(number)
            make_two_blobs_and_a_result(location)

        if (status := exit_of(in_child(work))) == 0:
            break
        assert status == -9
        store = Store.at(location)
        assert_all_that_is_visible_is_whole(store)
        # whoever comes next clears up and gets on
        make_two_blobs_and_a_result(location)
        assert store.result(KEY) == b"{}"
        own = [name for name in files_of(Path(location)) if not name.startswith(("blobs/", "results/"))]
        assert own == ["lock"]
        steps += 1
    assert steps > 50


def test_a_dead_process_leaves_its_temporary_files_to_the_next(local: Store) -> None:
    def work() -> None:
        scratch = Store.at(local.location).scratch()
        (scratch / "big").write_bytes(b"x" * 1000)
        os.kill(os.getpid(), 9)

    assert exit_of(in_child(work)) == -9
    assert local.root is not None
    assert any(name.endswith("big") for name in files_of(local.root))
    scratch = local.scratch()
    assert not any(name.endswith("big") for name in files_of(local.root))
    assert scratch.is_dir()


def test_the_temporary_files_of_a_living_process_are_left_alone(local: Store) -> None:
    (local.scratch() / "mine").write_bytes(b"x")

    def work() -> None:
        store = Store.at(local.location)
        store.put(b"hello")
        store.scratch()

    assert exit_of(in_child(work)) == 0
    assert (local.scratch() / "mine").exists()


def test_a_process_that_ends_removes_its_temporary_files(tmp_path: Path) -> None:
    code = (
        f"from ramekin.store.store import Store; (Store.at({str(tmp_path / 's')!r}).scratch() / 'a').touch()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert files_of(tmp_path) == ["s/lock"]


# --- failures --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]).returncode
    ):
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_an_error_that_says_what_to_do(small_disk: Path) -> None:
    store = Store.at(small_disk / "store")
    kept = store.put(b"hello")
    with pytest.raises(StoreError, match="No space left") as caught, store.stage() as stage:
        for _ in range(64):
            stage.write(b"x" * (1 << 16))
        stage.commit()
    assert str(small_disk) in caught.value.message
    assert "store gc" in (caught.value.hint or "")
    assert [name for name in files_of(small_disk) if "blob-" in name] == []
    assert store.read(kept) == b"hello"
    assert store.read(store.put(b"there is room again")) == b"there is room again"


def test_a_disk_that_is_full_only_when_flushed_is_an_error_too(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        local.put(b"hello")
    monkeypatch.undo()
    assert not local.has(digests.of(b"hello"))
    assert local.root is not None
    assert files_of(local.root) == ["lock"]


def test_a_store_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store.at(tmp_path / "file" / "store")
    assert store.result(KEY) is None
    with pytest.raises(StoreError, match="Not a directory"):
        store.put(b"x")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become someone else")
def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "store")
    digest = store.put(b"hello")
    store.record(KEY, b"{}", blobs=[digest])
    os.utime(tmp_path / "store" / blob_name(digest), (0, 0))
    for path in (tmp_path / "store").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "store").chmod(0o555)

    def work() -> None:
        # the parents of the test's folder are root's own
        os.chdir(tmp_path)
        os.setuid(65534)
        other = Store(folder.Folder(Path("store")))
        assert other.read(digest) == b"hello"
        assert other.result(KEY) == b"{}"
        with pytest.raises(StoreError, match="Permission denied") as caught:
            other.put(b"new")
        assert "--store" in (caught.value.hint or "")

    tmp_path.chmod(0o755)
    assert exit_of(in_child(work)) == 0


def test_a_store_that_is_looked_at_is_not_made(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "store")
    assert store.result(KEY) is None
    assert not store.has(digests.of(b"x"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("place", ["ftp://host/a", "", "http://host"])
def test_other_places_are_wrong_use(place: str) -> None:
    with pytest.raises(UsageError):
        Store.at(place)


def test_an_object_store_that_cannot_be_reached_is_one_line() -> None:
    with pytest.raises(RamekinError) as caught:
        Store.at("s3://")
    assert "\n" not in caught.value.message


class _NoBucket(BaseHTTPRequestHandler):
    """An S3 server that has no buckets."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


def test_a_bucket_that_is_not_there_is_an_error_whatever_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _NoBucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, value in {
            "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }.items():
            monkeypatch.setenv(name, value)
        store = Store.at("s3://nowhere/below")
        with pytest.raises(StoreError, match="cannot write"):
            store.put(b"text")
        with pytest.raises(StoreError, match="cannot write"):
            store.record(KEY, b"text")
        with pytest.raises(StoreError, match="cannot lock"), store.exclusive(KEY):
            pass
        server.shutdown()


def test_the_default_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMEKIN_HOME", "/somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_location() == "/somewhere"
    monkeypatch.delenv("RAMEKIN_HOME")
    assert default_location() == "/cache/ramekin"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_location() == "/home/me/.cache/ramekin"
