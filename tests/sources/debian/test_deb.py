"""Package files opened, and those that must not be."""

from __future__ import annotations

import gc
import io
import lzma
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.archive import MTIME, Deb, ar, compress, suffix, tar

from ramekin.errors import DigestMismatchError, FormatError, RamekinError
from ramekin.image.tree import Entry, Kind, directory, file, symlink
from ramekin.sources.debian import control, deb
from ramekin.sources.protocol import Package, PackageContent
from ramekin.store import digest as digests
from ramekin.store.verify import verified

REDIS = Deb(
    "redis",
    "5:7.0-1",
    files={
        "usr/bin/redis": b"run",
        "usr/share/doc/redis/copyright": b"free",
        "etc/redis.conf": b"port 6379\n",
        "usr/bin/redis-link": symlink("x", "redis"),
        "usr/bin/redis-hard": Entry(path="x", kind=Kind.HARDLINK, target="usr/bin/redis"),
        "var/lib/redis": directory("x", mode=0o750, uid=100, gid=101),
        "bin/up": symlink("x", "../usr/bin/redis"),
        "etc/absolute": symlink("x", "/etc/redis.conf"),
    },
    scripts={
        "postinst": "#!/bin/sh\nset -e\n",
        "conffiles": "/etc/redis.conf\nremove-on-upgrade /etc/old.conf\n",
        "triggers": "interest x\n",
    },
    depends="libc6",
    fields={"Homepage": "https://redis.example"},
    description="a store\n of keys\n .\n   indented",
)


def package(made: Deb, data: bytes | None = None) -> Package:
    blob = made.blob if data is None else data
    return Package(
        name=made.name,
        version=made.version,
        architecture=made.architecture,
        digest=digests.of(blob),
        size=len(blob),
        location=made.location,
    )


def opened(made: Deb, spool: Path, data: bytes | None = None, limit: int | None = None) -> PackageContent:
    blob = made.blob if data is None else data
    wanted = package(made, blob)
    return deb.read(verified(io.BytesIO(blob), wanted.digest, wanted.size), wanted, spool=spool, limit=limit)


def refused(made: Deb, spool: Path, data: bytes | None = None, limit: int | None = None) -> str:
    """The message with which a package is refused; nothing is left in the spool."""
    with pytest.raises(FormatError) as caught:
        opened(made, spool, data, limit)
    message = caught.value.message
    assert made.location.rpartition("/")[2] in message
    assert "\n" not in message
    del caught
    gc.collect()
    assert list(spool.iterdir()) == []
    return message


def with_data(entries: Iterable[Entry] | bytes, *, how: str = "xz") -> bytes:
    """A package whose data.tar holds `entries`."""
    data = entries if isinstance(entries, bytes) else tar(entries)
    return members(data=compress(data, how), data_name="data.tar" + suffix(how))


def members(**changes: object) -> bytes:
    given = {
        "version": b"2.0\n",
        "control": compress(REDIS.control, "xz"),
        "control_name": "control.tar.xz",
        "data": compress(REDIS.data, "xz"),
        "data_name": "data.tar.xz",
        **changes,
    }
    return ar(
        [
            ("debian-binary", given["version"]),  # type: ignore[list-item]
            (str(given["control_name"]), given["control"]),  # type: ignore[list-item]
            (str(given["data_name"]), given["data"]),  # type: ignore[list-item]
        ]
    )


@pytest.mark.parametrize("how", ["xz", "gz", "zst", "none"])
def test_a_package_is_opened_whatever_compresses_it(tmp_path: Path, how: str) -> None:
    content = opened(replace(REDIS, compression=how), tmp_path)
    tree = content.tree
    assert tree["usr/bin/redis"].read() == b"run"
    assert tree["usr/bin/redis"].mode == 0o755
    assert tree["usr/bin/redis-link"].target == "redis"
    assert (tree["usr/bin/redis-hard"].kind, tree["usr/bin/redis-hard"].target) == (
        Kind.HARDLINK,
        "usr/bin/redis",
    )
    assert (tree["var/lib/redis"].mode, tree["var/lib/redis"].uid, tree["var/lib/redis"].gid) == (
        0o750,
        100,
        101,
    )
    assert tree["etc/redis.conf"].mtime == MTIME
    assert "" not in tree
    assert dict(content.scripts) == {
        "conffiles": b"/etc/redis.conf\nremove-on-upgrade /etc/old.conf\n",
        "postinst": b"#!/bin/sh\nset -e\n",
        "triggers": b"interest x\n",
    }
    assert b"  usr/bin/redis\n" in content.md5sums


def test_dpkg_writes_what_is_read(tmp_path: Path) -> None:
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb")
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: redis\nVersion: 5:7.0-1\nArchitecture: amd64\n"
        "Maintainer: x <x@example.org>\nDescription: x\n"
    )
    long = "usr/share/" + "/".join(["a-long-folder-name" * 3] * 5)
    (root / long).mkdir(parents=True)
    (root / long / "file").write_bytes(b"deep")
    for how in ("xz", "gzip", "zstd", "none"):
        out = tmp_path / f"{how}.deb"
        made = subprocess.run(
            ["dpkg-deb", f"-Z{how}", "--root-owner-group", "-b", root, out], capture_output=True
        )
        if made.returncode:
            continue
        assert opened(REDIS, tmp_path, out.read_bytes()).tree[f"{long}/file"].read() == b"deep"


def test_status_is_arranged_as_dpkg_prints_it(tmp_path: Path) -> None:
    text = opened(REDIS, tmp_path).status.decode()
    assert text == (
        "Package: redis\nStatus: install ok installed\nPriority: optional\nSection: misc\n"
        f"Installed-Size: {REDIS.paragraph['Installed-Size']}\nMaintainer: A Test <test@example.org>\n"
        "Architecture: amd64\nVersion: 5:7.0-1\nDepends: libc6\n"
        "Conffiles:\n /etc/redis.conf 4f45cf9386c7cd0b4d4447dc26689c6d\n"
        "Description: a store\n of keys\n .\n   indented\nHomepage: https://redis.example\n"
    ).replace("4f45cf9386c7cd0b4d4447dc26689c6d", _md5(b"port 6379\n"))
    again = control.paragraph(text, where="status")
    assert again["Description"] == "a store\nof keys\n.\n  indented"


def _md5(data: bytes) -> str:
    import hashlib

    return hashlib.md5(data).hexdigest()


def test_members_that_begin_with_an_underscore_are_passed_over(tmp_path: Path) -> None:
    data = ar(
        [
            ("debian-binary", b"2.0\n"),
            ("_first", b"odd"),
            ("control.tar.xz", compress(REDIS.control, "xz")),
            ("_second", b"even"),
            ("data.tar.xz", compress(REDIS.data, "xz")),
            ("_gpgorigin", b"signed"),
        ]
    )
    assert opened(REDIS, tmp_path, data).tree["usr/bin/redis"].read() == b"run"


def test_names_with_a_slash_as_system_v_writes_them_are_read(tmp_path: Path) -> None:
    data = REDIS.blob.replace(b"debian-binary   ", b"debian-binary/  ")
    assert opened(REDIS, tmp_path, data).tree["usr/bin/redis"].read() == b"run"


# --- what must not be opened -----------------------------------------------------------------------------


def test_other_bytes_than_the_index_says_are_refused(tmp_path: Path) -> None:
    for data in (
        REDIS.blob[:-1] + bytes([REDIS.blob[-1] ^ 1]),
        REDIS.blob[:200] + bytes([REDIS.blob[200] ^ 1]) + REDIS.blob[201:],
        REDIS.blob[: len(REDIS.blob) // 2],
        REDIS.blob + b"x",
        b"",
    ):
        stream = verified(io.BytesIO(data), digests.of(REDIS.blob), len(REDIS.blob), where="redis.deb")
        with pytest.raises(DigestMismatchError):
            deb.read(stream, package(REDIS), spool=tmp_path)
        gc.collect()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"!<arch", b"PK\3\4" + b"x" * 200, b"\x7fELF" * 99])
def test_what_is_no_ar_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "is not a Debian package: it is no ar archive" in refused(REDIS, tmp_path, data)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_truncated_package_is_refused(tmp_path: Path, share: float) -> None:
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    refused(REDIS, spool, REDIS.blob[: int(len(REDIS.blob) * share)])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.999), value=st.integers(0, 255), how=st.sampled_from(["none", "gz", "xz", "zst"]))
def test_a_damaged_package_is_refused_or_read_and_never_breaks(
    tmp_path: Path, place: float, value: int, how: str
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    made = replace(REDIS, compression=how)
    data = bytearray(made.blob)
    data[int(len(data) * place)] = value
    try:
        opened(made, spool, bytes(data))
    except RamekinError as error:
        assert "redis_7.0-1_amd64.deb" in error.message


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([file("../../etc/passwd", b"x")], "'../../etc/passwd' leads out of the tree"),
        ([file("usr/../../x", b"x")], "leads out of the tree"),
        ([Entry(path="dev/sda", kind=Kind.BLOCK, device=(8, 0))], "'dev/sda' is a block device"),
        ([Entry(path="dev/null", kind=Kind.CHARACTER, device=(1, 3))], "'dev/null' is a character device"),
        ([Entry(path="run/pipe", kind=Kind.FIFO)], "'run/pipe' is a fifo"),
        ([symlink("usr/x", "../../etc/shadow")], "'usr/x' is a link to '../../etc/shadow', which leads out"),
        ([symlink("x", "..")], "which leads out of the tree"),
        ([symlink("x", "/../x")], "which leads out of the tree"),
        ([Entry(path="x", kind=Kind.HARDLINK, target="../../etc/shadow")], "'../../etc/shadow'"),
        ([Entry(path="x", kind=Kind.HARDLINK, target="etc/shadow")], "'x'"),
        ([symlink("a", "/etc"), file("a/passwd", b"x")], "'a/passwd' lies below 'a'"),
        ([file("a", b"1"), file("a/b", b"x")], "'a/b' lies below 'a'"),
    ],
)
def test_an_entry_that_could_do_harm_is_named(tmp_path: Path, entries: list[Entry], message: str) -> None:
    assert message in refused(REDIS, tmp_path, with_data(entries))


def test_absolute_names_are_taken_below_the_root(tmp_path: Path) -> None:
    data = with_data(tar([file("etc/x", b"1")], prefix="/"))
    assert opened(REDIS, tmp_path, data).tree["etc/x"].read() == b"1"


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    if not shutil.which("tar"):
        pytest.skip("no tar")
    sparse = tmp_path / "made" / "huge"
    sparse.parent.mkdir()
    with sparse.open("wb") as stream:
        stream.truncate(10 << 30)
    for form in ("gnu", "pax"):
        made = subprocess.run(
            ["tar", "-cS", f"--format={form}", "-C", sparse.parent, "huge"], capture_output=True, check=True
        )
        spool = tmp_path / form
        spool.mkdir()
        assert "sparse" in refused(REDIS, spool, with_data(made.stdout))


def test_ten_gigabytes_of_zeros_fill_no_disk(tmp_path: Path) -> None:
    """A member that says 10 GB, and a stream that would give them."""
    info = tarfile.TarInfo("./huge")
    info.size = 10 << 30
    head = info.tobuf(tarfile.GNU_FORMAT)
    compressor = lzma.LZMACompressor(preset=0)
    data = compressor.compress(head) + compressor.compress(bytes(80 << 20)) + compressor.flush()
    assert "entry 'huge' has 10737418240 bytes" in refused(REDIS, tmp_path, members(data=data))
    # a header that lies about a little more than is there
    info.size = 1 << 20
    head = info.tobuf(tarfile.GNU_FORMAT)
    assert "truncated" in refused(REDIS, tmp_path, with_data(head + b"x" * 1000))
    # and many files, each of them small enough
    many = tar([file(f"f{number}", bytes(1 << 20)) for number in range(65)])
    assert "data.tar.xz" in refused(REDIS, tmp_path, with_data(many))


def test_a_limit_can_be_set_and_is_four_times_what_the_package_says(tmp_path: Path) -> None:
    big = [file("big", bytes(1 << 20))]
    assert opened(REDIS, tmp_path, with_data(big)).tree["big"].size == 1 << 20
    assert str(512 << 10) in refused(REDIS, tmp_path, with_data(big), limit=512 << 10).replace(",", "")
    honest = replace(REDIS, files={}, fields={"Installed-Size": str(20 << 10)})
    data = members(
        control=compress(honest.control, "xz"), data=compress(tar([file("big", bytes(70 << 20))]), "xz")
    )
    assert opened(REDIS, tmp_path, data).tree["big"].size == 70 << 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ar([]), "has no debian-binary"),
        (ar([("debian-binary", b"2.0\n")]), "has no control.tar"),
        (ar([("debian-binary", b"2.0\n"), ("control.tar", REDIS.control)]), "has no data.tar"),
        (members(version=b"3.0\n"), "is not a Debian package of format 2"),
        (members(control_name="data.tar.xz"), "has a member data.tar.xz where control.tar should stand"),
        (members(data_name="data.tar.rar"), "has a member data.tar.rar where data.tar should stand"),
        (members(data_name="extra"), "has a member extra where data.tar should stand"),
        (members() + ar([("data.tar", b"")])[8:], "has a member data.tar behind data.tar"),
        (members(data=b"not xz at all"), "data.tar.xz: the xz stream is damaged"),
        (members(data=lzma.compress(b"no tar at all" * 100)), "data.tar.xz"),
        (members(control=compress(tar([]), "xz")), "has no control file"),
        (members(control=compress(tar([file("a/control", b"")]), "xz")), "'a/control'"),
        (members(control=compress(tar([symlink("control", "/etc/passwd")]), "xz")), "and no control file"),
        (members(control=compress(tar([file("control", b"no field")]), "xz")), "is not 'Field: value'"),
        (REDIS.blob[:60] + b"x" + REDIS.blob[61:], "the header of member"),
    ],
)
def test_a_package_that_is_put_together_wrongly_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    assert message in refused(REDIS, tmp_path, data)


@pytest.mark.parametrize("field", ["name", "version", "architecture"])
def test_a_package_that_is_another_than_the_index_says_is_named(tmp_path: Path, field: str) -> None:
    other = replace(REDIS, **{field: "arm64"})  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="the index says 'arm64'"):
        opened(other, tmp_path, REDIS.blob)


def test_a_large_package_is_opened_in_bounded_memory(tmp_path: Path) -> None:
    chunk = bytes(range(256)) * 4096
    files = {f"usr/lib/f{number}": chunk * 8 for number in range(8)}
    data = replace(REDIS, files=files).blob
    assert sum(map(len, files.values())) == 64 << 20
    del files
    tracemalloc.start()
    content = opened(REDIS, tmp_path, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert content.tree["usr/lib/f7"].size == 8 << 20
    assert peak < 24 << 20


def test_the_spool_goes_when_the_tree_does(tmp_path: Path) -> None:
    content = opened(REDIS, tmp_path)
    assert list(tmp_path.iterdir())
    del content
    gc.collect()
    assert list(tmp_path.iterdir()) == []
