"""Masks: what differs between two runs of one program is let through in a third, and nothing else."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.slim.probes.masks import learn, mismatch

PAGE = """<html><body>
<form><input type="hidden" name="csrf" value="{token}"></form>
<p>It is {time}. This took {took} ms.</p>
<ul>{items}</ul>
</body></html>
"""


def page(
    token: str = "a8fk2", time: str = "20:41:07", took: str = "12.5", items: str = "<li>one</li>"
) -> str:
    return PAGE.format(token=token, time=time, took=took, items=items)


def same(samples: list[str], text: str) -> bool:
    return mismatch(learn(samples), text) is None


def test_equal_answers_leave_nothing_open() -> None:
    template = learn([page(), page(), page()])
    assert template.exact
    found = mismatch(template, page(took="12.6"))
    assert found is not None
    assert (found.line, found.expected) == (3, "<p>It is 20:41:07. This took 12.5 ms.</p>")
    assert found.found == "<p>It is 20:41:07. This took 12.6 ms.</p>"


def test_tokens_times_and_durations_that_differ_are_masked() -> None:
    samples = [page(), page(token="9Zk_x-1", time="20:41:09", took="3.25")]
    assert same(samples, page(token="Qw3rtz", time="23:59:59", took="104.0"))


def test_what_did_not_differ_must_stay() -> None:
    samples = [page(), page(token="9Zk_x-1")]
    found = mismatch(learn(samples), page(token="zz", items="<li>two</li>"))
    assert found is not None
    assert (found.expected, found.found) == ("<ul><li>one</li></ul>", "<ul><li>two</li></ul>")


def test_a_mask_takes_no_traceback() -> None:
    samples = [page(took="1"), page(took="2")]
    assert not same(samples, page(took="Traceback"))
    assert not same(samples, page(took="1\nTraceback (most recent call last):\n2"))
    assert not same(samples, page(took="1" * 400))
    samples = [page(token="abc"), page(token="bcd")]
    assert not same(samples, page(token='x"><b>Internal Server Error</b><i class="'))


def test_numbers_take_numbers_only() -> None:
    assert same(["pid 17", "pid 4"], "pid 12345")
    assert not same(["pid 17", "pid 4"], "pid unknown")


def test_lines_that_come_and_go_are_masked_where_they_did() -> None:
    samples = ["start\nwarning: slow\nend\n", "start\nend\n"]
    assert same(samples, "start\nend\n")
    assert same(samples, "start\nwarning: cold\nend\n")
    assert not same(samples, "start\nend\nwarning: slow\n")
    assert not same(samples, "start\n")


def test_more_samples_open_more() -> None:
    assert not same(["a 1 b 1", "a 2 b 1"], "a 3 b 2")
    assert same(["a 1 b 1", "a 2 b 1", "a 1 b 2"], "a 3 b 3")


def test_the_end_is_part_of_an_answer() -> None:
    assert not same(["id 1 done", "id 2 done"], "id 3 done twice")
    assert not same(["id 1 done", "id 2 done"], "id 3")
    assert same(["id 1", "id 2"], "id 3")
    assert not same(["whole", "whole"], "")


def test_a_long_page_on_one_line_is_aligned_in_time() -> None:
    words = [f"<a href='/item/{n}'>item {n}</a>" for n in range(20_000)]
    one, other = " ".join(words), " ".join([*words[:9_000], "<b>now 7</b>", *words[9_000:]])
    begun = time.monotonic()
    template = learn([one, other])
    assert mismatch(template, one) is None
    assert mismatch(template, other) is None
    assert time.monotonic() - begun < 20


TEXT = st.text(alphabet="ab1 \n.<>\"'", max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=3))
def test_every_sample_has_the_form_of_its_template(samples: list[str]) -> None:
    template = learn(samples)
    for sample in samples:
        assert mismatch(template, sample) is None


@settings(max_examples=100, deadline=None)
@given(TEXT, TEXT)
def test_texts_that_never_differed_are_told_apart(one: str, other: str) -> None:
    assert (mismatch(learn([one, one]), other) is None) == (one == other)
