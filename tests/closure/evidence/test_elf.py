"""ELF files as the dynamic loader reads them, and those that no loader would."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.elves import elf

from ramekin.closure.evidence import elf as reader
from ramekin.closure.evidence import strings

SAMPLE = elf(
    needed=("libssl.so.3", "libc.so.6"),
    interpreter="/lib64/ld-linux-x86-64.so.2",
    asks={"libc.so.6": ("GLIBC_2.34", "GLIBC_2.2.5"), "libssl.so.3": ("OPENSSL_3.0.0",)},
    defines=("libdemo.so.1", "DEMO_1"),
    runpath="$ORIGIN/../lib:/opt/demo",
    strings=("/etc/demo.conf", "libplugin.so.2"),
)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_every_class_and_byte_order_reads_the_same(wide: bool, little: bool) -> None:
    data = elf(
        needed=("liba.so.1", "libb.so.2"),
        soname="libme.so.3",
        asks={"liba.so.1": ("A_1", "A_2"), "libb.so.2": ("B_1",)},
        defines=("libme.so.3", "ME_1"),
        rpath="/opt/a:/opt/b",
        wide=wide,
        little=little,
        machine=21,
    )
    read = reader.read(data)
    assert read.needed == ["liba.so.1", "libb.so.2"]
    assert read.soname == "libme.so.3"
    assert read.asked == {"liba.so.1": ["A_1", "A_2"], "libb.so.2": ["B_1"]}
    assert read.defined == ["libme.so.3", "ME_1"]
    assert read.search == ["/opt/a", "/opt/b"]
    assert read.inherits
    assert read.machine == f"{64 if wide else 32}-{1 if little else 2}-21"


def test_a_program_tells_its_loader_and_its_search() -> None:
    read = reader.read(SAMPLE)
    assert read.interpreter == "/lib64/ld-linux-x86-64.so.2"
    assert read.search == ["$ORIGIN/../lib", "/opt/demo"]
    assert not read.inherits


def test_paths_and_object_names_are_found_in_its_strings() -> None:
    read = reader.read(SAMPLE)
    found = [strings.paths(SAMPLE, start, start + size) for start, size in read.strings]
    assert "/etc/demo.conf" in set().union(*found)
    objects = [strings.objects(SAMPLE, start, start + size) for start, size in read.strings]
    assert "libplugin.so.2" in set().union(*objects)


def test_settings_of_the_build_are_no_paths_of_a_program() -> None:
    data = b"\0--prefix=/usr/share/build 'PROVE=/usr/bin/prove'\0/usr/share/real\0"
    assert strings.paths(data, assigned=False) == {"/usr/share/real"}


def test_command_lines_are_told_from_words() -> None:
    data = b"\0exec gcc -c %s\0gs -q %s\0a word -\0no -- really\0"
    assert strings.command_lines(data, 0, len(data)) >= {"gcc", "gs"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:10], "too short"),
        (lambda data: data[:4] + b"\x09" + data[5:], "class or byte order"),
        (lambda data: data[:300], "leads out of the file|not there"),
        (lambda data: data[:54] + struct.pack("<H", 7) + data[56:], "unknown size"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(damage, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(reader.BadElf, match=reason):
        reader.read(damage(SAMPLE))


def test_a_version_table_that_leads_to_itself_ends() -> None:
    data = bytearray(SAMPLE)
    needle = struct.pack("<HHI", 1, 2, SAMPLE.find(b"libc.so.6") - SAMPLE.find(b"\0libssl.so.3"))
    place = data.find(needle)
    assert place > 0
    struct.pack_into("<I", data, place + 12, 0xFFFFFFF0)
    with pytest.raises(reader.BadElf):
        reader.read(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=12))
def test_no_bytes_raise_anything_else(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for place, value in changes:
        data[place] = value
    try:
        reader.read(bytes(data))
    except reader.BadElf:
        pass


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_behind_the_magic_number_is_bad_elf_at_worst(data: bytes) -> None:
    try:
        reader.read(reader.MAGIC + data)
    except reader.BadElf:
        pass
