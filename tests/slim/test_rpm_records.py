"""rpm's database in a slim image: what rpm itself says of one that was cut down."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from shelf_of_units import Files, contents, seen
from support.containers import need, ramekin
from support.elves import elf

from ramekin.analyze.examine import rpm as examine
from ramekin.image import layer
from ramekin.image.oci import Runtime
from ramekin.slim import rpm
from ramekin.slim.rebuild import rebuild
from ramekin.slim.units import Choice, Level, complete
from ramekin.store.store import Store

SPEC = """\
Name: demo
Version: 1.2
Release: 3
Summary: A demonstration
License: MIT
BuildArch: noarch
%description
It has files.
%package -n idle
Summary: Nothing uses it
Requires: demo
%description -n idle
It has a file.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/demo %{buildroot}/usr/share/idle
echo '#!/bin/sh' > %{buildroot}/usr/bin/demo
echo data > %{buildroot}/usr/share/demo/data
echo other > %{buildroot}/usr/share/demo/other
echo idle > %{buildroot}/usr/share/idle/idle
%files
/usr/bin/demo
/usr/share/demo
%files -n idle
/usr/share/idle
"""
BOTH = frozenset({"rpm:demo", "rpm:idle"})


def everything(name: str) -> bool:
    return True


def nothing(name: str) -> bool:
    return False


def one_of(*names: str) -> rpm.There:
    return lambda name: name in names


# --- by hand


def header(name: str, files: Sequence[str], states: bytes | None = None) -> bytes:
    """A header as rpm keeps it in its database."""
    folders = [file.rpartition("/")[0] + "/" for file in files]
    texts = {1000: [name], 1001: ["1"], 1002: ["1"], 1022: ["noarch"], 1044: [f"{name}-1-1.src.rpm"]}
    values: list[tuple[int, int, int, bytes]] = [
        (tag, 6, 1, text.encode() + b"\0") for tag, (text,) in texts.items()
    ]
    values.append((1116, 4, len(files), struct.pack(f">{len(files)}I", *range(len(files)))))
    bases = [file.rpartition("/")[2] for file in files]
    values += [
        (tag, 8, len(names), b"".join(one.encode() + b"\0" for one in names))
        for tag, names in ((1117, bases), (1118, folders))
        if names
    ]
    values.append((1029, 1, len(files), states if states is not None else bytes(len(files))))
    index, data = b"", b""
    for tag, kind, count, value in values:
        data += bytes(-len(data) % 4 if kind == 4 else 0)
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += value
    return struct.pack(">II", len(values), len(data)) + index + data


def database(place: Path, packages: Mapping[str, Sequence[str]], *more: str) -> bytes:
    """A database with the tables of names and files that rpm's have; `more` are further statements."""
    connection = sqlite3.connect(place)
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    for table in ("Name", "Basenames", "Group"):
        connection.execute(f"CREATE TABLE '{table}' (key TEXT NOT NULL, hnum INTEGER NOT NULL, idx INTEGER)")
        connection.execute(f"CREATE INDEX '{table}_key_idx' ON '{table}'(key ASC)")
    for name, files in packages.items():
        number = connection.execute(
            "INSERT INTO Packages (blob) VALUES (?)", (header(name, files),)
        ).lastrowid
        connection.execute("INSERT INTO Name VALUES (?, ?, 0)", (name, number))
        connection.execute('INSERT INTO "Group" VALUES (?, ?, 0)', ("Unspecified", number))
        rows = [(file.rpartition("/")[2], number, at) for at, file in enumerate(files)]
        connection.executemany("INSERT INTO Basenames VALUES (?, ?, ?)", rows)
    for statement in more:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return place.read_bytes()


PACKAGES = {"demo": ("/usr/bin/demo", "/usr/share/demo/data"), "idle": ("/usr/share/idle/idle",), "keys": ()}


def rows(data: bytes, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(":memory:")
    connection.deserialize(data)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def names(data: bytes) -> list[str]:
    found = examine.examine("var/lib/rpm/rpmdb.sqlite", data)
    assert found is not None
    return [package["name"] for package in found["packages"]]


def test_packages_go_from_every_table_and_the_states_of_files_say_which_are_there(tmp_path: Path) -> None:
    data = database(tmp_path / "db", PACKAGES)
    there = one_of("/usr/bin/demo")
    made = rpm.cut_down(data, b"", BOTH, there)
    assert made is not None
    assert names(made) == ["demo"]
    for table in ("Name", "Basenames", '"Group"'):
        assert {hnum for (hnum,) in rows(made, f"SELECT hnum FROM {table}")} == {1}
    ((blob,),) = rows(made, "SELECT blob FROM Packages")
    assert blob == header("demo", PACKAGES["demo"], bytes([0, rpm.NOT_INSTALLED]))


def test_where_everything_stays_the_database_is_as_it_was(tmp_path: Path) -> None:
    data = database(tmp_path / "db", PACKAGES)
    assert rpm.cut_down(data, b"", BOTH | {"rpm:keys"}, everything) is data


def test_the_same_database_gives_the_same_bytes_however_it_was_written(tmp_path: Path) -> None:
    there = one_of("/usr/bin/demo")
    one = database(tmp_path / "one", PACKAGES)
    # the count of changes and the library's version in the head of a file are no part of what it says
    other = bytearray(one)
    other[24:28] = other[92:96] = struct.pack(">I", 77)
    made = {rpm.cut_down(bytes(data), b"", BOTH, there) for data in (one, one, other)}
    assert len(made) == 1


def test_what_the_log_has_is_in_the_database(tmp_path: Path) -> None:
    place = tmp_path / "db"
    database(place, {"idle": PACKAGES["idle"]})
    writer = sqlite3.connect(place)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO Packages (blob) VALUES (?)", (header("demo", PACKAGES["demo"]),))
    writer.commit()
    data, log = place.read_bytes(), Path(f"{place}-wal").read_bytes()
    writer.close()
    assert log
    made = rpm.cut_down(data, log, BOTH, everything)
    assert made is not None
    assert names(made) == ["demo", "idle"]
    assert made[18:20] == b"\x01\x01"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER DELETE ON Packages BEGIN DELETE FROM Name; END",
        "CREATE VIEW v AS SELECT * FROM Packages",
        "DROP TABLE Packages",
    ],
)
def test_what_is_no_database_of_rpm_is_left_alone(tmp_path: Path, statement: str) -> None:
    assert rpm.cut_down(database(tmp_path / "db", PACKAGES, statement), b"", BOTH, nothing) is None


def test_damage_leaves_a_database_unread_or_cuts_it(tmp_path: Path) -> None:
    data = database(tmp_path / "db", PACKAGES)
    for place in range(0, len(data), 331):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        rpm.cut_down(bytes(broken), b"", BOTH, one_of("/usr/bin/demo"))
        rpm.cut_down(data[:place], b"x" * 99, BOTH, one_of("/usr/bin/demo"))
    assert rpm.cut_down(b"", b"", BOTH, nothing) is None


def test_the_databases_of_an_image_are_found_and_the_files_beside_them_go(
    store: Store, tmp_path: Path
) -> None:
    data = database(tmp_path / "db", PACKAGES)
    place = "usr/lib/sysimage/rpm/rpmdb.sqlite"
    found = contents(store, tmp_path, {place: data, f"{place}-wal": b"", f"{place}-shm": b"s" * 32768})
    changed, gone = rpm.records(found, BOTH, one_of("/usr/bin/demo"))
    assert [*changed] == [place]
    assert names(changed[place]) == ["demo"]
    assert gone == {f"{place}-wal", f"{place}-shm"}
    all_stay = rpm.records(found, BOTH | {"rpm:keys"}, everything)
    assert all_stay == ({place: data}, frozenset())


def test_a_slim_image_has_the_packages_that_stay(store: Store, tmp_path: Path) -> None:
    place = "var/lib/rpm/rpmdb.sqlite"
    files: Files = {
        "bin": "-> usr/bin",
        "usr/bin/demo": elf(program=True),
        "usr/share/idle/idle": "x",
        place: database(tmp_path / "db", {**PACKAGES, "demo": ("/bin/demo", "/usr/share/demo/data")}),
        f"{place}-wal": "",
    }
    found = contents(store, tmp_path, files, run=Runtime(cmd=("demo",), env=("PATH=/usr/bin",)))
    for level in Level:
        selection = complete(found, seen("usr/bin/demo", executed=("usr/bin/demo",)), Choice(level=level))
        made = rebuild(found, selection, store=store).image
        tree = layer.apply([layer.read(blob, store, spool=tmp_path) for blob in made.manifest().layers])
        assert names(tree[place].read()) == ["demo"]
        assert f"{place}-wal" not in tree


# --- by rpm


@pytest.fixture(scope="module")
def rpms(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that runs a program of rpm's with the folder `work` as /mnt."""
    need("bwrap")
    root = tmp_path_factory.mktemp("tools") / "root"
    programs = ("rpm", "bash", "coreutils", "findutils", "grep", "sed", "gawk", "tar")
    folder = Path(__file__).parents[2] / ".cache" / "store"
    ramekin("build", *programs, "--source", "debian:trixie", "-o", f"rootfs:{root}", "--store", folder)

    def run(work: Path, *command: str, fails: bool = False, writes: bool = True) -> str:
        sandbox = ["bwrap", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        inside = [
            *sandbox,
            "--tmpfs",
            "/var/tmp",
            "--bind" if writes else "--ro-bind",
            work,
            "/mnt",
            "--chdir",
            "/mnt",
            *command,
        ]
        done = subprocess.run(list(map(str, inside)), capture_output=True, text=True, timeout=120)
        assert bool(done.returncode) is fails, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.archive
@pytest.mark.runtime
def test_rpm_lists_the_packages_that_are_there_verifies_them_and_finds_the_database_sound(
    rpms: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "demo.spec").write_text(SPEC)
    rpms(tmp_path, "rpmbuild", "-bb", "--define", "_topdir /mnt/b", "--define", "_rpmdir /mnt", "demo.spec")
    rpm_in = ("rpm", "--root", "/mnt/root", "--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite")
    packages = [f"noarch/{name}-1.2-3.noarch.rpm" for name in ("demo", "idle")]
    (tmp_path / "root").mkdir()
    rpms(tmp_path, *rpm_in, "--nosignature", "--nodeps", "-i", *packages)
    root = tmp_path / "root"
    place = root / "var/lib/rpm/rpmdb.sqlite"
    assert sorted(rpms(tmp_path, *rpm_in, "-qa").split()) == ["demo-1.2-3.noarch", "idle-1.2-3.noarch"]

    for name in ("usr/share/demo/other", "usr/share/idle/idle"):
        (root / name).unlink()
    (root / "usr/share/idle").rmdir()
    assert "missing" in rpms(tmp_path, *rpm_in, "-V", "demo", fails=True)
    made = rpm.cut_down(
        place.read_bytes(),
        Path(f"{place}-wal").read_bytes(),
        frozenset({"rpm:demo"}),
        lambda name: (root / name.lstrip("/")).exists(),
    )
    assert made is not None
    for end in rpm.BESIDE:
        Path(f"{place}{end}").unlink()
    place.write_bytes(made)

    sealed = ("rpm", "--dbpath", "/mnt/root/var/lib/rpm", "--define", "_db_backend sqlite")
    assert rpms(tmp_path, *sealed, "-qa", writes=False).split() == ["demo-1.2-3.noarch"]
    assert rpms(tmp_path, *rpm_in, "-qa").split() == ["demo-1.2-3.noarch"]
    states = rpms(tmp_path, *rpm_in, "-qs", "demo").splitlines()
    assert [line.rsplit(maxsplit=1)[0].strip() for line in states] == [
        *("normal", "normal", "normal", "not installed")
    ]
    assert rpms(tmp_path, *rpm_in, "-V", "demo") == ""
    assert rpms(tmp_path, *rpm_in, "-qf", "/usr/bin/demo").split() == ["demo-1.2-3.noarch"]
    assert rpms(tmp_path, *rpm_in, "-q", "--whatrequires", "demo", fails=True).startswith("no package")
    rpms(tmp_path, "rpmdb", *rpm_in[1:], "--verifydb")
    rpms(tmp_path, *rpm_in, "-e", "--nodeps", "demo")
    assert rpms(tmp_path, *rpm_in, "-qa") == ""
