"""From requests to packages: what is chosen, what is left out, and what an impossible request says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_index import MemoryIndex, package

from ramekin.errors import RamekinError, UsageError
from ramekin.sources.debian import relations
from ramekin.sources.debian.model import DebianPackage
from ramekin.sources.debian.resolve import ResolutionError, in_dependency_order, resolve


def index(*lines: str) -> MemoryIndex:
    """An index from lines such as `app 2 | Depends: lib (>= 1), a OR b | Size: 10`."""
    packages = []
    for line in lines:
        head, *fields = line.split("|")
        name, _, version = head.strip().partition(" ")
        values = {"Package": name, "Version": version or "1"}
        for field in fields:
            key, _, value = field.partition(":")
            key = key.strip().replace("Size", "Installed-Size")
            values[key] = value.strip().replace(" OR ", " | ")
        packages.append(package(values))
    return MemoryIndex(packages)


def names(index: MemoryIndex, *requests: str, recommends: bool = False) -> list[str]:
    return sorted(one.name for one in resolve(index, requests, recommends=recommends).packages)


def chosen(index: MemoryIndex, *requests: str) -> list[str]:
    return sorted(f"{one.name}={one.version}" for one in resolve(index, requests).packages)


def failure(index: MemoryIndex, *requests: str) -> str:
    with pytest.raises(RamekinError) as caught:
        resolve(index, requests)
    return f"{caught.value.message} ({caught.value.hint})" if caught.value.hint else caught.value.message


# What comes along


def test_depends_and_pre_depends_are_followed() -> None:
    there = index("app | Depends: a", "a | Pre-Depends: b", "b", "other")
    assert names(there, "app") == ["a", "app", "b"]


def test_the_newest_version_that_fits_is_taken() -> None:
    there = index("app | Depends: lib (<< 3)", "lib 1", "lib 2", "lib 3")
    assert chosen(there, "app") == ["app=1", "lib=2"]
    assert chosen(there, "lib") == ["lib=3"]


def test_essential_packages_come_only_where_needed() -> None:
    there = index("app | Depends: libc6", "libc6", "bash | Essential: yes")
    assert names(there, "app") == ["app", "libc6"]


def test_cycles_are_no_trouble() -> None:
    there = index("libc6 | Depends: libgcc-s1", "libgcc-s1 | Depends: libc6")
    assert names(there, "libc6") == ["libc6", "libgcc-s1"]


def test_a_package_may_fulfil_its_own_dependency() -> None:
    there = index("mta | Depends: mail | Provides: mail", "other | Provides: mail")
    assert names(there, "mta") == ["mta"]


# Choices


def test_the_smaller_of_equal_alternatives_wins_whatever_their_order() -> None:
    for words in ("usrmerge OR usr-is-merged", "usr-is-merged OR usrmerge"):
        there = index(
            f"helpers | Depends: {words}",
            "usrmerge | Depends: perl | Provides: usr-is-merged | Size: 10",
            "usr-is-merged | Size: 13",
            "perl | Size: 50000",
        )
        assert names(there, "helpers") == ["helpers", "usr-is-merged"]


def test_what_is_already_chosen_wins_over_the_smaller() -> None:
    there = index("app | Depends: big OR small, x", "x | Depends: big", "big | Size: 900", "small | Size: 1")
    assert names(there, "app") == ["app", "big", "x"]


def test_what_was_asked_for_wins_over_the_smaller() -> None:
    there = index("app | Depends: big OR small", "big | Size: 900", "small | Size: 1")
    assert names(there, "app", "big") == ["app", "big"]


def test_equal_sizes_go_by_the_order_of_the_words() -> None:
    assert names(index("app | Depends: z OR a", "a", "z"), "app") == ["app", "z"]


def test_options_of_nearly_equal_weight_go_by_the_order_of_the_words() -> None:
    lines = ("app | Depends: qt OR qt-gles", "qt-gles | Size: 36600")
    assert names(index(*lines, "qt | Size: 37500"), "app") == ["app", "qt"]
    assert names(index(*lines, "qt | Size: 41000"), "app") == ["app", "qt-gles"]


def test_an_option_that_the_best_would_bring_along_is_enough() -> None:
    there = index("app | Depends: old OR new", "old | Size: 1 | Depends: new", "new | Size: 500")
    assert names(there, "app") == ["app", "new"]


def test_an_option_weighs_what_it_brings_along() -> None:
    there = index("app | Depends: a OR b", "a | Size: 1 | Depends: c", "b | Size: 5", "c | Size: 10")
    assert names(there, "app") == ["app", "b"]


def test_what_an_option_shares_with_the_rest_does_not_weigh() -> None:
    there = index("app | Depends: a OR b, c", "a | Size: 1 | Depends: c", "b | Size: 5", "c | Size: 10")
    assert names(there, "app") == ["a", "app", "c"]


def test_the_usual_provider_of_a_virtual_package_is_kept_for_small_savings() -> None:
    there = index(
        "base | Depends: awk",
        "mawk | Provides: awk | Priority: required | Size: 263",
        "original-awk | Provides: awk | Size: 186",
    )
    assert names(there, "base") == ["base", "mawk"]


def test_a_named_package_is_kept_for_small_savings_of_a_provider() -> None:
    there = index(
        "app | Depends: debconf OR debconf-2.0",
        "debconf | Size: 500",
        "other | Provides: debconf-2.0 | Size: 400",
    )
    assert names(there, "app") == ["app", "debconf"]


def test_a_provider_that_saves_much_is_taken() -> None:
    there = index(
        "app | Depends: big OR virtual", "big | Size: 90000", "small | Provides: virtual | Size: 10"
    )
    assert names(there, "app") == ["app", "small"]


def test_a_provider_of_a_real_name_stands_in_only_where_it_must() -> None:
    lines = ("app | Depends: libsystemd0", "libsystemd0 | Size: 90000", "libelogind0 | Provides: libsystemd0")
    assert names(index(*lines), "app") == ["app", "libsystemd0"]
    assert names(index(*lines), "app", "libelogind0") == ["app", "libelogind0"]
    broken = index(*lines[:1], "libsystemd0 | Depends: nowhere", *lines[2:])
    assert names(broken, "app") == ["app", "libelogind0"]


def test_a_transitional_package_is_left_out_where_its_successor_provides_it() -> None:
    there = index(
        "app | Depends: lsb-base (>= 3)",
        "lsb-base 11 | Depends: sysvinit-utils",
        "sysvinit-utils | Provides: lsb-base (= 11)",
    )
    assert names(there, "app") == ["app", "sysvinit-utils"]


def test_an_option_that_a_later_choice_makes_needless_is_dropped() -> None:
    there = index(
        "app | Depends: a OR b, c OR d",
        "a | Size: 10",
        "b | Size: 20",
        "c | Size: 1 | Depends: b",
        "d | Size: 50",
    )
    assert names(there, "app") == ["app", "b", "c"]


# Provides, conflicts, qualifiers


def test_a_versioned_relation_needs_a_versioned_provides() -> None:
    unversioned = index("app | Depends: api (>= 2)", "impl 5 | Provides: api")
    assert "impl provides it without a version that fits" in failure(unversioned, "app")
    versioned = index("app | Depends: api (>= 2)", "old | Provides: api (= 1)", "new | Provides: api (= 2)")
    assert names(versioned, "app") == ["app", "new"]


def test_conflicts_and_breaks_keep_packages_apart() -> None:
    for field in ("Conflicts", "Breaks"):
        there = index(f"a | {field}: b (<< 2)", "b 1", "app | Depends: b OR c", "c | Size: 100")
        assert names(there, "a", "app") == ["a", "app", "c"]
        assert "a 1 (asked for)" in failure(there, "a", "b")


def test_a_conflict_with_a_virtual_package_spares_its_own_provider() -> None:
    mta = "Provides: mail | Conflicts: mail"
    there = index(f"postfix | {mta}", f"exim | {mta}", "app | Depends: exim OR postfix")
    assert names(there, "app") == ["app", "exim"]
    assert "conflicts with mail" in failure(there, "exim", "postfix")


def test_a_versioned_conflict_spares_unversioned_providers() -> None:
    there = index("a | Conflicts: api (<< 9)", "b | Provides: api", "c | Provides: api (= 1)")
    assert names(there, "a", "b") == ["a", "b"]
    failure(there, "a", "c")


def test_an_older_version_is_taken_where_the_newest_does_not_fit() -> None:
    there = index("app | Depends: tool, lib (= 1)", "tool 2 | Depends: lib (= 2)", "tool 1", "lib 1", "lib 2")
    assert chosen(there, "app") == ["app=1", "lib=1", "tool=1"]


def test_qualifiers_of_the_same_architecture_mean_nothing() -> None:
    there = index("app | Depends: a:any, b:native, c:amd64", "a", "b", "c | Architecture: all")
    assert names(there, "app") == ["a", "app", "b", "c"]


def test_a_foreign_architecture_is_not_there() -> None:
    there = index("app | Depends: a:i386 OR b", "a", "b | Size: 9", "c | Conflicts: b:i386")
    assert names(there, "app", "c") == ["app", "b", "c"]


# Requests


@pytest.fixture
def suites() -> MemoryIndex:
    return index(
        "app 1 | Suite: stable | Depends: lib (= 1)",
        "app 2 | Suite: security | Depends: lib (= 2)",
        "lib 1 | Suite: stable",
        "lib 2 | Suite: security",
    )


@pytest.mark.parametrize("request_", ["app=1", "app/stable", "app=1/stable", "app:any=1", "app:amd64/stable"])
def test_pins_bind_and_what_is_needed_follows(suites: MemoryIndex, request_: str) -> None:
    assert chosen(suites, request_) == ["app=1", "lib=1"]


def test_a_pin_on_what_is_needed_binds_too(suites: MemoryIndex) -> None:
    assert chosen(suites, "app", "lib=1") == ["app=1", "lib=1"]


def test_two_pins_of_one_package_must_agree(suites: MemoryIndex) -> None:
    assert chosen(suites, "app=1", "app/stable") == ["app=1", "lib=1"]
    assert "app=2 is asked for" in failure(suites, "app/stable", "app=2")


def test_a_virtual_package_with_one_provider_is_that_provider() -> None:
    there = index("impl | Provides: api", "a | Provides: two", "b | Provides: two")
    assert names(there, "api") == ["impl"]
    assert "ask for one of a or b" in failure(there, "two")


def test_the_answer_lists_requests_reasons_edges_and_order() -> None:
    there = index("app | Depends: lib (>= 1), x OR y", "lib | Depends: libc", "libc", "x", "y")
    answer = resolve(there, ["app", "x"])
    assert [one.name for one in answer.packages] == ["libc", "lib", "x", "app"]
    assert answer.requested == ("app", "x")
    assert answer.edges == {"libc": (), "lib": ("libc",), "x": (), "app": ("lib", "x")}
    assert {name: (why.by, why.relation) for name, why in answer.reasons.items()} == {
        "app": ("", "app"),
        "x": ("", "x"),
        "lib": ("app", "lib (>= 1)"),
        "libc": ("lib", "libc"),
    }


def test_replaces_names_what_is_there_in_a_version_that_fits() -> None:
    there = index("new | Replaces: old (<< 2), gone, newer (<< 1) | Depends: old, newer", "old 1", "newer 1")
    assert resolve(there, ["new"]).replaces == {"new": ("old",)}


def test_members_of_a_cycle_stand_together() -> None:
    edges = {"top": ["b"], "a": ["b", "z"], "b": ["a"], "z": []}
    assert in_dependency_order(edges) == ["z", "a", "b", "top"]


# Recommends


def test_recommends_come_only_when_wanted() -> None:
    there = index("app | Recommends: more", "more | Depends: lib", "lib")
    assert names(there, "app") == ["app"]
    assert names(there, "app", recommends=True) == ["app", "lib", "more"]
    assert resolve(there, ["app"], recommends=True).reasons["more"].relation == "more (recommended)"


@pytest.mark.parametrize(
    "more", ["", "more | Depends: nowhere", "more | Conflicts: lib", "more | Depends: x | x | Breaks: app"]
)
def test_recommends_that_cannot_be_had_never_make_a_request_fail(more: str) -> None:
    there = index("app | Depends: lib | Recommends: more, other", "lib", "other", *([more] if more else []))
    assert names(there, "app", recommends=True) == ["app", "lib", "other"]


def test_recommends_do_not_change_what_is_needed() -> None:
    there = index("app | Depends: a OR b | Recommends: b", "a | Conflicts: b", "b | Size: 50")
    assert names(there, "app", recommends=True) == ["a", "app"]


# Failures


def test_a_wrong_name_gets_near_ones() -> None:
    told = failure(index("redis-server", "nginx"), "redis-sever")
    assert told == "no package is named 'redis-sever' (did you mean redis-server?)"


def test_a_version_that_does_not_exist_says_which_do(suites: MemoryIndex) -> None:
    assert failure(suites, "app=3") == "there is no 'app=3' (app exists as 2 in security and 1 in stable)"
    assert "there is no 'app/testing'" in failure(suites, "app/testing")


def test_another_architecture_is_refused() -> None:
    assert "the image is for amd64" in failure(index("a"), "a:arm64")


@pytest.mark.parametrize("words", ["", "a b", "-a", "a=", "a/", "a==1", "ü", "a=1=2"])
def test_words_that_are_no_request_are_wrong_use(words: str) -> None:
    with pytest.raises(UsageError, match="is not a package name"):
        resolve(index("a"), [words])


def test_a_missing_version_is_told_with_the_way_to_it() -> None:
    there = index("app | Depends: a OR b", "a | Depends: lib (>= 2)", "b | Depends: nowhere", "lib 1")
    told = failure(there, "app")
    assert told.startswith("app (asked for) needs a | b; a needs lib (>= 2), but only lib 1 exists")


def test_opposed_versions_are_told_with_who_wants_them() -> None:
    there = index("a | Depends: c (>= 2)", "b | Depends: x", "x | Depends: c (<< 2)", "c 1", "c 2")
    told = failure(there, "a", "b")
    assert "x 1 (needed by b, asked for) needs c (<< 2), but a 1 (asked for) needs c (>= 2)" in told


def test_a_conflict_is_told_with_both_sides() -> None:
    told = failure(index("a | Breaks: c (<< 2)", "b | Depends: c", "c 1"), "a", "b")
    assert "b 1 (asked for) needs c, but a 1 (asked for) breaks c (<< 2)" in told


def test_a_choice_without_a_way_out_tells_what_stands_against_each_option() -> None:
    told = failure(
        index("app | Depends: x OR y", "x | Provides: mail", "y | Provides: mail", "m | Conflicts: mail"),
        "app",
        "m",
    )
    assert "app 1 (asked for) needs x | y, but m 1 (asked for) conflicts with mail, which x provides" in told
    assert "which y provides" in told


def test_a_hopeless_puzzle_ends_in_bounded_time_with_a_clear_error() -> None:
    holes, lines = 7, []
    for pigeon in range(holes + 1):
        options = " OR ".join(f"h{hole}-p{pigeon}" for hole in range(holes))
        lines.append(f"p{pigeon} | Depends: {options}")
        for hole in range(holes):
            others = ", ".join(f"h{hole}-p{other}" for other in range(holes + 1) if other != pigeon)
            lines.append(f"h{hole}-p{pigeon} | Conflicts: {others}")
    started = time.process_time()
    told = failure(index(*lines), *(f"p{pigeon}" for pigeon in range(holes + 1)))
    assert "no packages that fit together were found" in told
    assert time.process_time() - started < 30


# Random archives, judged by a checker of their own

_NAMES = ("a", "b", "c", "d", "e")
_PROVIDED = ("v", "w", "a")
_one = st.builds(
    lambda name, bound: f"{name} {bound}".strip(),
    st.sampled_from((*_NAMES, "v", "w")),
    st.sampled_from(["", "", "", "(>= 2)", "(<< 2)", "(= 1)"]),
)
_group = st.lists(_one, min_size=1, max_size=3).map(" | ".join)
_field = st.lists(_group, max_size=2).map(", ".join)
_flat = st.lists(_one, max_size=1).map(", ".join)
_provides = st.lists(
    st.builds(str.__add__, st.sampled_from(_PROVIDED), st.sampled_from(["", " (= 1)", " (= 2)"])), max_size=1
).map(", ".join)
_package = st.fixed_dictionaries(
    {
        "Package": st.sampled_from(_NAMES),
        "Version": st.sampled_from(["1", "2"]),
        "Depends": _field,
        "Conflicts": _flat,
        "Breaks": _flat,
        "Provides": _provides,
        "Installed-Size": st.sampled_from(["1", "2", "5", "2000"]),
    }
)
_archive = st.lists(
    _package, min_size=2, max_size=9, unique_by=lambda one: (one["Package"], one["Version"])
).map(lambda paragraphs: MemoryIndex(package(fields) for fields in paragraphs))
_requests = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True)


def fulfilled(there: Mapping[str, DebianPackage], one: relations.Alternative, besides: str = "") -> bool:
    """Whether a package of `there`, other than `besides`, is or provides what `one` speaks of."""
    for name, found in there.items():
        if name == besides:
            continue
        if name == one.name and one.admits(found.version):
            return True
        for (provided,) in relations.parse(found.provides):
            if provided.name == one.name and (
                not one.operator or (provided.version and one.admits(provided.version))
            ):
                return True
    return False


def consistent(there: Mapping[str, DebianPackage], requests: list[str]) -> bool:
    """Policy's chapter 7 over a set of packages, written without the resolver."""
    if not set(requests) <= there.keys():
        return False
    for name, found in there.items():
        for group in relations.parse(found.depends):
            if not any(fulfilled(there, one) for one in group):
                return False
        for field in (found.conflicts, found.breaks):
            for group in relations.parse(field):
                if any(fulfilled(there, one, besides=name) for one in group):
                    return False
    return True


def any_answer(archive: MemoryIndex, requests: list[str]) -> bool:
    """Every set of packages tried."""
    options = [(None, *archive.versions(name)) for name in archive.by_name]
    return any(consistent({one.name: one for one in picked if one}, requests) for picked in product(*options))


@settings(max_examples=250, deadline=None)
@given(_archive, _requests)
def test_random_archives(archive: MemoryIndex, requests: list[str]) -> None:
    requests = [name for name in requests if archive.versions(name)]
    if not requests:
        return
    try:
        answer = resolve(archive, requests)
    except ResolutionError as error:
        assert not any_answer(archive, requests), error
        assert "no packages that fit" in error.message or any(
            name in error.message for name in archive.by_name
        )
        return
    there = {one.name: one for one in answer.packages}
    assert consistent(there, requests)
    # nothing is there that could be left out by itself
    for name in there.keys() - set(requests):
        assert not consistent({other: there[other] for other in there if other != name}, requests)
    for order in permutations(requests):
        again = resolve(MemoryIndex(reversed([p for ps in archive.by_name.values() for p in ps])), order)
        assert again.packages == answer.packages
        assert again.reasons == answer.reasons
    assert answer.reasons.keys() == answer.edges.keys() == there.keys()
    assert all(set(used) <= there.keys() for used in answer.edges.values())


@settings(max_examples=60, deadline=None)
@given(_archive, _requests, st.lists(st.tuples(st.sampled_from(_NAMES), _group), max_size=3))
def test_random_recommends_change_no_verdict(
    archive: MemoryIndex, requests: list[str], wishes: list[tuple[str, str]]
) -> None:
    fields = dict(wishes)
    wishing = MemoryIndex(
        replace(one, recommends=fields.get(one.name, "")) for ones in archive.by_name.values() for one in ones
    )
    requests = [name for name in requests if archive.versions(name)]
    try:
        plain = {one.name for one in resolve(archive, requests).packages}
    except ResolutionError:
        with pytest.raises(ResolutionError):
            resolve(wishing, requests, recommends=True)
        return
    full = {one.name: one for one in resolve(wishing, requests, recommends=True).packages}
    assert consistent(full, requests)
    assert set(requests) <= plain
    assert set(requests) <= full.keys()
