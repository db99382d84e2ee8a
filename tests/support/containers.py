"""Images run as their users run them: under bubblewrap, runc and podman, by their own configuration.

    image = Layout(path)                      # what `ramekin build -o oci:PATH` left
    with container(image, tmp_path, runtime="bwrap", args=["--port", "7000"]) as redis:
        redis.wait_for_port(7000)
    assert run(image, tmp_path, ["--version"]).output.startswith("…")

Layouts are read with nothing but `json`, so that a mistake of the code under test does not hide itself.
Containers share the network of the machine; servers listen on loopback at `free_port()`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
"""Seconds that a server may take until it answers."""


def need(*programs: str) -> None:
    """Skip the test when a program that it runs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def _own_ports() -> Iterator[int]:
    """Ports below those that the kernel gives to who asks for any, of which no other worker takes one."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(10_000 + worker % 16, 32_000, 16)
    first = secrets.randbelow(len(own))
    return itertools.cycle([*own[first:], *own[:first]])


_ports = _own_ports()


def free_port() -> int:
    """A TCP port on loopback that nothing listens on, and that is left to whoever is told to listen there."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as asker, suppress(OSError):
        asker.bind(("127.0.0.1", port))
        return True
    return False


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, patience: float = PATIENCE) -> None:
    """Return once something listens on the port; the log is shown when the process ends before or hangs."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} before it listened:\n{_text(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port} after {patience} s:\n{_text(log)}")


def stop(process: subprocess.Popen[bytes], *, patience: float = 5) -> None:
    """End a process that the test started, by its own pid: with SIGTERM, then with SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _text(log: Path) -> str:
    return log.read_text(errors="replace")[-8000:] if log.exists() else ""


@dataclass(frozen=True)
class Layout:
    """One image of an OCI layout."""

    path: Path
    tag: str = ""

    def blob(self, descriptor: Mapping[str, Any]) -> bytes:
        algorithm, _, value = descriptor["digest"].partition(":")
        path = self.path / "blobs" / str(algorithm) / str(value)
        return path.read_bytes()

    @cached_property
    def descriptor(self) -> dict[str, Any]:
        """The entry of index.json that names the image; the only one when no tag was given."""
        entries: list[dict[str, Any]] = json.loads((self.path / "index.json").read_text())["manifests"]
        reference = "org.opencontainers.image.ref.name"
        images = [e for e in entries if reference in e.get("annotations", {}) or len(entries) == 1]
        images = [e for e in images if not self.tag or e["annotations"][reference] == self.tag]
        assert len(images) == 1, f"{self.path} holds {entries}"
        return images[0]

    @property
    def digest(self) -> str:
        return str(self.descriptor["digest"])

    @property
    def reference(self) -> str:
        """As skopeo, podman and ramekin name it."""
        tag = self.tag or self.descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
        return f"oci:{self.path}" + (f":{tag}" if tag else "")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.blob(self.descriptor))
        return document

    @cached_property
    def config(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.blob(self.manifest["config"]))
        return document

    @property
    def layers_size(self) -> int:
        """Bytes of all layers as they are stored."""
        return sum(layer["size"] for layer in self.manifest["layers"])


def ramekin(
    *args: str | Path,
    env: Mapping[str, str] = {},
    check: bool = True,
    timeout: float = 300,
    cwd: Path | None = None,
    umask: int = -1,
) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it; with `check`, it must end with 0."""
    result = subprocess.run(
        [sys.executable, "-m", "ramekin", *map(str, args)],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        umask=umask,
    )
    if check and result.returncode:
        raise AssertionError(f"ramekin {' '.join(map(str, args))}: {result.returncode}\n{result.stderr}")
    return result


@dataclass(frozen=True)
class Identity:
    """What `USER` of an image means inside its own passwd and group files."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"

    @classmethod
    def of(cls, root: Path, user: str) -> Identity:
        name, _, group = user.partition(":")
        rows = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
        groups = [line.split(":") for line in (root / "etc/group").read_text().splitlines()]
        for row in rows:
            if (name or "0") in (row[0], row[2]):
                gid = next((int(g[2]) for g in groups if group and group in (g[0], g[2])), int(row[3]))
                more = tuple(int(g[2]) for g in groups if row[0] in g[3].split(","))
                return cls(int(row[2]), gid, more, row[5])
        assert name.isdecimal(), f"USER {user} is not in etc/passwd"
        return cls(int(name), int(group or name))


@dataclass(frozen=True)
class Invocation:
    """What a container of an image runs: the image's configuration with the user's words laid over it.

    `args` stand in for Cmd and `entrypoint` for Entrypoint (and Cmd), as `docker run` does it.
    """

    image: Layout
    args: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    workdir: str | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = self.image.config.get("config", {})
        return settings

    @property
    def command(self) -> list[str]:
        entrypoint = self.settings.get("Entrypoint") or [] if self.entrypoint is None else self.entrypoint
        default = self.settings.get("Cmd") or [] if self.entrypoint is None else []
        command = [*entrypoint, *(default if self.args is None else self.args)]
        assert command, "the image says nothing to run"
        return command

    @property
    def variables(self) -> dict[str, str]:
        return {**dict(pair.split("=", 1) for pair in self.settings.get("Env") or []), **self.env}

    @property
    def whose(self) -> str:
        return str(self.settings.get("User", "") if self.user is None else self.user)

    @property
    def directory(self) -> str:
        return self.workdir or self.settings.get("WorkingDir") or "/"


@dataclass
class Running:
    """A started container."""

    process: subprocess.Popen[bytes]
    log: Path
    pid_file: Path
    """Where runc writes the pid of the container's first process."""

    def wait_for_port(self, port: int, patience: float = PATIENCE) -> None:
        wait_for_port(port, self.process, self.log, patience)

    @property
    def output(self) -> str:
        return _text(self.log)

    def ask(self, port: int, request: bytes) -> bytes:
        """What a server answers to `request` on the container's own loopback, once it listens."""
        deadline, reason = time.monotonic() + PATIENCE, "it has not started"
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.pid_file.exists() and (pid := self.pid_file.read_text()):
                asked = subprocess.run(
                    ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", _ASK, str(port)],
                    input=request,
                    capture_output=True,
                    timeout=30,
                )
                if asked.returncode == 0:
                    return asked.stdout
                reason = asked.stderr.decode(errors="replace")
            time.sleep(0.1)
        raise AssertionError(f"no answer on port {port}: {reason}\n{self.output}")


_ASK = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
connection.sendall(sys.stdin.buffer.read())
sys.stdout.buffer.write(connection.recv(65536))
"""


@dataclass(frozen=True)
class Finished:
    """A container that ran to its end; `output` is stdout, `errors` stderr."""

    status: int
    output: str
    errors: str


@contextmanager
def unpacked(image: Layout) -> Iterator[Path]:
    """The image's files, laid out by ramekin's own `rootfs:` transport and removed at the end.

    They lie outside pytest's folders, which are closed to the users that containers run as.
    """
    with tempfile.TemporaryDirectory(prefix="ramekin-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        root = Path(folder) / "rootfs"
        ramekin("copy", image.reference, f"rootfs:{root}")
        yield root


def _hosts(root: Path) -> str:
    """The names of hosts that a container gets: the test's own, else the machine's as engines do it."""
    own = root / "etc/hosts"
    own.touch()
    return str(own) if own.stat().st_size else "/etc/hosts"


def _bwrap(run: Invocation, root: Path) -> list[str]:
    who = Identity.of(root, run.whose)
    command = ["bwrap", "--die-with-parent", "--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    command += ["--perms", "1777", "--tmpfs", "/dev/shm"]  # as engines mount it
    command += ["--ro-bind", _hosts(root), "/etc/hosts", "--clearenv", "--chdir", run.directory]
    for name, value in {"HOME": who.home, **run.variables}.items():
        command += ["--setenv", name, value]
    if os.getuid() == 0 and who.uid == 0:
        # a server that starts as root and gives that up needs all identities, so no user namespace
        command += ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--cap-add", "ALL"]
    else:
        command += ["--unshare-all", "--share-net", "--uid", str(who.uid), "--gid", str(who.gid)]
    if os.getuid() == 0 and who.uid != 0:
        groups = f"--groups={','.join(map(str, who.groups))}" if who.groups else "--clear-groups"
        command = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", groups, *command]
    return [*command, "--", *run.command]


_CAPABILITIES = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"),
    *("CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_SETFCAP"),
]
"""What containers have by default under Docker and podman."""


def bundle(run: Invocation, root: Path, folder: Path, *, own_network: bool = False) -> None:
    """Write the config.json of a runtime bundle (OCI runtime-spec) for a container that runs in `root`."""
    who = Identity.of(root, run.whose)
    variables = {"HOME": who.home, **run.variables}
    private = ["nosuid", "noexec", "nodev"]
    document = {
        "ociVersion": "1.0.2",
        "root": {"path": str(root)},
        "process": {
            "user": {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups)},
            "args": run.command,
            "env": [f"{name}={value}" for name, value in variables.items()],
            "cwd": run.directory,
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES)
            if who.uid == 0
            else {"bounding": _CAPABILITIES},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/etc/hosts",
                "type": "bind",
                "source": _hosts(root),
                "options": ["bind", "ro"],
            },
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666"],
            },
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": [*private, "mode=1777"],
            },
        ],
        "linux": {
            "namespaces": [
                {"type": kind} for kind in ("pid", "ipc", "uts", "mount", *(["network"] * own_network))
            ]
        },
    }
    (folder / "config.json").write_text(json.dumps(document))


_PODMAN_RUN = [
    *("--network=host", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"),
    *("--log-driver=none", "--rm"),
]


def _runroot(folder: Path) -> Path:
    """A place for podman's sockets that belongs to `folder`; podman takes no more than 50 characters."""
    name = hashlib.sha256(bytes(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"ramekin-{name}"


def podman(folder: Path) -> list[str]:
    """The start of a podman command whose images and containers live in `folder` alone."""
    run = _runroot(folder)
    return [
        *("podman", "--root", str(folder / "storage"), "--runroot", str(run / "run")),
        *("--tmpdir", str(run / "tmp"), "--runtime", "runc", "--cgroup-manager=cgroupfs"),
        *("--events-backend=none",),
    ]


def podman_image(folder: Path, *pull: str) -> str:
    """The id of the image that `podman pull …` or `podman load …` put into the folder's storage."""
    result = subprocess.run([*podman(folder), *pull], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1].removeprefix("Loaded image: ")


def podman_command(run: Invocation, folder: Path, image: str) -> list[str]:
    command = [*podman(folder), "run", *_PODMAN_RUN]
    for name, value in run.env.items():
        command += ["--env", f"{name}={value}"]
    if run.user is not None:
        command += ["--user", run.user]
    if run.entrypoint is not None:
        command += ["--entrypoint", json.dumps(list(run.entrypoint))]
    return [*command, image, *(run.args or ())]


@contextmanager
def _start_line(
    run: Invocation, folder: Path, runtime: str, root: Path | None, own_network: bool = False
) -> Iterator[list[str]]:
    """The command that starts the container; at the end the container and what it needed are removed."""
    need("podman" if runtime == "podman" else "setpriv", runtime)
    if runtime != "bwrap" and os.getuid() != 0:
        pytest.skip(f"{runtime} is tried as root only")
    if runtime == "podman":
        image = podman_image(folder, "pull", "--quiet", run.image.reference)
        try:
            yield podman_command(run, folder, image)
        finally:
            forget(folder)
        return
    with ExitStack() as stack:
        root = root or stack.enter_context(unpacked(run.image))
        if runtime == "bwrap":
            yield _bwrap(run, root)
        else:
            bundle(run, root, root.parent, own_network=own_network)
            name = f"{root.parent.name}-{time.monotonic_ns()}"
            runc = ["runc", "--root", str(folder / "runc")]
            try:
                yield [*runc, "run", "--pid-file", str(folder / "pid"), "--bundle", str(root.parent), name]
            finally:
                subprocess.run([*runc, "delete", "--force", name], capture_output=True, timeout=60)


@contextmanager
def container(
    image: Layout,
    folder: Path,
    args: Sequence[str] | None = None,
    *,
    runtime: str = "bwrap",
    root: Path | None = None,
    entrypoint: Sequence[str] | None = None,
    env: Mapping[str, str] = {},
    user: str | None = None,
    own_network: bool = False,
) -> Iterator[Running]:
    """A container of the image that is running; it is stopped at the end.

    `root` are the image's files when the test has laid them out already. With `own_network` (under runc
    alone) it has a loopback to itself, which `Running.ask` talks through.
    """
    invocation = Invocation(image, args, entrypoint, env, user)
    log = folder / f"log-{time.monotonic_ns()}"
    with _start_line(invocation, folder, runtime, root, own_network) as command, log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield Running(process, log, folder / "pid")
        except AssertionError as error:
            error.add_note(f"the container said:\n{_text(log)}")
            raise
        finally:
            stop(process)


def run(
    image: Layout,
    folder: Path,
    args: Sequence[str] | None = None,
    *,
    runtime: str = "bwrap",
    root: Path | None = None,
    entrypoint: Sequence[str] | None = None,
    env: Mapping[str, str] = {},
    user: str | None = None,
    stdin: bytes = b"",
    status: int | None = 0,
    timeout: float = 120,
) -> Finished:
    """Run a container of the image to its end; `status` is what it must end with, None for any."""
    invocation = Invocation(image, args, entrypoint, env, user)
    with _start_line(invocation, folder, runtime, root) as command:
        result = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout)
    output, errors = result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace")
    assert status is None or result.returncode == status, (
        f"{invocation.command} ended with {result.returncode}:\n{output}\n{errors}"
    )
    return Finished(result.returncode, output, errors)


def forget(folder: Path) -> None:
    """Undo podman's mounts below `folder`, so that the folder can be removed."""
    subprocess.run([*podman(folder), "rm", "--all", "--force", "--time=0"], capture_output=True, timeout=60)
    subprocess.run([*podman(folder), "umount", "--all"], capture_output=True, timeout=60)
    shutil.rmtree(_runroot(folder), ignore_errors=True)
