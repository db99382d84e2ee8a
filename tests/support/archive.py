"""Small signed Debian archives for tests, and a loopback server that can misbehave.

    redis = Deb("redis", files={"usr/bin/redis": b"#!/bin/sh\n"}, depends="libc6 (>= 2.36)")
    archive = Archive(tmp_path / "archive", key)
    archive.publish(Suite("bookworm", [redis, libc6]))
    archive.configure(tmp_path / "apt")         # an apt folder that names it by file:
    with Server(archive.root) as server: ...    # the same over HTTP

Packages with equal values are equal bytes, on any machine: only signatures differ, as keys are random.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import urlsplit

from ramekin.image.tree import Entry, Kind, directory, file

MTIME = 1_700_000_000
"""When everything in these archives was made, unless a test says otherwise."""


def compress(data: bytes, how: str) -> bytes:
    """`data` as xz, gz, zst or none would hold it."""
    match how:
        case "xz":
            return lzma.compress(data, preset=1)
        case "gz":
            return gzip.compress(data, 6, mtime=0)
        case "zst":
            import zstandard

            return zstandard.ZstdCompressor(3).compress(data)
        case "none":
            return data
    raise ValueError(how)


def suffix(how: str) -> str:
    return "" if how == "none" else f".{how}"


_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.HARDLINK: tarfile.LNKTYPE,
    Kind.CHARACTER: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
}


def tar(entries: Iterable[Entry], *, prefix: str = "./") -> bytes:
    """A GNU tar of `entries` as they come, each name behind `prefix`, as dpkg-deb writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(prefix + entry.path)
            info.type, info.mode, info.mtime = _TYPES[entry.kind], entry.mode, entry.mtime
            info.uid, info.gid, info.uname, info.gname = entry.uid, entry.gid, "", ""
            info.devmajor, info.devminor = entry.device
            info.linkname = prefix + entry.target if entry.kind is Kind.HARDLINK else entry.target
            data = entry.read() if entry.kind is Kind.FILE else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A common ar archive, as deb(5) describes it."""
    out = io.BytesIO(b"!<arch>\n")
    out.seek(0, 2)
    for name, data in members:
        out.write(f"{name:<16}{MTIME:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        out.write(data + b"\n" * (len(data) % 2))
    return out.getvalue()


@dataclass(frozen=True)
class Deb:
    """A binary package as values.

    `files` gives bytes for plain files, or tree entries (their own path is not used) for all else;
    parent folders come by themselves. `scripts` are control members: `postinst`, `conffiles`, …. `fields`
    are more control fields by their Debian names, after the common ones that are arguments.
    """

    name: str
    version: str = "1.0-1"
    architecture: str = "amd64"
    files: Mapping[str, bytes | Entry] = field(default_factory=dict)
    scripts: Mapping[str, str | bytes] = field(default_factory=dict)
    depends: str = ""
    pre_depends: str = ""
    provides: str = ""
    conflicts: str = ""
    breaks: str = ""
    replaces: str = ""
    recommends: str = ""
    source: str = ""
    multi_arch: str = ""
    priority: str = "optional"
    section: str = "misc"
    description: str = "a package made by a test"
    component: str = "main"
    fields: Mapping[str, str] = field(default_factory=dict)
    compression: str = "xz"
    mtime: int = MTIME

    def entries(self) -> list[Entry]:
        """The entries of data.tar: folders first, all owned by root unless an entry says otherwise."""
        entries: dict[str, Entry] = {}
        for path, value in self.files.items():
            entry = file(path, value, mtime=self.mtime) if isinstance(value, bytes) else value.at(path)
            if isinstance(value, bytes) and ("bin/" in path or value.startswith(b"#!")):
                entry = file(path, value, mode=0o755, mtime=self.mtime)
            entries[path] = entry
        for path in list(entries):
            while (path := path.rpartition("/")[0]) and path not in entries:
                entries[path] = directory(path, mtime=self.mtime)
        # a hard link has to stand behind the file it names
        order = sorted(entries.values(), key=lambda e: (e.kind is Kind.HARDLINK, e.path))
        return [directory("", mtime=self.mtime), *order]

    @property
    def paragraph(self) -> dict[str, str]:
        """The fields of the control file, in dpkg's order."""
        size = sum(-(-entry.size // 1024) if entry.kind is Kind.FILE else 1 for entry in self.entries())
        fields = {
            "Package": self.name,
            "Source": self.source,
            "Version": self.version,
            "Architecture": self.architecture,
            "Maintainer": "A Test <test@example.org>",
            "Installed-Size": str(size),
            "Pre-Depends": self.pre_depends,
            "Depends": self.depends,
            "Recommends": self.recommends,
            "Conflicts": self.conflicts,
            "Breaks": self.breaks,
            "Replaces": self.replaces,
            "Provides": self.provides,
            "Section": self.section,
            "Priority": self.priority,
            "Multi-Arch": self.multi_arch,
            **self.fields,
            "Description": self.description,
        }
        return {name: value for name, value in fields.items() if value}

    @cached_property
    def control(self) -> bytes:
        """control.tar, uncompressed."""
        sums = "".join(
            f"{hashlib.md5(entry.read()).hexdigest()}  {entry.path}\n"
            for entry in sorted(self.entries(), key=lambda e: e.path)
            if entry.kind is Kind.FILE
        )
        members = {"control": paragraph(self.paragraph), "md5sums": sums, **self.scripts}
        entries = [directory("", mtime=self.mtime)]
        for name, text in members.items():
            executable = name in ("preinst", "postinst", "prerm", "postrm", "config")
            data = text.encode() if isinstance(text, str) else text
            entries.append(file(name, data, mode=0o755 if executable else 0o644, mtime=self.mtime))
        return tar(entries)

    @cached_property
    def data(self) -> bytes:
        """data.tar, uncompressed."""
        return tar(self.entries())

    @cached_property
    def blob(self) -> bytes:
        """The whole package file."""
        return ar(
            [
                ("debian-binary", b"2.0\n"),
                ("control.tar" + suffix(self.compression), compress(self.control, self.compression)),
                ("data.tar" + suffix(self.compression), compress(self.data, self.compression)),
            ]
        )

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.blob).hexdigest()

    @property
    def location(self) -> str:
        """The path below the mirror, without the epoch, as the archive writes it."""
        version = self.version.partition(":")[2] or self.version
        source = self.source.partition(" ")[0] or self.name
        folder = source[:4] if source.startswith("lib") else source[:1]
        return f"pool/{self.component}/{folder}/{source}/{self.name}_{version}_{self.architecture}.deb"

    @property
    def index_paragraph(self) -> dict[str, str]:
        """The fields that stand in Packages."""
        fields = self.paragraph
        description = fields.pop("Description")
        return {
            **fields,
            "Description": description.partition("\n")[0],
            "Filename": self.location,
            "Size": str(len(self.blob)),
            "SHA256": self.sha256,
        }


def paragraph(fields: Mapping[str, str]) -> str:
    """Fields as deb822 text; values hold their own continuation lines."""
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


@dataclass(frozen=True)
class SigningKey:
    """An OpenPGP key for archives."""

    secret: object
    certificate: bytes

    @classmethod
    def generate(cls, *, validity_seconds: int | None = None) -> SigningKey:
        import pysequoia

        secret = pysequoia.Tsk.generate(
            "Test Archive <archive@example.org>", validity_seconds=validity_seconds
        )
        return cls(secret, bytes(secret.extract_certificate()))

    @property
    def armored(self) -> str:
        import pysequoia

        return str(pysequoia.Cert.from_bytes(self.certificate))

    def clear_sign(self, text: str) -> bytes:
        import pysequoia

        return bytes(
            pysequoia.sign(self.secret.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR)  # type: ignore[attr-defined]
        )

    def detached(self, text: str) -> bytes:
        import pysequoia

        return bytes(
            pysequoia.sign(self.secret.signer(), text.encode(), mode=pysequoia.SignatureMode.DETACHED)  # type: ignore[attr-defined]
        )


@dataclass(frozen=True)
class Suite:
    """What stands under dists/NAME. Times are seconds since 1970; `valid_until` None leaves the field out."""

    name: str
    packages: Sequence[Deb] = ()
    codename: str = ""
    suite: str = ""
    components: Sequence[str] = ("main",)
    architectures: Sequence[str] = ("amd64",)
    date: float = MTIME
    valid_until: float | None = None
    by_hash: bool = True
    compressions: Sequence[str] = ("xz", "gz")
    fields: Mapping[str, str] = field(default_factory=dict)
    inline: bool = True
    """Write InRelease; Release and Release.gpg are always there."""


class Archive:
    """A signed archive in a folder."""

    def __init__(self, root: Path, key: SigningKey) -> None:
        self.root, self.key = root, key
        root.mkdir(parents=True, exist_ok=True)

    def publish(self, suite: Suite) -> None:
        """Write `suite` with its packages, over what stood there before; old by-hash files stay."""
        dists = self.root / "dists" / suite.name
        lists: list[tuple[str, bytes]] = []
        for deb in suite.packages:
            path = self.root / deb.location
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(deb.blob)
        for component in suite.components:
            for architecture in suite.architectures:
                text = "\n".join(
                    paragraph(deb.index_paragraph)
                    for deb in sorted(suite.packages, key=lambda deb: (deb.name, deb.version))
                    if deb.component == component and deb.architecture in (architecture, "all")
                ).encode()
                base = f"{component}/binary-{architecture}/Packages"
                lists.append((base, text))
                lists.extend((base + suffix(how), compress(text, how)) for how in suite.compressions)
        for name, data in lists:
            path = dists / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # the plain list is in Release but not on the mirror, as in Debian's own archive
            if not name.endswith("/Packages") or suite.compressions == ("none",):
                path.write_bytes(data)
            if suite.by_hash and path.exists():
                hashed = path.parent / "by-hash" / "SHA256" / hashlib.sha256(data).hexdigest()
                hashed.parent.mkdir(parents=True, exist_ok=True)
                hashed.write_bytes(data)
        self.sign(suite, lists)

    def sign(self, suite: Suite, lists: Iterable[tuple[str, bytes]]) -> None:
        """Write Release and its signatures for the index files in `lists`."""
        dists = self.root / "dists" / suite.name
        dists.mkdir(parents=True, exist_ok=True)
        fields = {
            "Origin": "Test",
            "Suite": suite.suite or suite.name,
            "Codename": suite.codename or suite.name,
            "Date": formatdate(suite.date, usegmt=True).replace("GMT", "UTC"),
            "Valid-Until": ""
            if suite.valid_until is None
            else formatdate(suite.valid_until, usegmt=True).replace("GMT", "UTC"),
            "Acquire-By-Hash": "yes" if suite.by_hash else "",
            "No-Support-for-Architecture-all": "Packages",
            "Architectures": " ".join(suite.architectures),
            "Components": " ".join(suite.components),
            **suite.fields,
        }
        sums = "".join(f"\n {hashlib.sha256(data).hexdigest()} {len(data):>8} {name}" for name, data in lists)
        text = paragraph({**{k: v for k, v in fields.items() if v}, "SHA256": sums}).replace(": \n", ":\n")
        (dists / "Release").write_text(text)
        (dists / "Release.gpg").write_bytes(self.key.detached(text))
        (dists / "InRelease").unlink(missing_ok=True)
        if suite.inline:
            (dists / "InRelease").write_bytes(self.key.clear_sign(text))

    @property
    def keyring(self) -> Path:
        """The public key, beside the archive."""
        path = self.root.parent / f"{self.root.name}.gpg"
        path.write_bytes(self.key.certificate)
        return path

    def configure(self, apt: Path, *suites: str, uri: str | None = None, components: str = "main") -> Path:
        """An apt folder (for `apt_dir`) with one deb822 entry for this archive; all its suites by default."""
        names = suites or sorted(path.name for path in (self.root / "dists").iterdir())
        (apt / "sources.list.d").mkdir(parents=True, exist_ok=True)
        (apt / "sources.list.d" / "test.sources").write_text(
            f"Types: deb\nURIs: {uri or self.root.as_uri()}\nSuites: {' '.join(names)}\n"
            f"Components: {components}\nSigned-By: {self.keyring}\n"
        )
        return apt


@dataclass
class Request:
    """One request that a `Server` saw, and the status it answered."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """How a server misbehaves for paths that match `pattern` (searched), for the next `times` requests.

    `status` answers with that status instead; `cut` sends that many bytes of the body and drops the
    connection; `corrupt` flips a bit in the middle of the body; `delay` waits that many seconds first.
    """

    pattern: str
    status: int | None = None
    cut: int | None = None
    corrupt: bool = False
    delay: float = 0
    times: int = 1 << 30


class Server:
    """A folder over HTTP on a free loopback port; a context manager.

    `validators` says which of `etag` and `date` answers carry (and honour in conditional requests).
    """

    def __init__(self, root: Path, *, validators: Sequence[str] = ("etag", "date")) -> None:
        self.root, self.validators = root, validators
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.hook: Callable[[str], None] | None = None
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Quiet(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def paths(self, status: int | None = None) -> list[str]:
        """Paths asked for since the last `forget`, in order; only those answered with `status` if given."""
        with self._lock:
            return [r.path for r in self.requests if status is None or r.status == status]

    def forget(self) -> None:
        with self._lock:
            self.requests.clear()

    def record(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def fault_for(self, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, path):
                    fault.times -= 1
                    return fault
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering: the port is closed from now on."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    owner: ClassVar[Server]
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server = self.owner
        if server.hook is not None:
            server.hook(self.path)
        fault = server.fault_for(self.path) or Fault("")
        time.sleep(fault.delay)
        # a proxy is asked by the whole URL
        path = server.root / urlsplit(self.path).path.lstrip("/")
        if fault.status is not None:
            return self._answer(fault.status, b"")
        if ".." in self.path or not path.is_file():
            return self._answer(404, b"not here")
        data, modified = path.read_bytes(), int(path.stat().st_mtime)
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {}
        if "etag" in server.validators:
            headers["ETag"] = etag
            if self.headers.get("If-None-Match") == etag:
                return self._answer(304, b"", headers)
        if "date" in server.validators:
            headers["Last-Modified"] = formatdate(modified, usegmt=True)
            since = self.headers.get("If-Modified-Since")
            if (
                since
                and not self.headers.get("If-None-Match")
                and parsedate_to_datetime(since).timestamp() >= modified
            ):
                return self._answer(304, b"", headers)
        if fault.corrupt and data:
            data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        self._answer(200, data, headers, cut=fault.cut)
        return None

    def _answer(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.owner.record(Request(self.command, self.path, status, dict(self.headers.items())))
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD" and status != 304:
                self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True
        except ConnectionError:
            self.close_connection = True
