"""Package lists on disk and the merged view over them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from support.archive import Deb, paragraph

from ramekin.errors import FormatError, RamekinError
from ramekin.sources.debian import index
from ramekin.sources.debian.index import Index, Part
from ramekin.store import digest as digests

STATE = digests.of(b"state")


def packages(*debs: Deb) -> bytes:
    return "\n".join(paragraph(deb.index_paragraph) for deb in debs).encode()


def build(folder: Path, name: str, text: bytes) -> Path:
    path = folder / "lists" / name
    index.build(io.BytesIO(text), path, where="Packages")
    return path


def merged(folder: Path, **suites: bytes) -> Index:
    parts = [Part(name, "main", build(folder, name, text)) for name, text in suites.items()]
    return Index("amd64", STATE, parts)


def test_a_package_is_found_with_all_its_fields(tmp_path: Path) -> None:
    deb = Deb(
        "redis-server",
        "5:7.0.15-1",
        source="redis (5:7.0.14-9)",
        depends="libc6 (>= 2.36), redis-tools (= 5:7.0.15-1)",
        pre_depends="init-system-helpers",
        provides="redis",
        conflicts="a",
        breaks="b",
        replaces="c",
        recommends="d",
        multi_arch="foreign",
        priority="required",
        section="database",
        description="a key-value store",
        fields={"Essential": "yes", "Tag": "role::program,\n use::storing"},
    )
    (found,) = merged(tmp_path, bookworm=packages(deb)).versions("redis-server")
    assert found.version == "5:7.0.15-1"
    assert (found.origin, found.origin_version) == ("redis", "5:7.0.14-9")
    assert found.digest == "sha256:" + deb.sha256
    assert found.size == len(deb.blob)
    assert found.installed_size == int(deb.paragraph["Installed-Size"]) * 1024
    assert found.location == deb.location
    assert found.suite == "bookworm"
    assert found.component == "main"
    assert found.essential
    assert (found.multi_arch, found.priority, found.section) == ("foreign", "required", "database")
    assert (found.depends, found.pre_depends) == (deb.depends, deb.pre_depends)
    assert (found.provides, found.conflicts, found.breaks) == ("redis", "a", "b")
    assert (found.replaces, found.recommends) == ("c", "d")
    assert found.description == "a key-value store"


def test_suites_are_merged_by_version(tmp_path: Path) -> None:
    found = merged(
        tmp_path,
        bookworm=packages(Deb("a", "1.0-1"), Deb("a", "1.0~rc1-1")),
        security=packages(Deb("a", "1.0-1+deb12u1"), Deb("a", "1.0-1")),
    )
    versions = [(p.version, p.suite) for p in found.versions("a")]
    assert versions == [("1.0-1+deb12u1", "security"), ("1.0-1", "bookworm"), ("1.0~rc1-1", "bookworm")]


def test_packages_of_other_architectures_are_not_there(tmp_path: Path) -> None:
    text = packages(Deb("a"), Deb("b", architecture="all"), Deb("c", architecture="arm64"))
    found = merged(tmp_path, bookworm=text)
    assert [bool(found.versions(name)) for name in "abc"] == [True, True, False]


def test_providers_are_found_with_and_without_version_and_qualifier(tmp_path: Path) -> None:
    found = merged(
        tmp_path,
        bookworm=packages(
            Deb("postfix", provides="mail-transport-agent, x (= 2)"),
            Deb("exim4", provides="mail-transport-agent"),
            Deb("exim4", "2.0-1", provides="y:any, mail-transport-agent"),
        ),
    )
    assert [(p.name, p.version) for p in found.providers("mail-transport-agent")] == [
        ("exim4", "2.0-1"),
        ("exim4", "1.0-1"),
        ("postfix", "1.0-1"),
    ]
    assert [p.name for p in found.providers("x")] == ["postfix"]
    assert [p.name for p in found.providers("y")] == ["exim4"]
    assert found.providers("mail") == ()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("reids-server", "redis-server"),
        ("ngnix", "nginx"),
        ("redis", "redis-server"),
        ("libssl", "libssl3"),
        ("mail-transport-agnet", "mail-transport-agent"),
    ],
)
def test_near_names_are_those_that_may_have_been_meant(tmp_path: Path, wrong: str, right: str) -> None:
    debs = [Deb(n) for n in ("redis-server", "nginx", "libssl3", "perl", "python3", "curl", "zlib1g")]
    found = merged(tmp_path, bookworm=packages(*debs, Deb("exim4", provides="mail-transport-agent")))
    assert found.near(wrong)[0] == right
    assert found.near("%%%%") == ()
    assert found.near(wrong, 1) == (right,)


def test_search_takes_all_words_and_puts_names_first(tmp_path: Path) -> None:
    found = merged(
        tmp_path,
        bookworm=packages(
            Deb("librejson", description="JSON for redis"),
            Deb("redis", description="a Store"),
            Deb("redis-tools", description="tools for the store", version="1.0-1"),
            Deb("redis-tools", description="tools for the store", version="2.0-1"),
            Deb("100%", description="under_score"),
        ),
    )
    assert [p.name for p in found.search(["Redis"])] == ["redis", "redis-tools", "librejson"]
    assert [(p.name, p.version) for p in found.search(["store", "tools"])] == [("redis-tools", "2.0-1")]
    assert [p.name for p in found.search(["%"])] == ["100%"]
    assert [p.name for p in found.search(["_"])] == ["100%"]
    assert found.search([]) == ()
    assert found.search(["nothing of the kind"]) == ()


def test_folded_fields_are_joined_and_batches_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debs = [Deb(f"p{n}", fields={"X": "1\n Package: evil\n\tVersion: 9"}) for n in range(50)]
    text = packages(*debs).replace(b"Description:", b"Depends: a,\n b\nDescription:")
    monkeypatch.setattr(index, "_CHUNK", 97)
    found = merged(tmp_path, bookworm=text)
    assert all(found.versions(f"p{n}")[0].depends == "a, b" for n in range(50))
    assert found.versions("evil") == ()


def test_an_empty_list_is_a_list(tmp_path: Path) -> None:
    assert merged(tmp_path, bookworm=b"").versions("a") == ()


def test_a_package_that_could_not_be_verified_is_left_out(tmp_path: Path) -> None:
    text = b"\n".join(line for line in packages(Deb("a")).split(b"\n") if not line.startswith(b"SHA256"))
    assert merged(tmp_path, bookworm=text).versions("a") == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"Version: 1.0-1\n", b"", "the paragraph of a has no Version"),
        (b"Package: a\n", b"", "the paragraph of a package without a name has no Package"),
        (b"Size: ", b"Size: x", "the paragraph of a has a bad digest, size or path"),
        (b"Filename: pool", b"Filename: ../pool", "the paragraph of a has a bad digest, size or path"),
        (b"SHA256: ", b"SHA256: 00", "the paragraph of a has a bad digest, size or path"),
    ],
)
def test_a_broken_paragraph_is_named_and_leaves_nothing(
    tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        build(tmp_path, "x", packages(Deb("a")).replace(old, new))
    assert list((tmp_path / "lists").iterdir()) == []


def test_a_damaged_index_says_what_to_do(tmp_path: Path) -> None:
    path = build(tmp_path, "x", packages(Deb("a")))
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(RamekinError, match="is damaged") as caught:
        Index("amd64", STATE, [Part("bookworm", "main", path)])
    assert "made again" in (caught.value.hint or "")
    path.unlink()
    with pytest.raises(RamekinError, match="is damaged"):
        Index("amd64", STATE, [Part("bookworm", "main", path)])


def test_bytes_that_are_no_text_name_nothing(tmp_path: Path) -> None:
    found = merged(tmp_path, bookworm=packages(Deb("a")))
    assert found.versions("\udcff") == found.providers("\udcff") == found.near("\udcff") == ()
    assert found.search(["\udcff"]) == ()
