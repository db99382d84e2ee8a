"""Clients that send or take next to nothing hold a connection for a bounded time, and others get theirs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.ramekin_registry import Served, digest_of, serving

from ramekin.registry import readers

BLOB = os.urandom(1 << 20) * 24
LIMITS = {"answer-seconds": 1, "head-seconds": 2, "body-seconds": 1, "connections": 8, "blob": "100MB"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("slow"), {"limits": LIMITS}) as served:
        served.push_blob("a", BLOB)
        yield served


def asking(registry: Served, *headers: str) -> socket.socket:
    """A connection that has asked for the blob, with little room for what comes."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    raw.settimeout(30)
    raw.connect(("127.0.0.1", registry.port))
    lines = [f"GET /v2/a/blobs/{digest_of(BLOB)} HTTP/1.1", "Host: x", *headers]
    raw.sendall("\r\n".join([*lines, "", ""]).encode())
    return raw


def rest(raw: socket.socket) -> int:
    """Bytes that still come before the connection ends."""
    size = 0
    try:
        while data := raw.recv(1 << 20):
            size += len(data)
    except ConnectionResetError:
        pass
    return size


@pytest.mark.runtime
@pytest.mark.parametrize("headers", [(), ("Range: bytes=5-",)], ids=["all of it", "a part"])
def test_who_takes_nothing_is_cut_off(registry: Served, headers: tuple[str, ...]) -> None:
    with asking(registry, *headers) as raw:
        time.sleep(3.5)
        assert rest(raw) < len(BLOB) / 2
    assert registry.get("/v2/").status == 200


@pytest.mark.runtime
def test_who_takes_drops_is_cut_off(registry: Served) -> None:
    with asking(registry) as raw:
        taken, began = 0, time.monotonic()
        while time.monotonic() - began < 4:
            taken += len(raw.recv(16))
            time.sleep(0.05)
        assert taken + rest(raw) < len(BLOB) / 2


@pytest.mark.runtime
def test_who_takes_it_slowly_gets_all_of_it(registry: Served) -> None:
    with asking(registry, "Connection: close") as raw:
        size, began = 0, time.monotonic()
        while data := raw.recv(1 << 16):
            size += len(data)
            if time.monotonic() - began < 4:
                time.sleep(0.2)
    assert size > len(BLOB)


@pytest.mark.runtime
def test_those_who_stall_keep_nobody_else_out(registry: Served) -> None:
    with ExitStack() as stack:
        for _ in range(LIMITS["connections"]):  # type: ignore[call-overload]
            stack.enter_context(asking(registry))
        began = time.monotonic()
        # there is no connection left until they are cut off
        assert registry.get("/v2/").status == 200
        assert time.monotonic() - began < 10


@pytest.mark.runtime
def test_an_idle_connection_ends(registry: Served) -> None:
    with socket.create_connection(("127.0.0.1", registry.port), timeout=15) as raw:
        raw.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        rest(raw)
        assert time.monotonic() - began < 10


@pytest.mark.runtime
def test_a_body_that_drips_is_cut_off(registry: Served) -> None:
    location = registry.begin("a")
    with socket.create_connection(("127.0.0.1", registry.port), timeout=15) as raw:
        raw.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode())
        raw.setblocking(False)
        said, began = b"", time.monotonic()
        while not said and time.monotonic() - began < 8:
            try:
                raw.send(b"x")
                said = raw.recv(4096)
            except BlockingIOError:
                time.sleep(0.2)
    assert said.startswith(b"HTTP/1.1 408"), said


def test_who_waits_for_an_answer_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as _, listener.accept()[0] as server:
            known: dict[int, readers.Taken] = {}
            for moment in range(5):
                known = readers.look(port, known, 1.0, float(moment))
                assert known == {}
            server.setblocking(False)
            try:
                while True:
                    server.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            cut: list[tuple[str, int]] = []
            for moment in range(3):
                known = readers.look(port, known, 1.0, float(moment), lambda *what: cut.append(what))
            assert [who for who, _ in cut] == ["127.0.0.1"]


def test_it_may_have_a_file_for_every_connection() -> None:
    program = (
        "import resource; from ramekin.registry.server import allow_files; "
        "allow_files(2048); print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    for limits, found in (
        ("64:8192", "(5120, 8192)"),
        ("64:1000", "(1000, 1000)"),
        ("6000:8192", "(6000, 8192)"),
    ):
        command = ["prlimit", f"--nofile={limits}", sys.executable, "-c", program]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said.strip() == found
