"""The machine's apt configuration, both formats, and what a source is made of."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archive import SigningKey

from ramekin.errors import FormatError, NotFoundError, UsageError
from ramekin.sources.debian import apt, suites
from ramekin.sources.debian.apt import Configuration, SourceEntry

MIRROR = "http://mirror.example/debian"
SECURITY = "http://mirror.example/security"


def one_line(text: str) -> list[SourceEntry]:
    return list(apt.parse_list(text, where="x.list"))


def deb822(text: str) -> list[SourceEntry]:
    return list(apt.parse_sources(text, where="x.sources"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"deb {MIRROR} bookworm main", (MIRROR, ("bookworm",), ("main",), (), ())),
        (
            f"deb\t{MIRROR}/  bookworm   main  contrib # mine",
            (MIRROR, ("bookworm",), ("main", "contrib"), (), ()),
        ),
        (
            f"deb [arch=amd64,arm64 signed-by=/k.gpg] {MIRROR} bookworm main",
            (MIRROR, ("bookworm",), ("main",), ("amd64", "arm64"), ("/k.gpg",)),
        ),
        (
            f"deb [ signed-by=/a.gpg,/b.gpg trusted=no ] {MIRROR} bookworm main",
            (MIRROR, ("bookworm",), ("main",), (), ("/a.gpg", "/b.gpg")),
        ),
        (f"deb {MIRROR} ./", (MIRROR, ("./",), (), (), ())),
        ("deb file:/srv/debian sid main", ("file:/srv/debian", ("sid",), ("main",), (), ())),
        (
            "deb mirror+file:/etc/apt/mirrors/debian.list bookworm main",
            ("mirror+file:/etc/apt/mirrors/debian.list", ("bookworm",), ("main",), (), ()),
        ),
    ],
)
def test_a_line_is_read_as_apt_reads_it(line: str, expected: tuple[object, ...]) -> None:
    (entry,) = one_line(line)
    assert (entry.uri, entry.suites, entry.components, entry.architectures, entry.signed_by) == expected


def test_lines_that_name_no_binary_packages_are_passed_over() -> None:
    assert one_line(f"# deb {MIRROR} a main\n\ndeb-src {MIRROR} bookworm main\n  #\n") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("debs http://x y z", "is not a type of source"),
        ("deb http://x", "needs a URI and a suite"),
        ("deb http://x bookworm", "has no components"),
        ("deb http://x ./ main", "can have no components"),
        ("deb nowhere bookworm main", "is not a URI"),
        ("deb [arch] http://x bookworm main", "has no value"),
        ("deb http://x ../../etc main", "leads out of the mirror"),
    ],
)
def test_a_line_that_is_wrong_is_named(line: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        one_line("\n" + line)
    assert "x.list, line 2" in caught.value.message


def test_a_paragraph_is_read_as_apt_reads_it() -> None:
    entries = deb822(
        f"# a comment\nTypes: deb deb-src\nURIs: {MIRROR} {SECURITY}\nSuites: bookworm\n  bookworm-updates\n"
        "# in between\nComponents: main contrib\nArchitectures: amd64\nsigned-by: /k.gpg\n"
        "Check-Valid-Until: no\nBy-Hash: no\n"
    )
    assert [entry.uri for entry in entries] == [MIRROR, SECURITY]
    assert {entry.suites for entry in entries} == {("bookworm", "bookworm-updates")}
    assert entries[0].components == ("main", "contrib")
    assert entries[0].architectures == ("amd64",)
    assert entries[0].signed_by == ("/k.gpg",)
    assert not entries[0].check_valid_until
    assert not entries[0].by_hash


@pytest.mark.parametrize("value", ["no", "false", "0", "off", "NO"])
def test_a_disabled_paragraph_does_not_count(value: str) -> None:
    text = f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm\nComponents: main\nEnabled: {value}\n"
    assert deb822(text) == []
    assert len(deb822(text.replace(f"Enabled: {value}", "Enabled: yes"))) == 1


def test_sources_without_binary_packages_do_not_count() -> None:
    assert deb822(f"Types: deb-src\nURIs: {MIRROR}\nSuites: bookworm\nComponents: main\n") == []


@pytest.mark.parametrize("missing", ["URIs", "Suites"])
def test_a_paragraph_without_a_field_it_needs_is_named(missing: str) -> None:
    lines = ["Types: deb", f"URIs: {MIRROR}", "Suites: bookworm", "Components: main"]
    text = "\n".join(line for line in lines if not line.startswith(missing))
    with pytest.raises(FormatError, match=f"paragraph 1: the field {missing.capitalize()} is missing"):
        deb822(text)


def test_a_key_can_stand_inline(signing_key: SigningKey) -> None:
    block = "".join(f" {line or '.'}\n" for line in signing_key.armored.strip().split("\n"))
    (entry,) = deb822(f"Types: deb\nURIs: {MIRROR}\nSuites: sid\nComponents: main\nSigned-By:\n{block}")
    assert entry.signed_by == (signing_key.armored.strip(),)


words = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    suite=words,
    components=st.lists(words, min_size=1, max_size=3, unique=True),
    architectures=st.lists(words, max_size=2, unique=True),
    key=st.sampled_from(["", "/usr/share/keyrings/a.gpg"]),
    valid=st.booleans(),
)
def test_both_formats_say_the_same(
    suite: str, components: list[str], architectures: list[str], key: str, valid: bool
) -> None:
    options = [f"arch={','.join(architectures)}"] if architectures else []
    options += [f"signed-by={key}"] if key else []
    options += [] if valid else ["check-valid-until=no"]
    bracket = f"[{' '.join(options)}] " if options else ""
    text = f"Types: deb\nURIs: {MIRROR}\nSuites: {suite}\nComponents: {' '.join(components)}\n"
    text += f"Architectures: {' '.join(architectures)}\n" if architectures else ""
    text += f"Signed-By: {key}\n" if key else ""
    text += "" if valid else "Check-Valid-Until: no\n"
    (left,) = apt.parse_list(f"deb {bracket}{MIRROR} {suite} {' '.join(components)}", where="x")
    (right,) = apt.parse_sources(text, where="x")
    assert {**_fields(left), "where": ""} == {**_fields(right), "where": ""}


def _fields(entry: SourceEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in SourceEntry.__slots__}


def test_a_folder_is_read_in_apts_order(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(f"deb {MIRROR} first main\n")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "b.list").write_text(f"deb {MIRROR} third main\n")
    (parts / "a.sources").write_text(f"Types: deb\nURIs: {MIRROR}\nSuites: second\nComponents: main\n")
    (parts / "c.list.disabled").write_text("not read at all")
    (parts / "d~.list").write_text("nor this")
    trusted = tmp_path / "trusted.gpg.d"
    trusted.mkdir()
    for name in ("b.asc", "a.gpg", "readme.txt"):
        (trusted / name).write_text("key")
    (tmp_path / "apt.conf.d").mkdir()
    (tmp_path / "apt.conf.d" / "50mine").write_text(
        'Acquire { http { Proxy "http://proxy.example:3128"; }; };\n// x\n'
        'Acquire::Check-Valid-Until "false";\n'
    )
    found = apt.read(tmp_path)
    assert [entry.suites[0] for entry in found.entries] == ["first", "second", "third"]
    assert found.keyrings == (trusted / "a.gpg", trusted / "b.asc")
    assert not found.check_valid_until
    assert found.proxies == (("http", "http://proxy.example:3128"),)


def test_a_folder_that_is_not_there_configures_nothing(tmp_path: Path) -> None:
    assert apt.read(tmp_path / "none") == Configuration(entries=())


def test_apts_own_variable_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "my.list").write_text(f"deb {MIRROR} mine main\n")
    (tmp_path / "conf").write_text(f'Dir::Etc "{tmp_path}/etc"; Dir::Etc::sourcelist "my.list";')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "conf"))
    assert [entry.suites for entry in apt.read().entries] == [("mine",)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A::B "c";', {"a::b": "c"}),
        ('A { B "c"; D { E "f"; }; };', {"a::b": "c", "a::d::e": "f"}),
        ('/* no { */ A "x//y"; # z\n', {"a": "x//y"}),
        ("A yes;", {"a": "yes"}),
        ('A { "one"; "two"; };', {}),
        ("}} ; { ", {}),
    ],
)
def test_apt_conf_is_understood_as_far_as_it_is_needed(text: str, expected: dict[str, str]) -> None:
    assert apt.parse_conf(text) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='ab:;{}"#/*\n ', max_size=40))
def test_no_apt_conf_breaks_the_reader(text: str) -> None:
    apt.parse_conf(text)


# --- what a source is made of ----------------------------------------------------------------------------


def machine(*extra: SourceEntry) -> Configuration:
    return Configuration(
        entries=(
            SourceEntry(
                uri=MIRROR,
                suites=("bookworm", "bookworm-updates", "bookworm-backports"),
                components=("main",),
                where="a",
            ),
            SourceEntry(uri=SECURITY, suites=("bookworm-security",), components=("main",), where="b"),
            *extra,
        )
    )


def places(suite: str, configuration: Configuration | None = None) -> list[tuple[str, str]]:
    found = suites.places(suite, configuration or machine(), codename="bookworm")
    return [(place.suite, place.uris[0]) for place in found]


def test_a_suite_is_itself_with_its_updates_and_security() -> None:
    assert places("bookworm") == [
        ("bookworm", MIRROR),
        ("bookworm-updates", MIRROR),
        ("bookworm-security", SECURITY),
    ]


def test_backports_come_with_what_they_are_made_for() -> None:
    assert [name for name, _ in places("bookworm-backports")] == [
        "bookworm-backports",
        "bookworm",
        "bookworm-updates",
        "bookworm-security",
    ]


def test_other_repositories_are_sources_of_their_own() -> None:
    other = SourceEntry(uri="http://other.example", suites=("nodistro",), components=("main",), where="c")
    assert "nodistro" not in [name for name, _ in places("bookworm", machine(other))]
    assert places("nodistro", machine(other)) == [("nodistro", "http://other.example")]


def test_a_suite_that_is_not_listed_is_named_by_the_same_pattern() -> None:
    assert places("trixie") == [
        ("trixie", MIRROR),
        ("trixie-updates", MIRROR),
        ("trixie-security", SECURITY),
    ]
    assert places("sid") == [("sid", MIRROR)]
    assert places("buster") == [("buster", MIRROR), ("buster-updates", MIRROR), ("buster/updates", SECURITY)]


def test_uris_written_together_are_mirrors_of_one_another() -> None:
    both = Configuration(
        entries=tuple(
            SourceEntry(uri=uri, suites=("bookworm",), components=("main",), where="a")
            for uri in ("u:1", "u:2")
        )
    )
    (place,) = suites.places("bookworm", both)
    assert place.uris == ("u:1", "u:2")


def test_the_machines_own_suite_is_its_codename_or_the_first_listed() -> None:
    assert suites.own(machine(), "bookworm") == "bookworm"
    assert suites.own(machine(), "noble") == "bookworm"
    with pytest.raises(UsageError, match="apt on this machine lists none"):
        suites.own(Configuration(entries=()), "bookworm")


def test_an_unknown_suite_is_told_with_a_near_one() -> None:
    error = suites.unknown("bookwrm", machine())
    assert isinstance(error, NotFoundError)
    assert error.hint == "did you mean debian:bookworm?"
    assert "bookworm-security" in (suites.unknown("nothing-like-it", machine()).hint or "")


def test_merged_folders_are_those_of_the_suite_and_architecture() -> None:
    assert sorted(suites.merged("bookworm", "amd64")) == ["bin", "lib", "lib32", "lib64", "libx32", "sbin"]
    assert suites.merged("bookworm", "arm64") == {"bin": "usr/bin", "lib": "usr/lib", "sbin": "usr/sbin"}
    assert sorted(suites.merged("trixie", "amd64")) == ["bin", "lib", "lib64", "sbin"]
    assert suites.merged("bullseye", "amd64") == {}
