"""Servers that answer as no server should, logs and health checks that are none: each ends in an answer."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from sites import Site

from ramekin import yaml_source
from ramekin.errors import RamekinError
from ramekin.slim.probes import accesslog, asking, form, health, http, links, patterns
from ramekin.slim.probes.answer import Answer

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve) -> Iterator[Site]:
    """A server that reads a request and then does as it likes with the connection."""
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            serve(connection)

    def accept() -> None:
        while not over.is_set():
            with suppress(OSError):
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Site(listener.getsockname()[1])
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(1)


def ask(serve: Serve, text: str) -> list[Answer]:
    plan = form.of(yaml_source.parse(text.encode(), Path("probes.yaml")))
    with serving(serve) as site:
        return list(asking.ask(plan.probes, site, asking.Memory(), port=site.inside, ports=()))


def says(headers: str, body: bytes = b"") -> Serve:
    lines = "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *headers.splitlines()])
    return lambda connection: connection.sendall(lines.encode("latin-1") + b"\r\n\r\n" + body)


def leads(there: str) -> Serve:
    head = f"HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    return lambda connection: connection.sendall(head.encode())


def drip(first: bytes, drop: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return serve


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"), "the answer did not end in 1 s"),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n"), "the answer did not end in 1 s"),
        (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "no answer in 1 s"),
        (drip(b"HTTP/1.1 200 OK\r\n\r\n", b"more"), "the answer did not end in 1 s"),
        (
            drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
            "did not end in 1 s",
        ),
        (lambda connection: time.sleep(30), "no answer in 1 s"),
    ],
    ids=["header", "headers", "continue", "body", "chunks", "nothing"],
)
def test_an_answer_that_never_ends_takes_the_time_that_it_has(serve: Serve, said: str) -> None:
    begun = time.monotonic()
    (answer,) = ask(serve, "- {get: /, seconds: 1s}")
    assert said in answer.fields["error"]
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("there", ["http://[::1", "//[", "http://a]b/", "\\\\[x"])
def test_a_redirect_to_no_address_is_not_followed(there: str) -> None:
    (answer,) = ask(leads(there), "- get: /")
    assert answer.fields["status"] == "302"
    assert answer.fields["location"] == there


def test_redirects_in_a_circle_come_to_an_end() -> None:
    (answer,) = ask(leads("/"), "- get: /")
    assert answer.fields["status"] == "302"
    assert len(answer.fields["redirects"].splitlines()) == 10


def test_a_body_that_unpacks_without_end_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(70 << 20), 9)
    (answer,) = ask(says("Content-Encoding: gzip", bomb), "- get: /")
    assert answer.fields == {"error": "the body unpacks to more than 64 MiB"}


@pytest.mark.parametrize(
    "charset", ["undefined", "idna", "punycode", "hex", "rot13", "unicode_escape", "no-such"]
)
def test_a_body_in_a_coding_that_is_none_is_compared_by_its_digest_or_as_text(charset: str) -> None:
    (answer,) = ask(says(f"Content-Type: text/html; charset={charset}", rb"\ud800 xn--a-\xff"), "- get: /")
    assert answer.complaints == ()
    answer.fields["body"].encode()


def test_json_that_says_what_is_no_character_can_be_compared_and_taken_from() -> None:
    serve = says(
        "Content-Type: application/json", rb'{"a": "\ud800", "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    )
    shallow = says("Content-Type: application/json", rb'{"a": "\ud800"}')
    for one in (serve, shallow):
        answers = ask(one, "- get: /\n- {get: /, take: {x: {json: a}}}\n- get: /${x}")
        msgspec.json.encode(answers)
    assert answers[0].fields["body"] == '{\n "a": "\\ud800"\n}\n'
    assert answers[2].complaints == ()


def test_a_pattern_that_never_ends_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.5)
    text = "- {get: /, take: {x: {pattern: '(a+)+$'}}}\n- {get: /, take: {y: {pattern: '(a)a'}}}"
    slow, quick = ask(says("Content-Type: text/plain", b"a" * 64 + b"b"), text)
    assert slow.complaints == ("the pattern '(a+)+$' takes longer than 0.5 s on the answer",)
    assert quick.complaints == ()


def test_a_site_without_end_is_crawled_to_its_bound() -> None:
    pages = iter(range(1 << 30))

    def serve(connection: socket.socket) -> None:
        number = next(pages)
        body = "".join(f"<a href='/{number}/{n}'>x</a>" for n in range(20_000)).encode()
        says("Content-Type: text/html", body)(connection)

    answers = ask(serve, "- {crawl: /, pages: 12}")
    assert len(answers) == 12


@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        "<a href='",
        '<a href="',
        "<a b= ",
        "<!--",
        "<![CDATA[",
        "<",
        "</",
        "<style>",
        "<title>",
        "<a = ",
    ],
)
def test_a_page_that_is_not_closed_is_read_in_the_time_of_its_length(piece: str) -> None:
    begun = time.monotonic()
    found = links.links("<a href='/x'>x</a>" + piece * 100_000, "http://localhost/", "text/html")
    assert found == ("http://localhost/x",)
    assert links.links("url(" + " " * 400_000, "http://localhost/", "text/css") == ()
    assert time.monotonic() - begun < 10


def test_pages_are_read_as_browsers_read_them() -> None:
    page = """<!doctype html><!-- <a href=/no1> --><TITLE><a href=/no2></TITLE>
    <script>"<a href='/no3'>"</script><A title="a > b" disabled HREF = '/yes1?a=1&amp;b=2'>x</A>
    <a href=/yes2/>x</a ><img src=yes3 alt=it's><a href=''>x</a><svg><style/><use href="#i"/></svg>
    <style>p { background: url( "yes4" ) }</style><p style="background: url(yes5)">
    <form action="/find"><input name=q value="1"><select name=s><option value=a>
    <option value=b selected></select></form><a href="/yes6">"""
    assert [one.removeprefix("http://h") for one in links.links(page, "http://h/", "text/html")] == [
        *("/yes1?a=1&b=2", "/yes2/", "/yes3", "/", "/yes4", "/yes5", "/find?q=1&s=b", "/yes6"),
    ]


def test_lines_of_logs_may_be_anything(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(
        "GET http://[::1\nGET //[x\n"
        + "x" * 300_000
        + " GET /no\nGET /yes\n"
        + '{"uri": "http://["}\nGET /end'
    )
    assert accesslog.read(log, 10)[0] == (("GET", "//[x"), ("GET", "/yes"), ("GET", "/end"))


@pytest.mark.parametrize("shell", [5, "/bin/sh", [1, 2], [], {"a": 1}])
def test_a_health_check_with_a_shell_that_is_none_has_the_usual_one(shell: object) -> None:
    test = {"Test": ["CMD-SHELL", "true"], "StartPeriod": 10**400}
    found = health.of({"config": {"Healthcheck": test, "Shell": shell}})
    assert found is not None
    assert found.command == ("/bin/sh", "-c", "true")
    assert found.seconds == health.START + 3600


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('- {host: "a\\0b"}', "has a zero byte in it"),
        ('- {run: "a\\0b"}', "has a zero byte in it"),
        ('- {run: env, env: {"A=B": c}}', "cannot be the name of an environment variable"),
        ('env: {"": c}', "cannot be the name of an environment variable"),
        ('env: {A: "b\\0"}', "has a zero byte in it"),
        ("- {get: /, seconds: 999999999h}", "is longer than 30 days"),
        ("- {post: /, file: /dev/zero}", "/dev/zero has more than 64 MiB"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nprobes: [*b]", "a is not a key"),
        ("probes: &a [*a]", "the file expands to too much"),
        ("- get: " + "/a" * (1 << 20), "has more than"),
    ],
)
def test_a_file_of_probes_that_nobody_means_is_refused_by_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "probes.yaml"
    file.write_text(text)
    with pytest.raises(RamekinError, match=said) as caught:
        form.read(file)
    assert "probes.yaml" in caught.value.message


def test_a_connection_that_is_made_when_the_time_is_over_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, http.Cut(0.001) as cut:
        while not cut.done:
            time.sleep(0.001)
        with pytest.raises(TimeoutError):
            cut.holds(ours)
