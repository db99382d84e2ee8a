"""What containers and their commands print is all there, however late somebody comes to read it."""

from __future__ import annotations

import os
import threading

import pytest

from ramekin.slim.sandbox import commands
from ramekin.slim.sandbox.log import Log


def test_what_was_printed_is_in_the_log_at_once() -> None:
    for _ in range(200):
        reads, writes = os.pipe()
        log = Log(reads, 1000)
        printed = b""
        for line in (b"one\n", b"two\n"):
            os.write(writes, line)
            printed += line
            assert log.text() == printed
        os.close(writes)
        log.finish(60)
        assert log.text() == printed


def test_a_full_pipe_is_read_while_others_look_at_the_log() -> None:
    reads, writes = os.pipe()
    log = Log(reads, 1 << 30)
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            log.text()

    looks = threading.Thread(target=look)
    looks.start()
    data = os.urandom(1 << 20)
    with open(writes, "wb") as file:  # noqa: PTH123
        file.write(data)
    log.finish(60)
    over.set()
    looks.join()
    assert log.text() == data


def test_what_a_command_printed_before_its_end_is_read_though_nobody_came_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (sink, sends), (out, prints), (errors, complains), (status, ends) = (os.pipe() for _ in range(4))
    read = os.read

    def late(descriptor: int, size: int) -> bytes:
        """As on a machine with much to do: the command has printed and ended, and we come much later."""
        if descriptor == status:
            os.write(prints, b"printed")
            os.write(complains, b"complained")
        return read(descriptor, size)

    monkeypatch.setattr(commands.os, "read", late)
    os.write(ends, b"0")
    monkeypatch.setattr(commands, "_GRACE", 0.0)
    found = commands.communicate(sends, b"", (out, errors), status, 60)
    for descriptor in (sink, prints, complains, ends):
        os.close(descriptor)
    assert found == (0, b"printed", b"complained")
