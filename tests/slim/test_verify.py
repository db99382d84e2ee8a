"""What look-ups of things that are gone mean."""

from __future__ import annotations

import pytest

from ramekin.slim import verify
from ramekin.slim.observation import Observation
from ramekin.slim.probes import compare
from ramekin.slim.probes.answer import Answer
from ramekin.slim.probes.compare import Difference
from ramekin.slim.sandbox.plan import Miss
from ramekin.slim.trial import Trial
from ramekin.slim.verify import GIVEN_UP, LISTING, OPENED, SPARE, TESTED, Gone

GONE = Gone(
    units={
        "usr/share/a/x": "dpkg:a",
        "usr/share/a/y": "dpkg:a",
        "usr/lib/m/__pycache__/one.cpython-311.pyc": "python:m",
        "usr/lib/plugins/alpha.so": "dpkg:p",
        "usr/lib/plugins/beta.so": "dpkg:p",
        "usr/lib/pkg/sub/__init__.py": "python:pkg",
        "locale/de": "dpkg:l",
    },
    folders={
        "usr/share/a": ("usr/share/a/x", "usr/share/a/y"),
        "usr/lib/m/__pycache__": ("usr/lib/m/__pycache__/one.cpython-311.pyc",),
        "usr/lib/pkg/sub": ("usr/lib/pkg/sub/__init__.py",),
    },
    given_up=frozenset({"locale/de"}),
    spare=frozenset({"usr/lib/m/__pycache__/one.cpython-311.pyc"}),
)


def judged(*misses: tuple[str, str]) -> dict[str, str]:
    found = verify.judge([Miss(path, call, "/usr/bin/x") for path, call in misses], GONE)
    return {one.path: one.judgement for one in found}


@pytest.mark.parametrize("call", ["openat", "execve", "readlink", "open"])
def test_what_was_to_be_opened_needs_its_unit(call: str) -> None:
    assert judged(("/usr/share/a/x", call)) == {"usr/share/a/x": OPENED}


@pytest.mark.parametrize("call", ["newfstatat", "access", "statx", "faccessat2"])
def test_what_was_only_asked_about_comes_alone(call: str) -> None:
    assert judged(("/usr/share/a/x", call)) == {"usr/share/a/x": TESTED}


def test_the_gravest_look_up_of_a_path_counts() -> None:
    assert judged(("/usr/share/a/x", "access"), ("/usr/share/a/x", "openat")) == {"usr/share/a/x": OPENED}
    assert judged(("/usr/share/a/x", "openat"), ("/usr/share/a/x", "statx")) == {"usr/share/a/x": OPENED}


def test_a_folder_comes_back_empty_however_it_was_looked_for() -> None:
    assert judged(("/usr/share/a", "openat")) == {"usr/share/a": TESTED}


def test_what_was_given_up_and_byte_code_with_a_source_need_nothing() -> None:
    assert judged(
        ("/locale/de", "openat"),
        ("/usr/lib/m/__pycache__/one.cpython-311.pyc", "openat"),
        ("/usr/lib/m/__pycache__", "newfstatat"),
    ) == {
        "locale/de": GIVEN_UP,
        "usr/lib/m/__pycache__/one.cpython-311.pyc": SPARE,
        "usr/lib/m/__pycache__": SPARE,
    }


def test_making_what_is_gone_and_looking_for_what_never_was_are_no_misses() -> None:
    assert judged(("/usr/lib/m/__pycache__", "mkdir"), ("/etc/nothing", "openat")) == {}


def trial(log: str = "", *, listed: tuple[str, ...] = (), body: str = "") -> Trial:
    return Trial(
        answers=(Answer("GET /", "http", {"status": "500", "body": body}),),
        observation=Observation(),
        misses=(),
        listings=tuple(Miss(path, "getdents64", "/usr/bin/x") for path in listed),
        log=log,
        seconds=1.0,
        ready=0.5,
    )


DIFFERENCE = Difference("GET /", "http", "status", "200", "500")


def healed(given: Trial) -> list[str]:
    found = verify.listed(given, [DIFFERENCE], GONE)
    assert {one.judgement for one in found} <= {LISTING}
    return [one.path for one in found]


def test_of_folders_that_were_listed_what_the_log_or_an_answer_names_comes_back_alone() -> None:
    assert healed(trial("cannot load plug-in alpha", listed=("/usr/lib/plugins",))) == [
        "usr/lib/plugins/alpha.so"
    ]
    assert healed(trial(body="beta.so: not found", listed=("/usr/lib/plugins",))) == [
        "usr/lib/plugins/beta.so"
    ]
    assert healed(trial("No module named 'pkg.sub'", listed=("/usr/lib/pkg",))) == [
        "usr/lib/pkg/sub/__init__.py"
    ]


def test_what_stood_in_the_expected_answer_and_no_longer_does_comes_back_before_all_else() -> None:
    given = trial("alpha was here", listed=("/usr/lib/plugins",), body="plug-ins: none")
    answers = (Answer("GET /", "http", {"body": "plug-ins: beta"}),)
    difference = Difference("GET /", "http", "body", "plug-ins: beta", "plug-ins: none")
    found = verify.listed(given, [difference], GONE, compare.learn([answers]))
    assert [one.path for one in found] == ["usr/lib/plugins/beta.so"]


def test_a_word_that_more_than_one_folder_explains_comes_from_the_one_that_explains_most() -> None:
    names = [
        "app/commands/check",
        "app/commands/flush",
        "app/commands/test",
        "more/commands/test",
        "other/test",
    ]
    gone = Gone(units=dict.fromkeys((f"{name}.py" for name in names), "python:x"), folders={})
    given = trial(listed=("/app/commands", "/more/commands", "/other"), body="help")
    expected = compare.learn([(Answer("GET /", "http", {"body": "check flush help test"}),)])
    difference = Difference("GET /", "http", "body", "check", "help")
    found = verify.listed(given, [difference], gone, expected)
    assert [one.path for one in found] == [f"{name}.py" for name in names[:4]]


@pytest.mark.parametrize(
    ("body", "differs", "back"),
    [
        ("plug-ins: none", ("body",), []),
        ("plug-ins:", ("body",), ["usr/lib/plugins/beta.so"]),
        ("plug-ins:", ("body", "status"), []),
    ],
)
def test_beside_look_ups_only_what_an_answer_leaves_out_comes_back_when_it_says_nothing_new(
    body: str, differs: tuple[str, ...], back: list[str]
) -> None:
    given = trial("alpha was here", listed=("/usr/lib/plugins",), body=body)
    expected = compare.learn([(Answer("GET /", "http", {"status": "500", "body": "plug-ins: beta"}),)])
    differences = [Difference("GET /", "http", field, "", "") for field in differs]
    found = verify.left_out(given, differences, GONE, expected)
    assert [one.path for one in found] == back
    assert {one.judgement for one in found} <= {LISTING}


def test_otherwise_all_that_is_gone_from_them_comes_back() -> None:
    assert healed(trial("oops", listed=("/usr/lib/plugins",))) == [
        "usr/lib/plugins/alpha.so",
        "usr/lib/plugins/beta.so",
    ]
    assert healed(trial("oops")) == []


def test_what_was_missed_becomes_part_of_the_observation() -> None:
    seen = Observation(image="sha256:" + "0" * 64, opened=("usr/bin/x",))
    lookups = verify.judge(
        [
            Miss("/usr/share/a/x", "openat", "p"),
            Miss("/usr/share/a/y", "stat", "p"),
            Miss("/locale/de", "open", "p"),
        ],
        GONE,
    )
    wider = verify.extended(seen, lookups)
    assert (wider.opened, wider.healed, wider.tested) == (
        ("usr/bin/x",),
        ("usr/share/a/x",),
        ("usr/share/a/y",),
    )
    assert wider.image == seen.image
    assert verify.extended(wider, lookups) == wider
