"""The other end of a conversation with a program under test: clients for servers, servers for clients."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import struct
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """What an HTTP server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def data(self) -> object:
        return json.loads(self.body)


def fetch(
    url: str,
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] = {},
    method: str | None = None,
    context: ssl.SSLContext | None = None,
    proxy: str = "",
    timeout: float = 20,
) -> Answer:
    """Ask an HTTP server, by no proxy but the one that is named; an error is an answer too."""
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.ProxyHandler({"http": proxy} if proxy else {})
    ]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)
    opener.addheaders = []
    asked = urllib.request.Request(url, body, dict(headers), method=method)
    try:
        with opener.open(asked, timeout=timeout) as found:
            return Answer(found.status, found.headers, found.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def ask(port: int, request: bytes, until: bytes, *, timeout: float = 20) -> bytes:
    """Send bytes to a server on loopback and read until its answer holds `until`."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request)
        answer = b""
        while until not in answer:
            part = connection.recv(65536)
            assert part, f"the server hung up after {answer!r}"
            answer += part
        return answer


def look_up(port: int, name: str, *, kind: int = 1, timeout: float = 2) -> list[bytes]:
    """The data of all answers of a DNS server on loopback to a question (RFC 1035, 4); 1: addresses."""
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split(".")) + b"\0"
    question = struct.pack(">HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(timeout)
        asker.connect(("127.0.0.1", port))
        asker.send(question)
        answer = asker.recv(4096)
    number, flags, _, count, _, _ = struct.unpack(">HHHHHH", answer[:12])
    assert number == 4711 and flags & 15 == 0, f"the server answered with the code {flags & 15}"
    place, found = len(question), []
    for _ in range(count):
        while answer[place] and answer[place] < 0xC0:
            place += answer[place] + 1
        place += 2 if answer[place] else 1
        size = struct.unpack(">H", answer[place + 8 : place + 10])[0]
        found.append(answer[place + 10 : place + 10 + size])
        place += 10 + size
    return found


@contextmanager
def web_server(pages: bytes | Mapping[str, bytes], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on loopback that answers with a page, or with that of the path asked for; yields its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages if isinstance(pages, bytes) else pages.get(self.path)
            self.send_response(200 if page is not None else 404)
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page or b"")

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Type", self.headers.get("Content-Type") or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that refuse the certificate hang up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"{'https' if context else 'http'}://localhost:{server.server_port}/"
        finally:
            server.shutdown()


@dataclass(frozen=True)
class Authority:
    """A certificate for localhost that signs itself, in PEM."""

    folder: Path

    @classmethod
    def found(cls, folder: Path) -> Authority:
        """Make one in `folder`."""
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(
            [
                *("openssl", "req", "-x509", *curve, *names),
                *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
            ],
            check=True,
            capture_output=True,
        )
        return cls(folder)

    @property
    def certificate(self) -> str:
        return (self.folder / "cert.pem").read_text()

    @property
    def key(self) -> str:
        return (self.folder / "key.pem").read_text()

    @cached_property
    def server(self) -> ssl.SSLContext:
        """For a server that shows the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        return context

    @cached_property
    def client(self) -> ssl.SSLContext:
        """For a client that trusts the certificate and no other."""
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
