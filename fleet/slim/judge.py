"""Runs an application's image as Docker would and puts its checks to it; knows nothing of `ramekin`.

    with laid_out("oci:LAYOUT:TAG") as box:
        for verdict in judge(app, box): ...

Files are laid out by umoci and run by runc, with a network of their own; requests are made from this process
inside that network. A check of checks.yaml has a name and is one of

    - {check: …, get: /path, headers: {…}, status: 200, has: [text, …], lacks: […], header: {Name: text}}
    - {check: …, post: /path, form: {…} | json: … | body: … | upload: {field: {name, text, encoding}}}
    - {check: …, exec: [program, …], stdin: …, exit: 0, has: […]}       in the running container
    - {check: …, run: [argument, …], entrypoint: […], env: {…}}         a container of its own
    - {check: …, tcp: 6379, send: "PING\\r\\n", has: [PONG]}
    - {check: …, user-of-program: 999}
    - {check: …, steps: [such as these, in which `take: {name: regex}` gives `{name}` to later ones]}

Cookies last for one check. `status` is 200 and `exit` 0 where nothing is said; `within` are seconds in which
a step may be tried again; `tls` and `port` say where a request goes. `has` and `lacks` are looked for in
headers and body, or in all that a command wrote; `match` are regular expressions. `language` names the one of
a check that needs another than English, `alone` marks one that disturbs a server beside it.
"""

from __future__ import annotations

import ctypes
import gzip
import http.client
import http.cookies
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Check = Mapping[str, Any]

_CLONE_NEWNET = 0x40000000
_CAPABILITIES = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"),
    *("CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_SETFCAP"),
    "CAP_AUDIT_WRITE",
]
_OVERLAID = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/rootfs"
shift 2
exec "$@"
"""
"""Mounts the container's root where only the container sees it, so that nothing stays mounted."""


@dataclass(frozen=True)
class Verdict:
    """What came of a check; `reason` is empty when it passed."""

    check: str
    reason: str

    @property
    def passed(self) -> bool:
        return not self.reason


class WrongError(Exception):
    """A check's answer is not what it should be."""


@dataclass(frozen=True)
class Box:
    """An image's files below `root`, never written to, and its configuration as the image has it."""

    root: Path
    config: Mapping[str, Any]
    folder: Path

    @property
    def settings(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.config.get("config", {})
        return found

    @property
    def size(self) -> int:
        """Bytes of all files, each hard-linked one counted once."""
        seen: dict[tuple[int, int], int] = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                status = (Path(folder) / name).lstat()
                seen[status.st_dev, status.st_ino] = status.st_size
        return sum(seen.values())


@contextmanager
def laid_out(reference: str) -> Iterator[Box]:
    """The files of an image `oci:LAYOUT:TAG`; removed at the end."""
    layout, tag = _parts(reference)
    with tempfile.TemporaryDirectory(prefix="slim-app-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        root = folder / "root"
        _output("umoci", "raw", "unpack", "--image", f"{layout}:{tag}", str(root))
        yield Box(root, configuration(reference), folder)


def _parts(reference: str) -> tuple[Path, str]:
    """Layout and tag of `oci:LAYOUT:TAG`."""
    layout, _, tag = reference.removeprefix("oci:").rpartition(":")
    return Path(layout), tag


def configuration(reference: str) -> dict[str, Any]:
    """The configuration of an image `oci:LAYOUT:TAG`."""
    layout, tag = _parts(reference)

    def document(descriptor: Mapping[str, Any]) -> Any:
        return json.loads((layout / "blobs" / descriptor["digest"].replace(":", "/")).read_text())

    listed = json.loads((layout / "index.json").read_text())["manifests"]
    (entry,) = (e for e in listed if e.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag)
    while "config" not in (found := document(entry)):
        (entry,) = found["manifests"]
    config: dict[str, Any] = document(found["config"])
    return config


@dataclass
class Container:
    """A container that was started; `pid` is that of its program on this machine."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def execute(
        self, command: Sequence[str], stdin: bytes = b"", user: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        """A further command in the container, as `docker exec`."""
        who = ["--user", user] if user else []
        return subprocess.run(
            ["runc", "--root", str(self.folder / "runc"), "exec", *who, self.name, *map(str, command)],
            input=stdin,
            capture_output=True,
            timeout=120,
        )

    def connect(self, port: int, timeout: float = 20) -> socket.socket:
        """A connection to a port inside the container's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (
            Path("/proc/thread-self/ns/net").open() as own,
            Path(f"/proc/{self.pid}/ns/net").open() as other,
        ):
            if libc.setns(other.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                return socket.create_connection(("127.0.0.1", port), timeout)
            finally:
                libc.setns(own.fileno(), _CLONE_NEWNET)


@contextmanager
def container(
    box: Box,
    args: Sequence[str] | None = None,
    *,
    entrypoint: Sequence[str] | None = None,
    env: Mapping[str, str] = {},
) -> Iterator[Container]:
    """A container of the image, on files of its own; it is stopped at the end. Standard input is empty."""
    folder = Path(tempfile.mkdtemp(dir=box.folder))
    folder.chmod(0o711)
    for name in ("upper", "work", "rootfs"):
        (folder / name).mkdir()
    shutil.copystat(box.root, folder / "upper")
    (folder / "config.json").write_text(json.dumps(_bundle(box, folder / "rootfs", args, entrypoint, env)))
    name = folder.name
    runc = ["runc", "--root", str(folder / "runc")]
    start = [*runc, "run", "--pid-file", str(folder / "pid"), "--bundle", str(folder), name]
    mounted = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _OVERLAID, "sh"]
    with (folder / "log").open("wb") as log, (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*mounted, str(box.root), str(folder), *start],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
        )
    try:
        yield Container(name, folder, process)
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
        subprocess.run([*runc, "delete", "--force", name], capture_output=True, timeout=60)
        if process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _bundle(
    box: Box, root: Path, args: Sequence[str] | None, entrypoint: Sequence[str] | None, env: Mapping[str, str]
) -> dict[str, Any]:
    """The runtime's config.json for a container of the image (image-spec, conversion.md)."""
    own = box.settings
    default = own.get("Cmd") or [] if entrypoint is None else []
    command = [*(own.get("Entrypoint") or [] if entrypoint is None else entrypoint)]
    command += default if args is None else args
    user = _user(box.root, own.get("User", ""))
    variables = dict(pair.split("=", 1) for pair in own.get("Env") or ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    variables = {"HOME": user.pop("home"), "HOSTNAME": "slim", **variables, **env}
    private = ["nosuid", "noexec", "nodev"]
    hosts = root.parent / "hosts"
    hosts.write_text("127.0.0.1 localhost slim\n::1 localhost\n")
    resolver = root.parent / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    return {
        "ociVersion": "1.0.2",
        "hostname": "slim",
        "root": {"path": str(root)},
        "process": {
            "user": user,
            "args": command,
            "env": [f"{name}={value}" for name, value in variables.items()],
            "cwd": own.get("WorkingDir") or "/",
            "capabilities": {"bounding": _CAPABILITIES}
            | ({} if user["uid"] else dict.fromkeys(("effective", "permitted"), _CAPABILITIES)),
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*private, "ro"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666"],
            },
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*private, "mode=1777"]},
            {"destination": "/etc/hosts", "type": "bind", "source": str(hosts), "options": ["bind", "ro"]},
            {
                "destination": "/etc/resolv.conf",
                "type": "bind",
                "source": str(resolver),
                "options": ["bind", "ro"],
            },
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }


def _user(root: Path, user: str) -> dict[str, Any]:
    """What `User` of a configuration means by the image's account files."""

    def rows(name: str) -> list[list[str]]:
        path = root / "etc" / name
        return [line.split(":") for line in path.read_text().splitlines()] if path.is_file() else []

    name, _, group = user.partition(":")
    row = next((row for row in rows("passwd") if (name or "0") in (row[0], row[2])), None)
    uid, gid, home = (int(row[2]), int(row[3]), row[5]) if row else (int(name or 0), 0, "/")
    if group:
        gid = next((int(found[2]) for found in rows("group") if group in (found[0], found[2])), gid)
    more = [int(found[2]) for found in rows("group") if row and row[0] in found[3].split(",")]
    return {"uid": uid, "gid": gid, "additionalGids": more, "home": home}


def judge(checks: Sequence[Check], box: Box, settings: Mapping[str, Any]) -> Iterator[Verdict]:
    """The verdicts on an image, check by check, in order; the container is started once, for all of them.

    `settings` are those of app.yaml: `port` and `ready` (a step that passes when the server is up), `env`.
    An application without either has no server, and its checks are commands.
    """
    env = settings.get("env", {})
    if "port" not in settings and "ready" not in settings:
        for check in checks:
            yield _verdict(check, Session(box, None, settings))
        return
    with container(box, env=env) as server:
        ready = dict(settings.get("ready", {"get": "/"}))
        up = _verdict(
            {"check": "start", "within": settings.get("patience", 60), **ready},
            Session(box, server, settings),
        )
        reason = f"it did not start: {up.reason}\n{server.log[-2000:]}"
        for check in checks:
            if not up.passed:
                yield Verdict(check["check"], reason)
                reason = "it did not start"
            else:
                verdict = _verdict(check, Session(box, server, settings))
                note = "" if verdict.passed else f"\n{server.log[-600:]}"
                yield Verdict(verdict.check, verdict.reason + note)


@dataclass
class Session:
    """One check's cookies and what its steps have taken."""

    box: Box
    server: Container | None
    settings: Mapping[str, Any]
    cookies: dict[str, str] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)


def _verdict(check: Check, session: Session) -> Verdict:
    try:
        for step in check.get("steps", [check]):
            _try(step, session)
    except (WrongError, OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
        return Verdict(check["check"], f"{type(error).__name__}: {error}")
    return Verdict(check["check"], "")


def _try(step: Check, session: Session) -> None:
    """One step, again and again for as long as it says."""
    deadline = time.monotonic() + step.get("within", 0)
    while True:
        try:
            return _step(_filled(step, session.taken), session)
        except (WrongError, OSError, ValueError, http.client.HTTPException):
            server = session.server
            if time.monotonic() > deadline or (server is not None and server.process.poll() is not None):
                raise
            time.sleep(0.05)


def _filled(value: Any, taken: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda found: taken.get(found[1], found[0]), value)
    if isinstance(value, list):
        return [_filled(item, taken) for item in value]
    if isinstance(value, dict):
        return {
            name: item if name in ("take", "match") else _filled(item, taken) for name, item in value.items()
        }
    return value


def _step(step: Check, session: Session) -> None:
    if "exec" in step or "run" in step:
        text = _command(step, session)
    elif "tcp" in step:
        assert session.server is not None
        with session.server.connect(step["tcp"]) as connection:
            connection.sendall(step["send"].encode())
            connection.shutdown(socket.SHUT_WR) if step.get("shut") else None
            connection.settimeout(5)
            text = ""
            while data := _received(connection):
                text += data.decode(errors="replace")
                if all(part in text for part in step["has"]):
                    break
    elif "user-of-program" in step:
        assert session.server is not None
        text = Path(f"/proc/{session.server.pid}/status").read_text()
        if f"Uid:\t{step['user-of-program']}\t" not in text:
            raise WrongError(f"it runs as another user: {_short(text)}")
    else:
        text = _request(step, session)
    for part in step.get("has", ()):
        if str(part) not in text:
            raise WrongError(f"{part!r} is not in {_short(text)}")
    for part in step.get("lacks", ()):
        if str(part) in text:
            raise WrongError(f"{part!r} is in {_short(text)}")
    for pattern in step.get("match", ()):
        if not re.search(pattern, text, re.S):
            raise WrongError(f"nothing like {pattern!r} is in {_short(text)}")
    for name, pattern in step.get("take", {}).items():
        found = re.search(pattern, text)
        if found is None:
            raise WrongError(f"nothing like {pattern!r} is in {_short(text)}")
        session.taken[name] = found[1]


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except TimeoutError:
        return b""


def _short(text: str) -> str:
    return repr(text if len(text) < 700 else f"{text[:350]} … {text[-350:]}")


def _command(step: Check, session: Session) -> str:
    """All that the command wrote, which must end as the step says."""
    stdin = step.get("stdin", "").encode(step.get("encoding", "utf-8"))
    if "exec" in step:
        assert session.server is not None
        result = session.server.execute(step["exec"], stdin, step.get("user", ""))
        status, text = result.returncode, (result.stdout + result.stderr).decode(errors="replace")
    else:
        env = {**session.settings.get("env", {}), **step.get("env", {})}
        with container(session.box, step["run"], entrypoint=step.get("entrypoint"), env=env) as once:
            status = once.process.wait(step.get("timeout", 120))
            text = (once.folder / "output").read_text(errors="replace") + once.log
    if status != step.get("exit", 0):
        raise WrongError(f"{step.get('exec') or step['run']} ended with {status}: {_short(text)}")
    return text


def _request(step: Check, session: Session) -> str:
    assert session.server is not None
    method = next(
        name for name in ("get", "post", "put", "delete", "head", "options", "patch") if name in step
    )
    port = step.get("port", session.settings["port"])
    headers = {"Host": "localhost", **step.get("headers", {})}
    body = b""
    if "form" in step:
        body = urllib.parse.urlencode(step["form"], doseq=True).encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if "json" in step:
        body, headers["Content-Type"] = json.dumps(step["json"]).encode(), "application/json"
    if "upload" in step:
        body, headers["Content-Type"] = multipart(step)
    if "body" in step:
        body = step["body"].encode()
    if session.cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
    connection = http.client.HTTPConnection("localhost", port, timeout=20)
    connection.sock = session.server.connect(port)
    if step.get("tls"):
        connection.sock = ssl._create_unverified_context().wrap_socket(connection.sock)
    try:
        connection.request(method.upper(), step[method], body or None, headers)
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    for value in response.headers.get_all("Set-Cookie") or ():
        for name, morsel in http.cookies.SimpleCookie(value).items():
            session.cookies[name] = morsel.value
    if response.headers.get("Content-Encoding") == "gzip":
        data = gzip.decompress(data)
    text = data.decode("utf-8", "replace")
    if response.status != step.get("status", 200):
        raise WrongError(f"{method.upper()} {step[method]} gave {response.status}: {_short(text)}")
    for name, part in step.get("header", {}).items():
        if part not in (response.headers.get(name) or ""):
            raise WrongError(f"{name} is {response.headers.get(name)!r}, not {part!r}")
    if len(data) < step.get("bytes", 0):
        raise WrongError(f"{len(data)} bytes came: {_short(text)}")
    return "\n".join([*(f"{name}: {value}" for name, value in response.headers.items()), "", text])


def multipart(step: Check) -> tuple[bytes, str]:
    boundary = "a-boundary-of-the-larder"
    parts = b""
    for name, value in step.get("form", {}).items():
        parts += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, file in step["upload"].items():
        content = file["text"].encode(file.get("encoding", "utf-8"))
        about = f'form-data; name="{name}"; filename="{file["name"]}"'
        parts += f"--{boundary}\r\nContent-Disposition: {about}\r\n".encode()
        parts += (
            f"Content-Type: {file.get('type', 'application/octet-stream')}\r\n\r\n".encode()
            + content
            + b"\r\n"
        )
    return parts + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _output(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
    return result.stdout
