"""The Debian source as a whole, on archives that the tests make: freshness, trust, failures of mirrors."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.archive import MTIME, Archive, Deb, Fault, Server, SigningKey, Suite

from ramekin.errors import (
    DigestMismatchError,
    FormatError,
    NetworkError,
    NotFoundError,
    RamekinError,
    UsageError,
)
from ramekin.image.tree import file, symlink
from ramekin.progress import SILENT, Task
from ramekin.sources.debian.release import ExpiredError, SignatureError
from ramekin.sources.debian.source import DebianSettings, DebianSource, open_source
from ramekin.sources.mirror import Mirror
from ramekin.store.store import Store

LIBC = Deb("libc6", "2.36-9", files={"lib/libc.so.6": b"elf"})
REDIS = Deb("redis", "7.0-1", files={"usr/bin/redis": b"run"}, depends="libc6")
FIXED = Deb("redis", "7.0-1+deb12u1", files={"usr/bin/redis": b"run well"}, depends="libc6")
BASE = Deb(
    "base-files",
    files={
        "usr/lib/os-release": b"ID=debian\n",
        "etc/os-release": symlink("x", "../usr/lib/os-release"),
    },
)

BOOKWORM = Suite("bookworm", [LIBC, REDIS, BASE], suite="oldstable")
UPDATES = Suite("bookworm-updates", [])
SECURITY = Suite("bookworm-security", [FIXED])


@dataclass
class Heard:
    """A progress that remembers what it was told."""

    warnings: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)

    def task(self, label: str, *, total: int | None = None, unit: str = "B") -> AbstractContextManager[Task]:
        self.tasks.append(label)
        return SILENT.task(label, total=total, unit=unit)

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def archive(tmp_path: Path, signing_key: SigningKey) -> Archive:
    made = Archive(tmp_path / "archive", signing_key)
    for suite in (BOOKWORM, UPDATES, SECURITY):
        made.publish(suite)
    return made


@pytest.fixture
def server(archive: Archive) -> Iterator[Server]:
    with Server(archive.root) as running:
        yield running


@dataclass
class Place:
    """An archive, a server of it, and the stores and settings to use it with."""

    archive: Archive
    server: Server
    folder: Path

    def source(self, suite: str = "bookworm", *, store: str = "store", **settings: object) -> DebianSource:
        apt = self.archive.configure(self.folder / "apt", uri=self.server.url)
        given = DebianSettings(apt_dir=apt, timeout=5, retries=0)
        return open_source(
            f"debian:{suite}" if suite else "debian",
            Store.at(self.folder / store),
            replace(given, **settings),  # type: ignore[arg-type]
        )


@pytest.fixture
def place(archive: Archive, server: Server, tmp_path: Path) -> Place:
    return Place(archive, server, tmp_path)


def versions(source: DebianSource, name: str) -> list[tuple[str, str]]:
    return [(package.version, package.suite) for package in source.show(name, "amd64")]


# --- what is in a source ---------------------------------------------------------------------------------


def test_the_suite_its_updates_and_security_are_merged_by_version(place: Place) -> None:
    source = place.source()
    source.refresh(["amd64"], SILENT)
    assert source.name == "debian:bookworm"
    assert versions(source, "redis") == [("7.0-1+deb12u1", "bookworm-security"), ("7.0-1", "bookworm")]


def test_the_machines_own_suite_needs_no_name(place: Place) -> None:
    assert place.source("").name == "debian:bookworm"


def test_files_of_a_local_mirror_are_read_in_place(place: Place, tmp_path: Path) -> None:
    apt = place.archive.configure(tmp_path / "local")
    source = open_source("debian:bookworm", Store.at(tmp_path / "s"), DebianSettings(apt_dir=apt))
    source.refresh(["amd64"], SILENT)
    (package,) = source.show("libc6", "amd64")
    source.fetch([package], SILENT)
    assert "lib/libc.so.6" in source.open(package).tree


def test_one_line_entries_and_lists_of_mirrors_will_do(place: Place, tmp_path: Path) -> None:
    (tmp_path / "mirrors").write_text(
        f"# mirrors\nfile:///nowhere\tpriority:2\n{place.server.url}/\tpriority:1\n", encoding="utf-8"
    )
    apt = tmp_path / "list"
    apt.mkdir()
    (apt / "sources.list").write_text(
        f"deb [signed-by={place.archive.keyring}] mirror+file:{tmp_path}/mirrors bookworm main\n"
    )
    source = open_source("debian:bookworm", Store.at(tmp_path / "s"), DebianSettings(apt_dir=apt))
    source.refresh(["amd64"], SILENT)
    source.fetch(source.show("redis", "amd64")[:1], SILENT)
    assert versions(source, "redis") == [("7.0-1", "bookworm")]


def test_trusted_keyrings_count_where_an_entry_names_none(place: Place, tmp_path: Path) -> None:
    apt = tmp_path / "trusting"
    (apt / "trusted.gpg.d").mkdir(parents=True)
    (apt / "trusted.gpg.d" / "archive.asc").write_text(place.archive.key.armored)
    (apt / "sources.list").write_text(f"deb {place.server.url} bookworm main\n")
    source = open_source("debian:bookworm", Store.at(tmp_path / "s"), DebianSettings(apt_dir=apt))
    source.refresh(["amd64"], SILENT)


def test_mirrors_of_the_spec_stand_in_place_of_the_machines(place: Place, tmp_path: Path) -> None:
    mirrors = (
        Mirror(uri=place.server.url, signed_by=str(place.archive.keyring)),
        Mirror(
            uri=place.server.url,
            suites=("bookworm-security",),
            components=("main",),
            signed_by=str(place.archive.keyring),
        ),
    )
    source = place.source(apt_dir=tmp_path / "none", mirrors=mirrors)
    source.refresh(["amd64"], SILENT)
    assert len(versions(source, "redis")) == 2
    with pytest.raises(NotFoundError, match="the suite trixie is not on the mirrors"):
        place.source("trixie", mirrors=mirrors[1:])


def test_a_suite_that_is_not_listed_is_taken_from_the_same_mirrors(place: Place) -> None:
    place.archive.publish(Suite("trixie", [Deb("redis", "8.0-1")]))
    place.archive.publish(Suite("trixie-security", [Deb("redis", "8.0-1+deb13u1")]))
    place.archive.configure(place.folder / "apt", "bookworm", "bookworm-updates", "bookworm-security")
    apt = place.archive.configure(
        place.folder / "few", "bookworm", "bookworm-updates", "bookworm-security", uri=place.server.url
    )
    heard = Heard()
    source = place.source("trixie", apt_dir=apt)
    source.refresh(["amd64"], heard)
    assert [version for version, _ in versions(source, "redis")] == ["8.0-1+deb13u1", "8.0-1"]
    assert len(heard.warnings) == 1
    assert "there is no suite trixie-updates" in heard.warnings[0]


def test_an_unknown_suite_is_told_with_a_near_one(place: Place) -> None:
    with pytest.raises(NotFoundError, match="the suite bookwrm is not on the mirrors") as caught:
        place.source("bookwrm").refresh(["amd64"], SILENT)
    assert caught.value.hint == "did you mean debian:bookworm?"


def test_a_configured_suite_that_is_missing_is_named(place: Place) -> None:
    (place.archive.root / "dists" / "bookworm-updates" / "InRelease").rename(place.folder / "gone")
    for name in ("Release", "Release.gpg"):
        (place.archive.root / "dists" / "bookworm-updates" / name).unlink()
    with pytest.raises(NotFoundError, match=r"the suite bookworm-updates \(.*test\.sources, paragraph 1\)"):
        place.source().refresh(["amd64"], SILENT)


def test_an_architecture_that_a_suite_has_not_is_told(place: Place) -> None:
    with pytest.raises(NotFoundError, match="the suite bookworm has no packages for arm64") as caught:
        place.source().refresh(["arm64"], SILENT)
    assert caught.value.hint == "it has amd64"


def test_foreign_architectures_have_lists_of_their_own(place: Place) -> None:
    arm = Deb("redis", "7.0-1", architecture="arm64")
    everywhere = Deb("tzdata", architecture="all")
    place.archive.publish(
        replace(BOOKWORM, packages=[LIBC, REDIS, arm, everywhere], architectures=("amd64", "arm64"))
    )
    source = place.source()
    both = source.refresh(["amd64", "arm64"], SILENT)
    assert source.show("redis", "arm64")[0].architecture == "arm64"
    assert [source.show("tzdata", name)[0].architecture for name in ("amd64", "arm64")] == ["all", "all"]
    with pytest.raises(NotFoundError):
        source.show("libc6", "arm64")
    assert source.refresh(["arm64", "amd64"], SILENT) == both
    assert source.refresh(["amd64"], SILENT) != both


def test_packages_for_all_can_have_a_list_of_their_own(place: Place) -> None:
    place.archive.publish(
        replace(
            BOOKWORM,
            packages=[Deb("tzdata", architecture="all")],
            architectures=("amd64", "all"),
            fields={"No-Support-for-Architecture-all": ""},
        )
    )
    source = place.source()
    source.refresh(["amd64"], SILENT)
    assert versions(source, "tzdata") == [("1.0-1", "bookworm")]


def test_only_components_that_are_configured_count(place: Place) -> None:
    place.archive.publish(
        replace(
            BOOKWORM, packages=[REDIS, Deb("blob", component="non-free")], components=("main", "non-free")
        )
    )
    with pytest.raises(NotFoundError):
        place.source().show("blob", "amd64")


def test_a_flat_repository_is_a_suite_too(tmp_path: Path, signing_key: SigningKey) -> None:
    archive = Archive(tmp_path / "flat", signing_key)
    flat = Archive(tmp_path / "made", signing_key)
    flat.publish(Suite("x", [REDIS]))
    text = (flat.root / "dists/x/main/binary-amd64/Packages.xz").read_bytes()
    (archive.root / "Packages.xz").write_bytes(text)
    archive.sign(Suite(".", [], by_hash=False, fields={"Suite": "", "Codename": ""}), [("Packages.xz", text)])
    for path in (archive.root / "dists").iterdir():
        path.rename(archive.root / path.name)
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt" / "sources.list").write_text(
        f"deb [signed-by={archive.keyring}] {archive.root.as_uri()} ./\n"
    )
    source = open_source("debian:./", Store.at(tmp_path / "s"), DebianSettings(apt_dir=tmp_path / "apt"))
    source.refresh(["amd64"], SILENT)
    assert versions(source, "redis") == [("7.0-1", "./")]


@pytest.mark.parametrize("name", ["nix", "debian:", "ubuntu:noble"])
def test_other_names_are_not_debian_sources(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a Debian source"):
        open_source(name, Store.at(tmp_path))


def test_facts_come_from_base_files_and_are_kept(place: Place) -> None:
    source = place.source()
    facts = source.facts("amd64")
    assert (facts.name, facts.os_release) == ("debian:bookworm", "ID=debian\n")
    assert facts.merged["bin"] == "usr/bin"
    place.server.forget()
    assert place.source().facts("amd64") == facts
    assert place.server.requests == []


def test_a_source_without_base_files_has_an_os_release_all_the_same(place: Place) -> None:
    place.archive.publish(replace(BOOKWORM, packages=[LIBC], codename="bookworm"))
    text = place.source().facts("amd64").os_release
    assert "VERSION_CODENAME=bookworm\n" in text


def test_the_proxy_of_apts_configuration_is_used(place: Place) -> None:
    apt = place.archive.configure(place.folder / "apt", uri="http://mirror.invalid")
    (apt / "apt.conf.d").mkdir()
    (apt / "apt.conf.d" / "proxy").write_text(f'Acquire::http::Proxy "{place.server.url}";\n')
    settings = DebianSettings(apt_dir=apt, timeout=5, retries=0)
    source = open_source("debian:bookworm", Store.at(place.folder / "store"), settings)
    source.refresh(["amd64"], SILENT)
    assert all(path.startswith("http://mirror.invalid/dists/") for path in place.server.paths())
    (apt / "apt.conf.d" / "proxy").write_text('Acquire::http::Proxy::mirror.invalid "DIRECT";\n')
    place.server.forget()
    with pytest.raises(NetworkError):
        open_source("debian:bookworm", Store.at(place.folder / "other"), settings).refresh(["amd64"], SILENT)
    assert place.server.paths() == []


# --- freshness -------------------------------------------------------------------------------------------


def test_a_fresh_index_is_not_asked_for(place: Place) -> None:
    state = place.source().refresh(["amd64"], SILENT)
    place.server.forget()
    assert place.source().refresh(["amd64"], SILENT) == state
    assert place.server.requests == []


@pytest.mark.parametrize("validators", [("etag",), ("date",), ()])
def test_an_index_that_has_not_changed_is_asked_for_and_not_fetched(
    place: Place, validators: tuple[str, ...]
) -> None:
    place.server.validators = validators
    state = place.source().refresh(["amd64"], SILENT)
    place.server.forget()
    assert place.source(max_age=0).refresh(["amd64"], SILENT) == state
    asked = sorted(request.path for request in place.server.requests)
    assert asked == [f"/dists/bookworm{name}/InRelease" for name in ("-security", "-updates", "")]
    expected = {304} if validators else {200}
    assert {request.status for request in place.server.requests} == expected


def test_force_asks_within_the_time(place: Place) -> None:
    place.source().refresh(["amd64"], SILENT)
    place.server.forget()
    place.source().refresh(["amd64"], SILENT, force=True)
    assert len(place.server.requests) == 3


def test_only_lists_that_are_new_are_fetched(place: Place) -> None:
    before = place.source().refresh(["amd64"], SILENT)
    place.archive.publish(replace(SECURITY, packages=[FIXED, Deb("curl")], date=MTIME + 60))
    place.server.forget()
    source = place.source(max_age=0)
    assert source.refresh(["amd64"], SILENT) != before
    fetched = [path for path in place.server.paths(200) if not path.endswith("InRelease")]
    assert len(fetched) == 1
    assert fetched[0].startswith("/dists/bookworm-security/main/binary-amd64/by-hash/SHA256/")
    assert versions(source, "curl") == [("1.0-1", "bookworm-security")]


def test_another_architecture_within_the_time_is_fetched_beside_the_first(place: Place) -> None:
    place.archive.publish(replace(BOOKWORM, architectures=("amd64", "arm64")))
    first = place.source().refresh(["amd64"], SILENT)
    place.source().refresh(["arm64"], SILENT)
    place.server.forget()
    assert place.source().refresh(["amd64"], SILENT) == first
    assert place.server.requests == []


def test_equal_lists_are_an_equal_state_whatever_the_release_says(place: Place) -> None:
    before = place.source().refresh(["amd64"], SILENT)
    place.archive.publish(replace(BOOKWORM, date=MTIME + 60, fields={"Version": "12.99"}))
    assert place.source().refresh(["amd64"], SILENT, force=True) == before


def test_a_lost_or_damaged_index_is_made_again(place: Place) -> None:
    source = place.source()
    state = source.refresh(["amd64"], SILENT)
    indexes = place.folder / "store" / "indexes"
    for path in (indexes / "lists").iterdir():
        path.unlink()
    assert place.source().refresh(["amd64"], SILENT) == state
    assert versions(place.source(), "redis")
    for path in (indexes / "lists").iterdir():
        path.write_bytes(b"damaged" * 1000)
    assert versions(place.source(), "redis")
    for path in (indexes / "state").iterdir():
        path.write_text("{ damaged")
    assert place.source().refresh(["amd64"], SILENT) == state
    for path in (indexes / "releases").iterdir():
        path.write_text("damaged")
    assert place.source().refresh(["amd64"], SILENT, force=True) == state


def test_damage_that_shows_only_when_a_package_is_looked_up_is_repaired(place: Place) -> None:
    place.source().refresh(["amd64"], SILENT)
    for path in (place.folder / "store/indexes/lists").iterdir():
        with closing(sqlite3.connect(path)) as base:
            # what is left opens, and answers the question that opening asks
            base.execute("DROP TABLE provide")
            base.execute("ALTER TABLE package DROP COLUMN replaces")
            base.commit()
    source = place.source()
    assert source.resolve(["redis"], "amd64").packages
    assert versions(place.source(), "redis")


def test_a_file_where_indexes_belong_is_named(place: Place) -> None:
    indexes = place.folder / "store/indexes"
    indexes.parent.mkdir(parents=True)
    indexes.write_text("")
    with pytest.raises(RamekinError, match=r"indexes.* cannot be written"):
        place.source().refresh(["amd64"], SILENT)


def test_lists_that_nothing_refers_to_go_after_a_week(place: Place) -> None:
    place.source().refresh(["amd64"], SILENT)
    indexes = place.folder / "store" / "indexes"
    held = {path.name for path in (indexes / "lists").iterdir()}
    old, new = indexes / "lists" / f"{'0' * 64}.1.sqlite", indexes / "lists" / f".{'0' * 64}.1.sqlite.abc"
    for path in (old, new):
        path.write_bytes(b"")
    for path in [*(indexes / "lists").iterdir(), *(indexes / "releases").iterdir()]:
        if path != new:
            os.utime(path, (MTIME, MTIME))
    place.source().refresh(["amd64"], SILENT, force=True)
    assert {path.name for path in (indexes / "lists").iterdir()} == {*held, new.name}


def test_a_warm_refresh_needs_no_heavy_library(place: Place) -> None:
    place.source().refresh(["amd64"], SILENT)
    code = (
        "import sys; from pathlib import Path\n"
        "from ramekin.progress import SILENT\n"
        "from ramekin.sources.debian.source import DebianSettings, open_source\n"
        "from ramekin.store.store import Store\n"
        f"settings = DebianSettings(apt_dir=Path({str(place.folder / 'apt')!r}), timeout=5, retries=0)\n"
        f"source = open_source('debian:bookworm', Store.at({str(place.folder / 'store')!r}), settings)\n"
        "source.refresh(['amd64'], SILENT)\n"
        "heavy = {'niquests', 'pysequoia', 'sqlite3', 'obstore', 'zstandard'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    place.server.close()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_two_processes_that_refresh_at_once_fetch_once(place: Place) -> None:
    apt = place.archive.configure(place.folder / "apt", uri=place.server.url)
    code = (
        "from pathlib import Path\n"
        "from ramekin.progress import SILENT\n"
        "from ramekin.sources.debian.source import DebianSettings, open_source\n"
        "from ramekin.store.store import Store\n"
        f"source = open_source('debian:bookworm', Store.at({str(place.folder / 'store')!r}),"
        f" DebianSettings(apt_dir=Path({str(apt)!r})))\n"
        "print(source.refresh(['amd64'], SILENT), source.show('redis', 'amd64')[0].version)"
    )
    place.server.faults = [Fault("InRelease", delay=0.3)]
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = {process.communicate(timeout=60)[0] for process in running}
    assert len(answers) == 1
    assert answers.pop().split()[1] == "7.0-1+deb12u1"
    assert len(place.server.paths()) == len(set(place.server.paths()))


def test_threads_may_share_a_source(place: Place) -> None:
    source = place.source()
    answers: list[object] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append((source.refresh(["amd64"], SILENT), versions(source, "redis")))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers)


# --- trust -----------------------------------------------------------------------------------------------


def test_an_archive_signed_by_another_key_is_refused_and_leaves_nothing(place: Place) -> None:
    other = Archive(place.folder / "archive", SigningKey.generate())
    other.publish(BOOKWORM)
    source = place.source()
    with pytest.raises(SignatureError, match="does not hold that key"):
        source.refresh(["amd64"], SILENT)
    assert not list((place.folder / "store").rglob("*.sqlite"))


def test_an_index_changed_on_the_way_is_refused(place: Place) -> None:
    place.server.faults = [Fault("bookworm/InRelease", corrupt=True)]
    with pytest.raises(SignatureError):
        place.source().refresh(["amd64"], SILENT)


def test_an_unsigned_archive_is_refused(place: Place) -> None:
    for name in ("InRelease", "Release.gpg"):
        (place.archive.root / "dists" / "bookworm" / name).unlink()
    with pytest.raises(RamekinError, match="bookworm"):
        place.source().refresh(["amd64"], SILENT)


def test_a_detached_signature_will_do(place: Place) -> None:
    (place.archive.root / "dists" / "bookworm" / "InRelease").unlink()
    state = place.source().refresh(["amd64"], SILENT)
    assert place.source().refresh(["amd64"], SILENT, force=True) == state
    release = place.archive.root / "dists" / "bookworm" / "Release"
    release.write_bytes(release.read_bytes().replace(b"Test", b"Tost"))
    with pytest.raises(SignatureError):
        place.source().refresh(["amd64"], SILENT, force=True)


def test_a_release_of_another_suite_is_refused(place: Place) -> None:
    place.archive.publish(replace(BOOKWORM, suite="trixie", codename="trixie"))
    with pytest.raises(FormatError, match="is of the suite trixie and not of bookworm"):
        place.source().refresh(["amd64"], SILENT)


def test_a_release_past_its_time_is_refused_unless_that_is_wanted(place: Place) -> None:
    place.archive.publish(replace(BOOKWORM, valid_until=time.time() - 3600))
    with pytest.raises(ExpiredError, match="bookworm/InRelease was valid until"):
        place.source().refresh(["amd64"], SILENT)
    place.source(check_valid_until=False).refresh(["amd64"], SILENT)


def test_an_older_release_does_not_replace_a_newer_one(place: Place) -> None:
    old = (place.archive.root / "dists/bookworm-security/InRelease").read_bytes()
    place.archive.publish(replace(SECURITY, packages=[FIXED, Deb("curl")], date=MTIME + 60))
    state = place.source().refresh(["amd64"], SILENT)
    (place.archive.root / "dists/bookworm-security/InRelease").write_bytes(old)
    heard = Heard()
    source = place.source()
    assert source.refresh(["amd64"], heard, force=True) == state
    assert versions(source, "curl")
    assert len(heard.warnings) == 1
    assert "has an older bookworm-security than the one that was seen before" in heard.warnings[0]


@pytest.mark.parametrize("fault", [{"corrupt": True}, {"cut": 10}])
def test_a_list_that_is_not_the_one_listed_is_refused(place: Place, fault: dict[str, object]) -> None:
    place.server.faults = [Fault("Packages|by-hash", **fault)]  # type: ignore[arg-type]
    with pytest.raises((DigestMismatchError, NetworkError), match="binary-amd64"):
        place.source().refresh(["amd64"], SILENT)
    assert not list((place.folder / "store").rglob("*.sqlite"))
    place.server.faults = []
    place.source().refresh(["amd64"], SILENT)


def test_a_list_that_is_swapped_on_the_mirror_is_refused(place: Place) -> None:
    for path in (place.archive.root / "dists/bookworm/main").rglob("*"):
        if path.is_file():
            path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DigestMismatchError, match="is not the file that its Release lists"):
        place.source().refresh(["amd64"], SILENT)


def test_a_compressed_list_that_holds_something_else_is_refused(place: Place) -> None:
    import lzma

    data = lzma.compress(b"Package: evil\n")
    text = b"Package: good\n"
    path = place.archive.root / "dists/bookworm/main/binary-amd64/Packages.xz"
    path.write_bytes(data)
    place.archive.sign(
        replace(BOOKWORM, by_hash=False),
        [("main/binary-amd64/Packages", text), ("main/binary-amd64/Packages.xz", data)],
    )
    with pytest.raises(DigestMismatchError):
        place.source().refresh(["amd64"], SILENT)


def test_without_by_hash_lists_come_by_their_names(place: Place) -> None:
    place.archive.publish(replace(BOOKWORM, by_hash=False))
    place.source().refresh(["amd64"], SILENT)
    assert "/dists/bookworm/main/binary-amd64/Packages.xz" in place.server.paths(200)


def test_where_by_hash_is_missing_the_name_will_do(place: Place) -> None:
    place.server.faults = [Fault("by-hash", status=404)]
    place.source().refresh(["amd64"], SILENT)


@pytest.mark.parametrize("compressions", [("gz",), ("zst",), ("none",)])
def test_any_compression_of_a_list_will_do(place: Place, compressions: tuple[str, ...]) -> None:
    place.archive.publish(replace(BOOKWORM, compressions=compressions))
    source = place.source()
    source.refresh(["amd64"], SILENT)
    assert versions(source, "libc6")


# --- no network ------------------------------------------------------------------------------------------


def test_without_network_what_is_held_will_do_with_a_warning(place: Place) -> None:
    state = place.source().refresh(["amd64"], SILENT)
    place.source()
    place.server.close()
    heard = Heard()
    source = place.source()
    assert source.refresh(["amd64"], heard, force=True) == state
    assert versions(source, "redis")
    assert len(heard.warnings) == 1
    assert "bookworm, bookworm-updates, bookworm-security may be old" in heard.warnings[0]


def test_without_network_and_without_an_index_it_fails(place: Place) -> None:
    place.source()
    place.server.close()
    with pytest.raises(NetworkError, match="InRelease"):
        place.source().refresh(["amd64"], SILENT)


def test_without_network_an_index_past_its_time_will_not_do(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.time()
    place.archive.publish(replace(BOOKWORM, valid_until=begun + 1800))
    place.source().refresh(["amd64"], SILENT)
    place.server.close()
    monkeypatch.setattr(time, "time", lambda: begun + 3600)
    with pytest.raises(ExpiredError):
        place.source().refresh(["amd64"], SILENT, force=True)


def test_when_the_network_goes_in_the_middle_the_old_state_stays_whole(place: Place) -> None:
    state = place.source().refresh(["amd64"], SILENT)
    place.archive.publish(replace(SECURITY, packages=[Deb("curl")], date=MTIME + 60))
    place.server.faults = [Fault("by-hash|Packages", status=503)]
    heard = Heard()
    source = place.source()
    assert source.refresh(["amd64"], heard, force=True) == state
    assert versions(source, "redis")[0] == ("7.0-1+deb12u1", "bookworm-security")
    assert len(heard.warnings) == 1
    place.server.faults = []
    assert place.source().refresh(["amd64"], SILENT, force=True) != state


def test_a_mirror_of_one_suite_that_fails_does_not_hold_up_the_others(place: Place) -> None:
    place.source().refresh(["amd64"], SILENT)
    place.archive.publish(replace(BOOKWORM, packages=[LIBC, REDIS, Deb("curl")], date=MTIME + 60))
    place.server.faults = [Fault("security/InRelease", status=500)]
    heard = Heard()
    source = place.source()
    source.refresh(["amd64"], heard, force=True)
    assert versions(source, "curl")
    assert ["bookworm-security may be old" in text for text in heard.warnings] == [True]


# --- packages --------------------------------------------------------------------------------------------


def test_a_name_that_is_not_there_is_told_with_near_ones(place: Place) -> None:
    place.archive.publish(replace(BOOKWORM, packages=[LIBC, REDIS, Deb("keydb", provides="kv-store")]))
    source = place.source()
    with pytest.raises(NotFoundError, match="debian:bookworm has no package reids for amd64") as caught:
        source.show("reids", "amd64")
    assert caught.value.hint == "did you mean redis?"
    with pytest.raises(NotFoundError) as caught:
        source.show("kv-store", "amd64")
    assert caught.value.hint == "it is provided by keydb"


def test_search_goes_over_all_suites(place: Place) -> None:
    found = place.source().search(["redis"], "amd64")
    assert [(package.name, package.version) for package in found] == [("redis", "7.0-1+deb12u1")]


def test_a_request_is_resolved(place: Place) -> None:
    found = place.source().resolve(["redis"], "amd64")
    assert [str(package) for package in found.packages] == ["libc6=2.36-9:amd64", "redis=7.0-1+deb12u1:amd64"]


def test_an_index_in_an_object_store_is_kept_in_the_cache_folder(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.folder / "cache"))
    apt = place.archive.configure(place.folder / "apt", uri=place.server.url)
    source = open_source("debian:bookworm", Store.at("memory://x"), DebianSettings(apt_dir=apt))
    (package,) = source.show("libc6", "amd64")
    source.fetch([package], SILENT)
    assert source.open(package).tree["lib/libc.so.6"].read() == b"elf"
    assert list((place.folder / "cache" / "ramekin" / "indexes" / "state").iterdir())


def test_a_package_is_opened_as_it_was_made(place: Place) -> None:
    source = place.source()
    package = source.show("redis", "amd64")[0]
    source.fetch([package], SILENT)
    content = source.open(package)
    assert content.package is package
    assert content.tree["usr/bin/redis"].read() == b"run well"
    with pytest.raises(NotFoundError):
        source.open(source.show("libc6", "amd64")[0])


# --- the machine's own archive ---------------------------------------------------------------------------


@pytest.mark.archive
def test_the_machines_own_suite_opens(shared_store: Store) -> None:
    source = open_source("debian", shared_store)
    source.refresh(["amd64"], SILENT)
    package = source.show("base-files", "amd64")[0]
    source.fetch([package], SILENT)
    assert "usr/lib/os-release" in source.open(package).tree
    assert "ID=" in source.facts("amd64").os_release


@pytest.mark.archive
def test_status_is_what_dpkg_says_of_an_installed_package(shared_store: Store) -> None:
    source = open_source("debian", shared_store)
    compared = 0
    for name in ("base-files", "libc6", "tar", "bash", "gpgv"):
        said = subprocess.run(["dpkg", "-s", name], capture_output=True, text=True, env={"PATH": "/usr/bin"})
        version = next((line[9:] for line in said.stdout.split("\n") if line.startswith("Version: ")), "")
        for package in source.show(name, "amd64"):
            if said.returncode == 0 and package.version == version:
                source.fetch([package], SILENT)
                assert source.open(package).status.decode() == said.stdout
                compared += 1
    if not compared:
        pytest.skip("nothing is installed here in the version of the archive")


def test_generated_files_have_no_part_in_this() -> None:
    """The builder of archives gives the same bytes for the same values."""
    one = Deb("a", files={"etc/a": file("x", b"1", mode=0o600)})
    assert one.sha256 == Deb("a", files={"etc/a": file("y", b"1", mode=0o600)}).sha256
