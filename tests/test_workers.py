"""Work on many things at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from ramekin import workers


def test_results_stand_in_the_order_of_the_items() -> None:
    def work(item: int, check: workers.Check) -> int:
        time.sleep((5 - item) / 200)
        return item * item

    assert workers.each(work, range(5), jobs=3) == [0, 1, 4, 9, 16]
    assert workers.each(work, range(5), jobs=1) == [0, 1, 4, 9, 16]
    assert workers.each(work, [], jobs=4) == []


def test_no_more_than_so_many_work_at_once() -> None:
    guard, now, most = threading.Lock(), 0, 0
    three = threading.Barrier(3)

    def work(item: int, check: workers.Check) -> None:
        nonlocal now, most
        with guard:
            now += 1
            most = max(most, now)
        three.wait(60)
        time.sleep(0.005)
        with guard:
            now -= 1

    workers.each(work, range(12), jobs=3)
    assert most == 3


def test_the_first_failure_is_raised_and_stops_what_is_under_way_and_what_is_not_begun() -> None:
    begun: list[int] = []
    stopped = threading.Event()

    def work(item: int, check: workers.Check) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError("one")
        try:
            for _ in range(2000):
                check()
                time.sleep(0.005)
        except workers.StoppedError:
            stopped.set()
            raise

    with pytest.raises(ValueError, match="one"):
        workers.each(work, range(50), jobs=2)
    assert stopped.is_set()
    assert sorted(begun) == [0, 1]


@pytest.mark.parametrize(("sent", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_does_not_wait_for_what_hangs(sent: str, status: int) -> None:
    script = f"""
import atexit, os, signal, sys, threading, time
from ramekin import workers
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
atexit.register(lambda: print("tidied", flush=True))
try:
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.{sent})).start()
    workers.each(lambda item, check: time.sleep(60), range(4), jobs=2)
except KeyboardInterrupt:
    sys.exit(130)
"""
    since = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert time.monotonic() - since < 30
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "tidied\n", "")


def test_what_is_fed_is_begun_as_it_comes_and_the_rest_when_the_feed_ends() -> None:
    begun: list[str] = []

    def feed(hand_over: Callable[[str], None]) -> None:
        hand_over("c")
        while begun != ["c"]:
            time.sleep(0.001)
        hand_over("a")

    def work(item: str) -> str:
        begun.append(item)
        return item.upper()

    assert workers.each_fed(work, ["a", "b", "c"], feed, jobs=1) == ["A", "B", "C"]
    assert begun == ["c", "a", "b"]


def test_a_feed_that_fails_is_told_before_the_work_and_ends_it() -> None:
    def feed(hand_over: Callable[[int], None]) -> None:
        hand_over(1)
        raise ValueError("the feed")

    with pytest.raises(ValueError, match="the feed"):
        workers.each_fed(lambda item: item, range(3), feed, jobs=2)


def test_work_that_fails_stops_the_feed_even_within_other_work() -> None:
    handed: list[int] = []

    def feed(hand_over: Callable[[int], None]) -> None:
        def fetch(item: int, check: workers.Check) -> None:
            hand_over(item)
            handed.append(item)
            time.sleep(0.002)

        workers.each(fetch, range(500), jobs=2)

    def work(item: int) -> None:
        raise ValueError(f"{item}")

    with pytest.raises(ValueError, match=r"^[01]$"):
        workers.each_fed(work, range(500), feed, jobs=2)
    assert len(handed) < 500
