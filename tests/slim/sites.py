"""A small web site as a container would have it, and commands that run on this machine in place of one."""

from __future__ import annotations

import gzip
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from ramekin.errors import RamekinError

PAGES = {
    "/about": "<h1>About</h1><a href='/'>home</a><a href='/logout'>leave</a><img src='logo.png'>",
    "/logo.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "/static/site.css": "body { background: url('../bg.png') } @import 'more.css';",
    "/static/more.css": "p { color: red }",
    "/bg.png": b"\x89PNG\r\n\x1a\n",
    "/logout": "<p>bye</p>",
}


@dataclass
class Finished:
    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


@dataclass
class Site:
    """What probes take for a container: a server on `port`, which the image calls `inside`."""

    port: int
    inside: int = 8000
    requests: list[str] = field(default_factory=list)
    without: set[str] = field(default_factory=set)
    up: bool = True

    def address(self, port: int | str) -> str:
        if port != self.inside:
            raise RamekinError(f"nothing listens on {port}")
        return f"127.0.0.1:{self.port}"

    def alive(self) -> bool:
        return self.up

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 60.0,
    ) -> Finished:
        if not self.up:
            raise RamekinError("the container has ended")
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                timeout=timeout,
                env={"PATH": "/usr/bin:/bin", **(env or {})},
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Finished(124, b"", b"", timed_out=True)
        return Finished(done.returncode, done.stdout, done.stderr)


class _Handler(BaseHTTPRequestHandler):
    site: Site
    tokens: set[str]

    def log_message(self, *arguments: object) -> None: ...

    def do_GET(self) -> None:
        self.site.requests.append(f"{self.command} {self.path} {self.headers['Host']}")
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path in self.site.without:
            self.answer(404, "gone")
            return
        match parts.path:
            case "/":
                self.answer(
                    200,
                    "<link rel=stylesheet href=/static/site.css><a href=/about>about</a>"
                    f"<a href='/day?n=0'>today</a><a href='http://elsewhere.test/'>x</a>"
                    f"<form action=/search><input name=q value=tea><input type=submit></form>"
                    f"<p>{time.time_ns()}</p>",
                )
            case "/login":
                token = uuid.uuid4().hex
                self.tokens.add(token)
                self.answer(
                    200,
                    f'<form method="post"><input type=hidden name="csrf" value="{token}"></form>',
                    {"Set-Cookie": "seen=1; Path=/"},
                )
            case "/me":
                name = "ann" if "session=ann" in self.headers.get("Cookie", "") else "nobody"
                self.answer(200, f"Hello {name}")
            case "/day":
                number = int(query["n"][0])
                self.answer(200, f"<a href='/day?n={number + 1}'>next</a>")
            case "/search":
                self.answer(200, f"found {query.get('q')}")
            case "/old":
                self.answer(302, "", {"Location": "/about"})
            case "/methods":
                allowed = ("GET", "POST") if len(self.site.requests) % 2 else ("POST", "GET")
                self.answer(405, "not so", {"Allow": ",".join(allowed)})
            case "/archive":
                # as an archive with times in it, whose size is another one now and then
                data = b"\x00\xff" * len(self.site.requests)
                self.answer(200, data, {"Content-Type": "application/zip"})
            case "/queue":
                asked = sum(line.startswith("GET /queue ") for line in self.site.requests)
                self.answer(200, "at work" if asked < 3 else "done")
            case "/away":
                self.answer(302, "", {"Location": "http://elsewhere.test/"})
            case "/loop":
                self.answer(302, "", {"Location": "/loop"})
            case "/data.json":
                self.answer(
                    200, json.dumps({"b": [1, {"id": "x7"}], "a": 2}), {"Content-Type": "application/json"}
                )
            case "/zipped":
                self.answer(200, gzip.compress(b"zipped text", mtime=0), {"Content-Encoding": "gzip"})
            case "/broken":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"short")
                self.close_connection = True
            case "/slow":
                time.sleep(2)
                self.answer(200, "late")
            case path if path in PAGES:
                self.answer(200, PAGES[path], {"Content-Type": _type(path)})
            case _:
                self.answer(404, "there is no such page")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.site.requests.append(f"POST {self.path} {data.decode('latin-1')}")
        if self.path == "/echo":
            self.answer(200, data, {"Content-Type": self.headers.get("Content-Type", "")})
            return
        form = parse_qs(data.decode())
        if form.get("csrf", [""])[0] not in self.tokens or form.get("password") != ["se cret"]:
            self.answer(403, "go away")
            return
        self.answer(302, "", {"Location": "/me", "Set-Cookie": "session=ann; Path=/; HttpOnly"})

    def answer(self, status: int, body: str | bytes, headers: Mapping[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Type": "text/html; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *arguments: object) -> None:
        """A client that has gone is what some tests want."""


def _type(path: str) -> str:
    return {"png": "image/png", "css": "text/css"}.get(path.rpartition(".")[2], "text/html")


@contextmanager
def site() -> Iterator[Site]:
    """The site, served on loopback for as long as the context lasts."""
    handler = type("Handler", (_Handler,), {"tokens": set()})
    server = _Server(("127.0.0.1", 0), handler)
    served = Site(server.server_address[1])
    handler.site = served  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
