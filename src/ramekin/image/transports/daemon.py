"""`docker-daemon:NAME[:TAG]` and `docker-daemon:ID`: an image of a container engine on this machine.

The engine is asked over its socket for what `docker save` writes (Docker Engine API, ImageGet), which is then
read as a docker-archive. DOCKER_HOST says where the socket is, as for Docker's own programs; podman's
service answers as well.
"""

from __future__ import annotations

import http.client
import os
import socket
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ramekin.errors import FormatError, NetworkError, NotFoundError, RamekinError, UsageError
from ramekin.image.image import Image
from ramekin.image.reference import Reference
from ramekin.image.transports import docker_archive
from ramekin.progress import SILENT, Progress

_USUAL = "unix:///var/run/docker.sock"
_TIMEOUT = 300.0
"""Seconds of silence after which an engine is given up: it gathers a large image before it answers."""
_PIECE = 1 << 20


def read(reference: Reference, *, spool: Path, progress: Progress = SILENT) -> Image:
    """The image that the engine has, brought into a temporary file in `spool`.

    `NotFoundError` when it has none of that name, `NetworkError` when there is no engine.
    """
    path = spool / f"daemon-{os.urandom(8).hex()}.tar"
    try:
        with (
            progress.task(f"asking the engine for {reference}") as task,
            _save(reference) as stream,
            path.open("xb") as file,
        ):
            while piece := stream.read(_PIECE):
                file.write(piece)
                task.advance(len(piece))
        # the archive is of this image alone, under whatever names it has
        return docker_archive.read(Reference("docker-archive", str(path)), spool=spool)
    except http.client.HTTPException as error:
        raise NetworkError(f"{reference}: the engine broke off: {error!r}") from None
    except FormatError as error:
        raise FormatError(error.message.replace(str(path), str(reference)), hint=error.hint) from None
    except OSError as error:
        raise RamekinError(f"{reference}: {error.strerror or error}") from None
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _save(reference: Reference) -> Iterator[BinaryIO]:
    """What the engine sends for an image."""
    connection = _connect(reference)
    try:
        name = urllib.parse.quote(_name(reference), safe="/:@")
        connection.request("GET", f"/images/{name}/get", headers={"Host": "localhost"})
        response = connection.getresponse()
        if response.status == 404:
            raise NotFoundError(
                f"{reference}: the engine has no such image", hint="`docker images` lists them"
            )
        if response.status != 200:
            said = response.read(500).decode("utf-8", "replace").strip()
            raise NetworkError(f"{reference}: the engine answered {response.status}: {said}")
        yield response
    finally:
        connection.close()


def _name(reference: Reference) -> str:
    if reference.digest and not reference.location:
        return reference.digest
    return f"{reference.location}:{reference.tag or 'latest'}"


def _connect(reference: Reference) -> http.client.HTTPConnection:
    place = os.environ.get("DOCKER_HOST") or _USUAL
    scheme, _, rest = place.partition("://")
    if scheme != "unix":
        raise UsageError(
            f"DOCKER_HOST is {place}: images are read from an engine's socket on this machine only",
            hint="unset it, or save the image there and read docker-archive:FILE",
        )
    connection = _Local(rest)
    try:
        connection.connect()
    except OSError as error:
        hint = "start the engine, or name its socket in DOCKER_HOST as unix:///PATH"
        if isinstance(error, PermissionError):
            hint = "ask to become a member of the group that owns the socket"
        raise NetworkError(f"{reference}: no engine at {rest}: {error.strerror}", hint=hint) from None
    return connection


class _Local(http.client.HTTPConnection):
    """HTTP over a local socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)
