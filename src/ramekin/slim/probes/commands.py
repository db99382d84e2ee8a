"""Commands as probes: inside the container, and on this machine with the container's address given.

A command of this machine finds in its environment

    RAMEKIN_URL        http://127.0.0.1:PORT of the port that requests go to
    RAMEKIN_ADDRESS    127.0.0.1:PORT, RAMEKIN_HOST and RAMEKIN_PORT its parts
    RAMEKIN_PORT_8080  the port on RAMEKIN_HOST by which the container's port 8080 is reached, for each that
                       the image exposes

beside everything that Ramekin itself was started with.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ramekin.errors import RamekinError
from ramekin.slim.probes.answer import Answer
from ramekin.slim.probes.container import Container
from ramekin.slim.probes.model import Host, Run

ENDED = "the image's program has ended"
"""What is said of a probe that finds no container any more."""
_GUARDED = 'exec 3<&0; (read _ <&3; kill -KILL 0) >/dev/null 2>&1 & exec /bin/sh -c "$1" 3<&- </dev/null'
"""Runs a command, and ends it with all that it started when this process ends, which closes a pipe."""
OUTPUT_LIMIT = 4 << 20
"""Bytes of an output that are compared; what is longer is compared by its beginning."""


def run(probe: Run, container: Container) -> Answer:
    """Run a command inside a container that is up."""
    try:
        done = container.exec(
            probe.command, env=dict(probe.env), stdin=probe.stdin.encode(), timeout=probe.seconds
        )
    except RamekinError:
        return failed(probe.name, "run", ENDED)
    if done.timed_out:
        return failed(probe.name, "run", f"the command did not end in {probe.seconds:g} s")
    return ended(probe, "run", done.code, done.stdout, done.stderr)


def host(probe: Host, environment: Mapping[str, str]) -> Answer:
    """Run a command of this machine's shell; on time-out all that it started is killed."""
    whole = {**os.environ, **environment, **dict(probe.env)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        lives, closes = os.pipe()
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, "sh", probe.command],
                stdin=lives,
                stdout=out,
                stderr=error,
                env=whole,
                cwd=probe.folder or None,
                start_new_session=True,
            )
        except OSError as problem:
            os.close(closes)
            return failed(probe.name, "host", f"the command cannot be started: {problem.strerror}")
        finally:
            os.close(lives)
        try:
            code = process.wait(probe.seconds)
        except subprocess.TimeoutExpired:
            return failed(probe.name, "host", f"the command did not end in {probe.seconds:g} s")
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(closes)
        texts = []
        for stream in (out, error):
            stream.seek(0)
            texts.append(stream.read(OUTPUT_LIMIT))
    return ended(probe, "host", code, *texts)


def environment(addresses: Mapping[int, str], port: int | str | None) -> dict[str, str]:
    """The variables that tell a command of this machine where the container is.

    `addresses` has HOST:PORT by the container's port, `port` is the one that requests go to.
    """
    told = {f"RAMEKIN_PORT_{inside}": address.rpartition(":")[2] for inside, address in addresses.items()}
    if isinstance(port, int) and port in addresses:
        name, _, number = addresses[port].rpartition(":")
        told |= {
            "RAMEKIN_URL": f"http://{addresses[port]}",
            "RAMEKIN_ADDRESS": addresses[port],
            "RAMEKIN_HOST": name,
            "RAMEKIN_PORT": number,
        }
    return told


def ended(probe: Run | Host, kind: str, code: int, stdout: bytes, stderr: bytes) -> Answer:
    """The answer of a command that came to its end."""
    fields = {"exit": str(code)}
    output, errors = printed(stdout), printed(stderr)
    if probe.compare == "all":
        fields |= {"output": output, "errors": errors}
    complaints = []
    if probe.exit is not None and code != probe.exit:
        said = (errors or output).strip().splitlines()
        last = f": {said[-1].strip()[:200]}" if said else ""
        complaints.append(f"the exit code is {code}, not {probe.exit}{last}")
    both = f"{output}\n{errors}"
    complaints += [f"the output has no {one!r}" for one in probe.text if one not in both]
    complaints += [f"the output has {one!r}" for one in probe.without if one in both]
    return Answer(probe.name, kind, fields, tuple(complaints))


def failed(name: str, kind: str, text: str) -> Answer:
    """The answer where there was none."""
    return Answer(name, kind, {"error": text}, (text,))


def printed(data: bytes) -> str:
    """An output as text."""
    return data[:OUTPUT_LIMIT].decode("utf-8", "backslashreplace").replace("\r\n", "\n")


def spelled(command: Sequence[str]) -> str:
    """A command as one would type it."""
    import shlex

    return shlex.join(command)
