"""Packages on their way from mirrors into the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.archive import Archive, Deb, Fault, Server, SigningKey, Suite

from ramekin.errors import DigestMismatchError, NetworkError, NotFoundError, UsageError
from ramekin.progress import SILENT
from ramekin.sources.debian import fetch
from ramekin.sources.debian.fetch import Mirrors
from ramekin.sources.protocol import Package
from ramekin.store import digest as digests
from ramekin.store.store import Store

DEBS = [Deb(f"p{number}", files={"usr/share/x": bytes([number]) * 5000}) for number in range(12)]


def package(made: Deb) -> Package:
    return Package(
        name=made.name,
        version=made.version,
        architecture=made.architecture,
        digest=digests.of(made.blob),
        size=len(made.blob),
        suite="bookworm",
        location=made.location,
    )


@dataclass
class Place:
    store: Store
    server: Server
    archive: Archive

    def fetch(self, debs: Sequence[Deb], *uris: str, **changes: object) -> None:
        wanted = [replace(package(made), **changes) for made in debs]  # type: ignore[arg-type]
        with Mirrors(timeout=5, retries=0) as mirrors:
            fetch.packages(wanted, self.store, mirrors, lambda _: uris or (self.server.url,), SILENT)

    def staged(self) -> list[Path]:
        """Files of blobs that are not there yet: none once a fetch is over, however it ended."""
        root = self.store.root
        assert root is not None
        return [path for path in root.glob("staging/*/*") if path.is_file() and path.name.startswith("blob")]


@pytest.fixture
def place(tmp_path: Path, signing_key: SigningKey) -> Iterator[Place]:
    archive = Archive(tmp_path / "archive", signing_key)
    archive.publish(Suite("bookworm", DEBS))
    with Server(archive.root) as server:
        yield Place(Store.at(tmp_path / "store"), server, archive)


def test_packages_are_fetched_once_each(place: Place) -> None:
    place.fetch([*DEBS, *DEBS])
    assert all(place.store.read(digests.of(made.blob)) == made.blob for made in DEBS)
    assert len(place.server.paths()) == len(DEBS)
    place.fetch(DEBS)
    assert len(place.server.paths()) == len(DEBS)


def test_several_are_fetched_at_a_time_and_no_more_than_eight(place: Place) -> None:
    under_way, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(8)

    def hook(path: str) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if place.server.requests == []:
            gate.wait(timeout=10)
        with lock:
            under_way -= 1

    place.server.hook = hook
    place.fetch(DEBS[:8])
    assert most == 8


def test_names_with_odd_characters_are_fetched(place: Place) -> None:
    odd = Deb("libstdc++6", "1:2.0~rc1+b1-1")
    place.archive.publish(Suite("bookworm", [odd]))
    place.fetch([odd])
    assert place.store.has(digests.of(odd.blob))


def test_a_mirror_that_fails_is_followed_by_the_next(place: Place, tmp_path: Path) -> None:
    place.server.faults = [Fault("pool", status=500)]
    place.fetch(DEBS[:2], place.server.url, "file:///nowhere", place.archive.root.as_uri())
    assert place.store.has(digests.of(DEBS[1].blob))


@pytest.mark.parametrize("fault", [{"corrupt": True}, {"cut": 100}])
def test_a_package_damaged_on_the_way_is_refused_and_leaves_nothing(
    place: Place, fault: dict[str, object]
) -> None:
    place.server.faults = [Fault("p3_", **fault)]  # type: ignore[arg-type]
    with pytest.raises((DigestMismatchError, NetworkError), match="p3"):
        place.fetch(DEBS)
    assert not place.store.has(digests.of(DEBS[3].blob))
    assert place.staged() == []
    place.server.faults = []
    place.fetch(DEBS)
    assert place.store.has(digests.of(DEBS[3].blob))


def test_a_package_that_is_longer_than_the_index_says_is_not_read_to_its_end(place: Place) -> None:
    with pytest.raises(DigestMismatchError, match=r"p1=1\.0-1:amd64"):
        place.fetch(DEBS[1:2], size=100)
    assert place.staged() == []


def test_a_version_that_is_gone_says_the_way_out(place: Place) -> None:
    (place.archive.root / DEBS[5].location).unlink()
    with pytest.raises(NotFoundError, match=r"p5=1\.0-1:amd64 is no longer on the mirrors") as caught:
        place.fetch(DEBS)
    assert "ramekin update" in (caught.value.hint or "")
    assert "snapshot" in (caught.value.hint or "")


def test_a_package_without_a_mirror_says_so(place: Place) -> None:
    with (
        Mirrors() as mirrors,
        pytest.raises(NotFoundError, match=r"no mirror is known for p0=1\.0-1:amd64"),
    ):
        fetch.packages([package(DEBS[0])], place.store, mirrors, lambda _: (), SILENT)


@pytest.mark.parametrize("location", ["../secret", "pool/../../secret", ""])
def test_a_place_outside_of_the_mirror_is_refused(place: Place, location: str) -> None:
    with pytest.raises(NotFoundError, match="is not a place below a mirror"):
        place.fetch(DEBS[:1], place.archive.root.as_uri(), location=location)


def test_without_network_the_mirror_is_named(place: Place) -> None:
    place.server.close()
    with pytest.raises(NetworkError, match="127"):
        place.fetch(DEBS)
    assert place.staged() == []


def test_after_a_failure_the_others_stop(place: Place) -> None:
    place.server.faults = [Fault("p0_", status=404), Fault("pool", delay=0.2)]
    many = [Deb(f"p{number}") for number in range(60)]
    with pytest.raises(NotFoundError):
        place.fetch([DEBS[0], *many])
    assert len(place.server.paths()) < 40


def test_kinds_of_mirrors_that_cannot_be_read_are_named() -> None:
    with Mirrors() as mirrors:
        assert mirrors.expand(["http://a", "file:/b", "http://a"]) == ("http://a", "file:/b")
        with pytest.raises(UsageError, match="mirrors of the kind cdrom: cannot be read"):
            mirrors.expand(["cdrom:[Debian]/"])
        with pytest.raises(NetworkError, match="the list of mirrors /nowhere cannot be read"):
            mirrors.expand(["mirror+file:/nowhere"])


def test_passwords_are_not_shown() -> None:
    assert fetch.shown("https://user:secret@mirror.example/debian") == "https://mirror.example/debian"
