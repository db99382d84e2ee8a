"""The registry as processes: granian with the application in each worker.

Workers are forked, and open the store on their own: nothing of it is shared but what is on disk. A worker
that dies is started again; all end with their parent.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramekin.errors import RamekinError, UsageError

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from ramekin.registry.app import Application
    from ramekin.registry.config import Config
    from ramekin.registry.provider import Provider
    from ramekin.store.store import Store

MakeProvider = Callable[["Config", "Store"], "Provider | None"]
MakeRoutes = Callable[["Config", "Store", "Provider | None"], "Sequence[BaseRoute]"]

_PR_SET_PDEATHSIG = 1
BODY_BUFFER = 128 << 10
"""Bytes that a connection holds on their way in or out: what a client that does not read costs."""

SWITCH = 0.001
"""Seconds after which a thread lets another have a go."""


def check(config: Config) -> None:
    """Refuse what could not work, before anything listens."""
    from ramekin.registry.passwords import read

    if config.users:
        try:
            read(Path(config.users))
        except OSError as error:
            raise RamekinError(f"{config.users} cannot be read: {error.strerror}") from None
    for path in (config.tls.certificate, config.tls.key) if config.tls else ():
        if not os.access(path, os.R_OK):
            raise RamekinError(
                f"{path} cannot be read", hint="`tls` names a certificate and a key, both in PEM"
            )
    if not config.loopback and not config.users and not config.anonymous and not config.rules:
        raise UsageError(
            f"on {config.host} the registry would serve nobody: it has no users",
            hint="set `users: FILE`, or `anonymous: pull` for everybody to pull, in a file for --config",
        )
    if config.replica and not (config.store and "://" in config.store):
        raise UsageError(
            "replicas share a store that all can reach", hint="give its URL, as in --store s3://BUCKET/PREFIX"
        )


def allow_files(connections: int) -> None:
    """Let this process have as many open files as so many connections may need, if it may."""
    import resource

    # each may read a blob, and the store, the log and workers have some
    wanted = 2 * connections + 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def serve(config: Config, make_provider: MakeProvider, make_routes: MakeRoutes) -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs. `RamekinError` when it cannot even begin."""
    check(config)
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.server import Server

    if config.workers > 1:
        import tempfile

        # read by prometheus_client when a worker imports it
        folder = tempfile.TemporaryDirectory(prefix="ramekin-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name
    limits = config.limits
    allow_files(limits.connections)
    server = Server(
        "ramekin.registry",
        address=config.host.strip("[]"),
        port=config.port,
        interface=Interfaces.ASGI,
        workers=config.workers,
        http=HTTPModes.http1 if not config.tls else HTTPModes.auto,
        websockets=False,
        backlog=max(1024, limits.connections),
        backpressure=limits.connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=max(1, int(limits.head_seconds * 1000)),
            max_buffer_size=max(BODY_BUFFER, limits.headers),
        ),
        log_enabled=False,
        ssl_cert=Path(config.tls.certificate) if config.tls else None,
        ssl_key=Path(config.tls.key) if config.tls else None,
        ssl_protocol_min=SSLProtocols.tls12,
        respawn_failed_workers=True,
        workers_kill_timeout=max(1, int(limits.stop_seconds)),
    )
    # a worker that is told to end before it listens to signals would never hear of it
    os.register_at_fork(after_in_child=partial(signal.signal, signal.SIGTERM, signal.SIG_DFL))
    try:
        server.serve(
            target_loader=partial(_load, config, make_provider, make_routes, os.getpid()), wrap_loader=False
        )
    except OSError as error:
        raise RamekinError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}",
            hint="choose another with --port",
        ) from None


def _load(config: Config, make_provider: MakeProvider, make_routes: MakeRoutes, parent: int) -> Application:
    """The application, in a worker."""
    from ramekin.registry import readers
    from ramekin.registry.app import create
    from ramekin.registry.operations import Log
    from ramekin.store.store import Store

    _end_with(parent)
    log = Log(config)
    try:
        store = Store.at(config.store)
        provider = make_provider(config, store)
        app = create(config, store, provider, make_routes(config, store, provider), log=log)
    except RamekinError as error:
        log.line("error", "failure", error=error.message, hint=error.hint)
        sys.exit(1)
    readers.watch(
        config.port,
        config.limits.answer_seconds,
        lambda client, size: log.line("info", "stalled", address=client, waiting=size),
    )
    # no request waits for a look through what stays for good
    gc.collect()
    gc.freeze()
    # nor long for a thread that works
    sys.setswitchinterval(SWITCH)
    log.line("info", "serving", address=f"{config.host}:{config.port}", store=store.location, pid=os.getpid())
    return app


def _end_with(parent: int) -> None:
    """Have this process end when its parent does, however that ends."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
