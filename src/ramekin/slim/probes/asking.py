"""A whole plan put to one container, in its order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ramekin.errors import RamekinError
from ramekin.slim.probes import commands, crawl, health
from ramekin.slim.probes.answer import Answer
from ramekin.slim.probes.container import Container
from ramekin.slim.probes.http import Browser
from ramekin.slim.probes.model import Crawl, Health, Host, Http, Plan, Probe, Replay, Run

PAUSE = 0.1
"""Seconds between two tries of a probe that is asked again until it is right."""


@dataclass(slots=True)
class Memory:
    """What the first container decides for all that are asked after it: the addresses of each crawl."""

    crawled: dict[str, tuple[str, ...]] = field(default_factory=dict)


def ask(
    probes: Sequence[Probe],
    container: Container,
    memory: Memory,
    *,
    port: int | str | None,
    ports: Sequence[int],
) -> Iterator[Answer]:
    """All answers to `probes`, until the container's program has ended.

    `port` is where requests go that name none; `ports` are all that commands of this machine shall know.
    """
    browser = Browser(container, port)
    for probe in probes:
        yield from _ask(probe, container, browser, memory, ports)


def _ask(
    probe: Probe, container: Container, browser: Browser, memory: Memory, ports: Sequence[int]
) -> Iterator[Answer]:
    match probe:
        case Http():
            yield _patiently(lambda: browser.ask(probe), probe.within, container)
        case Run():
            yield _patiently(lambda: commands.run(probe, container), probe.within, container)
        case Host():
            told = commands.environment(_addresses(container, ports), browser.port)
            yield _patiently(lambda: commands.host(probe, told), probe.within, container)
        case Health():
            yield health.ask(probe, container)
        case Replay():
            yield from _replay(probe, browser)
        case Crawl():
            known = memory.crawled.get(probe.name)
            if known is not None:
                yield from crawl.repeat(probe, known, browser)
                return
            addresses = []
            for address, answer in crawl.explore(probe, browser):
                addresses.append(address)
                yield answer
            memory.crawled[probe.name] = tuple(addresses)


def _patiently(ask: Callable[[], Answer], within: float, container: Container) -> Answer:
    """Ask until the answer is right, the time is over, or the program has ended; the last answer."""
    end = time.monotonic() + within
    while True:
        answer = ask()
        if not answer.complaints or time.monotonic() + PAUSE > end or not container.alive():
            return answer
        time.sleep(PAUSE)


def _replay(probe: Replay, browser: Browser) -> Iterator[Answer]:
    for method, path in probe.requests:
        request = Http(
            name=f"{probe.name}: {method} {path}",
            method=method,
            path=path,
            port=probe.port,
            tls=probe.tls,
            host=probe.host,
            session=probe.session,
            anything=True,
        )
        answer = browser.ask(request)
        yield Answer(answer.probe, "replay", answer.fields, answer.complaints)


def _addresses(container: Container, ports: Sequence[int]) -> Mapping[int, str]:
    """Where each port is reached; none once the container has ended."""
    try:
        return {port: container.address(port) for port in ports}
    except RamekinError:
        return {}


def count(plan: Plan) -> int:
    """How many probes a plan has, each request of a log counted, a crawl as one."""
    return sum(len(probe.requests) if isinstance(probe, Replay) else 1 for probe in plan.probes)
