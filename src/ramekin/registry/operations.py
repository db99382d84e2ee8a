"""What operators see: metrics, log lines, and the name of every request."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ramekin.registry.config import Config

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,64}")
DELAY = 0.2
"""Seconds that lines about what went well may wait for others to be written with."""


class Metrics:
    """Prometheus metrics. With several workers, their files are put together by whoever is asked."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        several = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ramekin_requests", "Requests answered.", ["kind", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "ramekin_request_seconds",
            "Time until a request was answered.",
            ["kind"],
            registry=self.registry,
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300),
        )
        self.sent = Counter("ramekin_sent_bytes", "Bytes of bodies sent.", registry=self.registry)
        self.received = Counter("ramekin_received_bytes", "Bytes of bodies received.", registry=self.registry)
        self.running = Gauge(
            "ramekin_requests_running",
            "Requests being answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.swept = Counter("ramekin_swept", "Things that sweeps removed.", ["what"], registry=self.registry)
        self.swept_bytes = Counter("ramekin_swept_bytes", "Bytes that sweeps freed.", registry=self.registry)
        self.sweep_failures = Counter("ramekin_sweep_failures", "Sweeps that failed.", registry=self.registry)
        self.images = Counter(
            "ramekin_images",
            "Images on demand: given from memory, made (or found made), failed, refused for their number.",
            ["outcome"],
            registry=self.registry,
        )
        self.image_seconds = Histogram(
            "ramekin_image_seconds",
            "Time until an image on demand was made, or had failed; its turn awaited.",
            ["outcome"],
            registry=self.registry,
            buckets=(0.1, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600),
        )
        self.images_running = Gauge(
            "ramekin_images_running",
            "Images on demand that are being made or wait for their turn.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._several = several
        self.warm_get = self.requests.labels("manifest", "GET", "200")
        self.warm_head = self.requests.labels("manifest", "HEAD", "200")
        self.warm_seconds = self.seconds.labels("manifest")

    def image(self, outcome: str, seconds: float | None, running: int) -> None:
        """Count an image on demand that was given, made, failed or refused; `running` are under way.

        `outcome` is empty when only their number has changed.
        """
        if outcome:
            self.images.labels(outcome).inc()
        if outcome and seconds is not None:
            self.image_seconds.labels(outcome).observe(seconds)
        self.images_running.set(running)

    def text(self) -> bytes:
        """The exposition format."""
        from prometheus_client import CollectorRegistry, generate_latest

        if not self._several:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


class Log:
    """JSON lines on standard error. Those about what went well are written a few at a time."""

    def __init__(self, config: Config, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self.requests = config.log.requests
        self._held: list[str] = []
        self._guard = threading.Lock()
        self._timer: threading.Timer | None = None

    def line(self, level: str, event: str, **fields: object) -> None:
        """Write a line now."""
        head = {"time": _now(), "level": level, "event": event}
        self._hold(json.dumps(head | fields, default=str, ensure_ascii=True))
        self.flush()

    def request(
        self,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        size: int,
        address: str,
        user: str,
    ) -> None:
        """Write a line about a request that was answered."""
        if not self.requests and status < 500:
            return
        level = "info" if status < 500 else "error"
        self._hold(
            f'{{"time": "{_now()}", "level": "{level}", "event": "request", "id": "{request_id}", '
            f'"method": {_quote(method)}, "path": {_quote(path)}, "status": {status}, '
            f'"ms": {seconds * 1000:.1f}, '
            f'"bytes": {size}, "address": {_quote(address)}, "user": {_quote(user)}}}'
        )

    def _hold(self, line: str) -> None:
        held = self._held
        held.append(line)
        if len(held) >= 512:
            self.flush()
        elif self._timer is None:
            self._timer = threading.Timer(DELAY, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Write what is held."""
        with self._guard:
            self._timer = None
            held, self._held = self._held, []
            if held:
                try:
                    self._stream.write("\n".join(held) + "\n")
                    self._stream.flush()
                except (OSError, ValueError):
                    # nobody reads it; the registry goes on
                    pass


_second = (0, "")


def _now() -> str:
    global _second
    now = time.time()
    whole = int(now)
    if _second[0] != whole:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{_second[1]}.{int((now - whole) * 1000):03}Z"


_PLAIN = re.compile(r"[A-Za-z0-9 !#-\[\]-~]*")


def _quote(text: str) -> str:
    return f'"{text}"' if _PLAIN.fullmatch(text) else json.dumps(text)


_prefix = secrets.token_hex(6)
_count = itertools.count()


def request_id(given: bytes | None) -> str:
    """The client's own name for its request if it is harmless, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_prefix}-{next(_count):x}"
