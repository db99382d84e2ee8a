"""How fast the registry is, beside Debian's docker-registry and nginx on the same blobs.

    python bench/registry.py                  all measurements, as a Markdown table on standard output
    python bench/registry.py --check          the exit code is 1 when a limit is not kept
    python bench/registry.py --only manifest  one of manifest, blob, push, clients, demand, cold

All three run on loopback, one at a time under load, with one worker process each (docker-registry is one
process of as many threads as it likes), without access logs. Rounds alternate between them and figures
are medians, so that what else the machine does meets all alike; the ratios are what counts. `demand` has an
image made on demand from the machine's Debian archive, and then asks for it 1,000 times a second, in turn
with a manifest that was pushed. `cold` has redis-server made on demand and by `ramekin build` in turn, both
with empty stores and the same packages in the same local archive (bench/build.py makes it); what a process
takes to start is part of the build's time, not of the server's.

On a machine that is busy with other things, `demand` measures how long those keep a processor from it: then
`chrt --rr 1 python bench/registry.py --only demand` says what the server takes.

Needs docker-registry, nginx and wrk; for `cold` apt-utils and gnupg.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BLOB = 200_000_000
PUSH = 64 << 20
CLIENTS = 500
PACKAGES = Path(__file__).resolve().parents[1] / ".cache" / "store"
"""The store in which packages stay between benchmarks."""
PARTS = ["manifest", "blob", "push", "clients", "demand", "cold"]


@dataclass(frozen=True)
class Row:
    """A figure, and the limit that it has to keep; a limit of '>= 2' or '<= 2', or none."""

    what: str
    figure: float
    text: str
    limit: str = ""

    @property
    def kept(self) -> bool:
        if not self.limit:
            return True
        sign, _, number = self.limit.partition(" ")
        return self.figure >= float(number) if sign == ">=" else self.figure <= float(number)

    def __str__(self) -> str:
        mark = "" if self.kept else " **not kept**"
        return f"| {self.what} | {self.text} | {self.limit}{mark} |"


@dataclass(frozen=True)
class Peer:
    """A server under test."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    repository: str = "bench"

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    def location(self, response: http.client.HTTPResponse) -> str:
        place = response.headers["location"]
        return re.sub(r"^https?://[^/]*", "", place)

    def push(self, data: bytes) -> float:
        """Push a blob as docker does, POST, PATCH and PUT; the seconds it took."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        began = time.perf_counter()
        place = self.location(self.request("POST", f"/v2/{self.repository}/blobs/uploads/"))
        reply = self.request("PATCH", place, data, content_type="application/octet-stream")
        place = self.location(reply)
        mark = "&" if "?" in place else "?"
        reply = self.request("PUT", f"{place}{mark}digest={digest}")
        took = time.perf_counter() - began
        if reply.status != 201:
            sys.exit(f"{self.name} answered a push with {reply.status}")
        return took

    def peak(self) -> int:
        """The most bytes that any of the server's processes has held."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        most = 0
        for pid in (str(self.process.pid), *children):
            status = Path(f"/proc/{pid}/status").read_text()
            most = max(most, int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10)  # type: ignore[index]
        return most


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(
    name: str, port: int, log: Path, *command: str | Path, environment: Mapping[str, str] | None = None
) -> Iterator[Peer]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{name} does not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.05)
        yield Peer(name, port, process)
    finally:
        process.terminate()
        process.wait(30)


def ours(folder: Path) -> Any:
    port = free_port()
    settings = folder / "registry.yaml"
    settings.write_text(
        "on-demand: {enabled: false}\nlog: {requests: false}\nlimits: {stop-seconds: 5}\nworkers: 1\n"
    )
    command = [sys.executable, "-m", "ramekin", "serve", "--config", settings, "--port", str(port)]
    return running("ramekin", port, folder / "ramekin.log", *command, "--store", folder / "store")


def theirs(folder: Path) -> Any:
    port = free_port()
    settings = folder / "docker-registry.yml"
    settings.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'docker-registry'}}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}"}}\n'
    )
    return running(
        "docker-registry", port, folder / "docker-registry.log", "docker-registry", "serve", settings
    )


def nginx(folder: Path) -> Any:
    port = free_port()
    settings = folder / "nginx.conf"
    settings.write_text(
        f"worker_processes 1; daemon off; user root; pid {folder}/nginx.pid; error_log {folder}/nginx.err;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; "
        f"server {{ listen 127.0.0.1:{port}; root {folder}/www; }} }}\n"
    )
    (folder / "www").mkdir()
    return running("nginx", port, folder / "nginx.log", "nginx", "-c", settings)


@dataclass(frozen=True)
class Load:
    """What wrk measured: requests and bytes a second, and the 99th percentile of latencies in seconds."""

    rate: float
    throughput: float
    p99: float


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_SIZES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def wrk(port: int, path: str, *, connections: int, seconds: int) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "--timeout", "30"]
    # docker-registry gives OCI manifests only to who asks for them
    command += ["-H", f"Accept: {MANIFEST}"]
    text = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in text:
        print(f"not all answers were good:\n{text}", file=sys.stderr)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    size = re.search(r"Transfer/sec:\s+([\d.]+)(\w+)", text)
    assert p99 and rate and size, text
    return Load(float(rate[1]), float(size[1]) * _SIZES[size[2]], float(p99[1]) * _UNITS[p99[2]])


@dataclass
class Bench:
    """The measurements, and what they gave."""

    rounds: int
    seconds: int
    ramekin: Peer
    docker: Peer
    nginx: Peer
    digest: str
    rows: list[Row] = field(default_factory=list)

    def alternate(self, measures: dict[str, Callable[[], Load]]) -> dict[str, Load]:
        """Medians of rounds that take turns."""
        found: dict[str, list[Load]] = {name: [] for name in measures}
        for _ in range(self.rounds):
            for name, measure in measures.items():
                found[name].append(measure())
        return {
            name: Load(
                statistics.median(load.rate for load in loads),
                statistics.median(load.throughput for load in loads),
                statistics.median(load.p99 for load in loads),
            )
            for name, loads in found.items()
        }

    def manifest(self) -> None:
        path = "/v2/bench/manifests/latest"

        def load(peer: Peer) -> Callable[[], Load]:
            return lambda: wrk(peer.port, path, connections=16, seconds=self.seconds)

        found = self.alternate({"ramekin": load(self.ramekin), "docker": load(self.docker)})
        one, other = found["ramekin"], found["docker"]
        ratio = one.rate / other.rate
        text = f"{one.rate:,.0f} / {other.rate:,.0f} a second = {ratio:.1f}"
        self.rows.append(Row("manifest by tag, of docker-registry's", ratio, text, ">= 8"))
        ratio = one.p99 / other.p99
        text = f"{one.p99 * 1000:.2f} / {other.p99 * 1000:.2f} ms = {ratio:.2f}"
        self.rows.append(Row("its 99th percentile, of docker-registry's", ratio, text, "<= 0.333"))

    def blob(self) -> None:
        for clients in (1, 8):
            path = f"/v2/bench/blobs/{self.digest}"

            def load(peer: Peer, path: str, clients: int = clients) -> Callable[[], Load]:
                return lambda: wrk(peer.port, path, connections=clients, seconds=self.seconds)

            found = self.alternate(
                {
                    "ramekin": load(self.ramekin, path),
                    "nginx": load(self.nginx, "/blob"),
                    "docker": load(self.docker, path),
                }
            )
            base = found["nginx"].throughput
            for name, limit in (("ramekin", ">= 0.75"), ("docker", "")):
                ratio = found[name].throughput / base
                text = f"{found[name].throughput / 1e6:,.0f} / {base / 1e6:,.0f} MB/s = {ratio:.2f}"
                who = "docker-registry: " if name == "docker" else ""
                many = "one client" if clients == 1 else f"{clients} clients"
                self.rows.append(Row(f"{who}200 MB blob, {many}, of nginx's", ratio, text, limit))

    def push(self) -> None:
        times: dict[str, list[float]] = {"ramekin": [], "docker-registry": []}
        for _ in range(max(self.rounds * 2, 5)):
            for peer in (self.ramekin, self.docker):
                times[peer.name].append(peer.push(os.urandom(PUSH)))
        one, other = (statistics.median(times[name]) for name in ("ramekin", "docker-registry"))
        text = f"{PUSH / one / 1e6:,.0f} / {PUSH / other / 1e6:,.0f} MB/s = {other / one:.2f}"
        self.rows.append(Row("push of 64 MB, of docker-registry's", other / one, text, ">= 1.2"))

    def demand(self) -> None:
        path = "/v2/shell/redis-server/manifests/latest"
        made: list[float] = []
        pushed: list[float] = []
        with tempfile.TemporaryDirectory() as folder, demanding(Path(folder)) as peer:
            reply = peer.request("GET", path)
            if reply.status != 200:
                sys.exit(f"no image was made: {reply.status}")
            # indexes are read ahead in another process; that is part of a start, not of what is measured
            peer.request("GET", "/api/search?q=redis")
            for _ in range(self.rounds):
                made.append(paced(peer.port, path, rate=1000, seconds=self.seconds))
                other = "/v2/bench/manifests/latest"
                pushed.append(paced(self.ramekin.port, other, rate=1000, seconds=self.seconds))
        p99 = statistics.median(made) * 1000
        what = "warm image on demand at 1,000 a second, 99th percentile, ms"
        text = f"{p99:.1f} ms ({min(made) * 1000:.1f} to {max(made) * 1000:.1f})"
        self.rows.append(Row(what, p99, text, "<= 10"))
        p99 = statistics.median(pushed) * 1000
        self.rows.append(Row("the same of a manifest that was pushed, ms", p99, f"{p99:.1f} ms"))

    def cold(self) -> None:
        import build as builds

        built: list[float] = []
        served: list[float] = []
        with tempfile.TemporaryDirectory(dir=builds.ROOT / ".cache" / "bench") as name:
            folder = Path(name)
            archive = builds.LocalArchive.publish(folder / "archive", builds.REDIS)
            for number in range(self.rounds + 1):
                store, target = folder / f"built-{number}", folder / f"image-{number}"
                one = archive.build(builds.REDIS, store, target).wall
                other = self._served_cold(folder / f"served-{number}", archive.folder / "apt.conf")
                if number:  # the first round warms the page cache
                    built.append(one)
                    served.append(other)
                builds.remove(store, target, folder / f"served-{number}")
        ratio = statistics.median(served) / statistics.median(built)
        text = f"{statistics.median(served):.2f} / {statistics.median(built):.2f} s = {ratio:.2f}"
        self.rows.append(Row("cold redis-server on demand, of `ramekin build`", ratio, text, "<= 1.3"))

    def _served_cold(self, folder: Path, apt: Path) -> float:
        """Seconds until a server with an empty store has given the image to the first who asks."""
        import build as builds

        folder.mkdir()
        settings = "log: {requests: false}\nlimits: {stop-seconds: 5}\non-demand: {source: debian:bookworm}\n"
        with demanding(
            folder,
            store=folder / "store",
            settings=settings,
            environment={**builds._ENVIRONMENT, "APT_CONFIG": str(apt)},
        ) as peer:
            began = time.perf_counter()
            reply = peer.request("GET", f"/v2/{_architecture()}/redis-server/manifests/latest")
            took = time.perf_counter() - began
            if reply.status != 200:
                sys.exit(f"no image was made: {reply.status}")
        return took

    def clients(self) -> None:
        """Every client has a 200 MB blob and a manifest going at once; most read slowly."""
        sockets = [socket.create_connection(("127.0.0.1", self.ramekin.port), 60) for _ in range(CLIENTS)]
        failed: list[int] = []

        def work(number: int, one: socket.socket) -> None:
            path = "manifests/latest" if number % 5 == 0 else f"blobs/{self.digest}"
            try:
                one.sendall(f"GET /v2/bench/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                got = 0
                while got < 300_000 and (data := one.recv(65536)):
                    got += len(data)
                    if path.startswith("manifests"):
                        break
                    time.sleep(0.05)
            except OSError:
                failed.append(number)

        threads = [threading.Thread(target=work, args=pair) for pair in enumerate(sockets)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        peak = self.ramekin.peak()
        for one in sockets:
            one.close()
        text = f"{peak / 1e6:,.0f} MB" + (f", {len(failed)} failed" if failed else "")
        self.rows.append(Row(f"memory of a worker at {CLIENTS} clients, MB", peak / 1e6, text, "<= 250"))


def paced(port: int, path: str, *, rate: int, seconds: float, connections: int = 16) -> float:
    """The 99th percentile, in seconds, of answers to requests that begin at a fixed rate, come what may."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    taken: list[float] = []

    async def client(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(first, int(rate * seconds), connections):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert head.startswith(b"HTTP/1.1 200") and length, head
            await reader.readexactly(int(length[1]))
            taken.append(time.perf_counter() - due)
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(client(number) for number in range(connections)))

    ask_for_short_slices()
    began = time.perf_counter() + 0.2
    asyncio.run(run())
    return statistics.quantiles(taken, n=100)[98]


def ask_for_short_slices() -> None:
    """Have the kernel (6.12 and newer) run this process soon after it wakes, for no larger share of the time.

    The client of `paced` measures; what it is late itself on a busy machine is not the server's doing.
    """
    number = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
    if number is not None:
        # sched_setattr(2): size, SCHED_OTHER, flags, nice, priority, slice in ns, and what counts for others
        attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, os.nice(0), 0, 100_000, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, ctypes.c_char_p(attributes), 0)


def _architecture() -> str:
    return subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def demanding(
    folder: Path,
    *,
    store: Path = PACKAGES,
    settings: str = "log: {requests: false}\nlimits: {stop-seconds: 5}\n",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Peer]:
    """Ours with images on demand; without `store`, over the one in which packages stay between benchmarks."""
    port = free_port()
    path = folder / "demand.yaml"
    path.write_text(settings)
    command = [sys.executable, "-m", "ramekin", "serve", "--config", path, "--port", str(port)]
    with running(
        "ramekin", port, folder / "demand.log", *command, "--store", store, environment=environment
    ) as peer:
        yield peer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default: 3)")
    parser.add_argument("--seconds", type=int, default=4, help="seconds of a round (default: 4)")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--check", action="store_true", help="end with 1 when a limit is not kept")
    options = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in ("docker-registry", "nginx", "wrk"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is needed: apt-get install docker-registry nginx wrk")
    place = Path(__file__).resolve().parents[1] / ".cache" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        peers = [stack.enter_context(start(folder)) for start in (ours, theirs, nginx)]
        data = os.urandom(BLOB)
        (folder / "www/blob").write_bytes(data)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        described = {"mediaType": "application/octet-stream", "digest": digest, "size": len(data)}
        empty = "sha256:" + hashlib.sha256(b"{}").hexdigest()
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": empty, "size": 2}
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [described]}
        for peer in peers[:2]:
            peer.push(data)
            peer.push(b"{}")
            body = json.dumps(document).encode()
            reply = peer.request("PUT", "/v2/bench/manifests/latest", body, content_type=MANIFEST)
            if reply.status != 201:
                sys.exit(f"{peer.name} answered a manifest with {reply.status}")
        bench = Bench(options.rounds, options.seconds, *peers, digest)
        for part in options.only or PARTS:
            getattr(bench, part)()
    machine = f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    load = os.getloadavg()[1]
    print(f"Medians of {options.rounds} alternating rounds on {machine}.")
    print(f"The load of the last 5 minutes was {load:.1f}.\n")
    print("| measured | figure | limit |\n|---|---:|---:|")
    print("\n".join(map(str, bench.rows)))
    if options.check and not all(row.kept for row in bench.rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
