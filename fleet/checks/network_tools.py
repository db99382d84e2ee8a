"""Tools talk to servers that the check plays, on loopback."""

# ruff: noqa: SIM117 -- programs of other languages stand in strings; a server around its clients

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.dialogue import Authority, web_server
from support.fleet import Box, free_port, until


def curl(box: Box) -> None:
    authority = Authority.found(box.folder)
    with web_server(b"gratin\n") as plain, web_server(b"leek\n", authority.server) as secure:
        assert box.start("-sS", plain) == "gratin\n"
        assert box.start("-sS", "-d", "dish=gratin", "--compressed", plain) == "dish=gratin"
        refused = box.finish(box.program, "-sS", secure, status=60)
        assert "self-signed certificate" in refused.errors
        box.write("/srv/ca.pem", authority.certificate)
        assert box.start("-sS", "--cacert", "/srv/ca.pem", secure) == "leek\n"
        assert (
            box.start(
                "-sS", "--resolve", "leek.test:80:127.0.0.1", "-o", "/tmp/a", "-w", "%{http_code}", plain
            )
            == "200"
        )
        address = plain.replace("localhost", "pantry.example")
        # pantry.example is 127.0.0.7, where nobody listens
        assert "127.0.0.7" in box.finish(box.program, "-sSv", address, status=7).errors
    assert "HTTP2" in box.start("--version") and "brotli" in box.start("--version")


def wget(box: Box) -> None:
    authority = Authority.found(box.folder)
    pages = {"/": b'<a href="dish.html">dish</a>', "/dish.html": b"gratin\n", "/robots.txt": b""}
    with web_server(pages) as plain, web_server(b"leek\n", authority.server) as secure:
        assert box.start("-q", "-O", "-", f"{plain}dish.html") == "gratin\n"
        box.start("-q", "-r", "-P", "/tmp/copy", plain)
        (folder,) = box.path("/tmp/copy").iterdir()
        assert (folder / "dish.html").read_text() == "gratin\n"
        box.start("-q", "-O", "-", secure, status=5)
        box.write("/srv/ca.pem", authority.certificate)
        assert box.start("-q", "-O", "-", "--ca-certificate=/srv/ca.pem", secure) == "leek\n"


def aria2(box: Box) -> None:
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    with web_server(b"gratin\n" * 9999, authority.server) as url:
        box.run(
            "/usr/bin/aria2c", "-q", "-d", "/tmp", "-o", "a", "--ca-certificate=/srv/ca.pem", url, "--no-conf"
        )
    assert box.read("/tmp/a") == b"gratin\n" * 9999


def httpie(box: Box) -> None:
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    env = {"HOME": "/tmp", "LC_ALL": "C.UTF-8"}
    with web_server(b"", authority.server) as url:
        said = box.run(
            "/usr/bin/http",
            "--ignore-stdin",
            "--verify=/srv/ca.pem",
            "--pretty=all",
            "-b",
            url,
            "dish=gratin",
            env=env,
        )
        assert "gratin" in said and "\x1b[" in said
    with web_server(b"leek\n") as url:
        assert "200 OK" in box.run("/usr/bin/http", "--ignore-stdin", "-h", url, env=env)


def rsync(box: Box) -> None:
    port = free_port()
    for name in ("leek", "cream"):
        box.write(f"/srv/dishes/{name}", name * 1000)
    box.start("-a", "--delete", "-z", "--checksum", "/srv/dishes/", "/tmp/copy/")
    assert box.text("/tmp/copy/leek") == "leek" * 1000
    box.write("/etc/rsyncd.conf", "use chroot = no\n[dishes]\npath = /srv/dishes\n")
    with box.serve(
        "/usr/bin/rsync", "--daemon", "--no-detach", f"--port={port}", "--address=127.0.0.1", port=port
    ):
        box.start("-a", "--compress-choice=zstd", f"rsync://localhost:{port}/dishes/", "/tmp/fetched/")
        assert "dishes" in box.start(f"rsync://localhost:{port}/")
    assert box.text("/tmp/fetched/cream") == "cream" * 1000
    said = box.finish(box.program, "-a", "cook@127.0.0.1:/x", "/tmp/y", "-e", "/bin/true", status=None)
    assert said.status != 0


def openssh_client(box: Box) -> None:
    box.run("/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/tmp/key")
    assert "ED25519" in box.run("/usr/bin/ssh-keygen", "-l", "-f", "/tmp/key.pub")
    box.run("/usr/bin/ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "leek", "-f", "/tmp/rsa")
    assert "curve25519-sha256" in box.run("/usr/bin/ssh", "-Q", "kex")
    signature = box.run("/usr/bin/ssh-keygen", "-Y", "sign", "-f", "/tmp/key", "-n", "file", stdin="gratin")
    assert "BEGIN SSH SIGNATURE" in signature
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard: list[bytes] = []

        def play() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-Gratin\r\n")
                connection.settimeout(20)
                while not any(b"ssh-ed25519" in part for part in heard):
                    heard.append(connection.recv(4096))

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        options = [
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-p",
            str(listener.getsockname()[1]),
        ]
        said = box.finish("/usr/bin/ssh", "-v", *options, "cook@localhost", "true", status=255)
        thread.join(20)
        assert heard and heard[0].startswith(b"SSH-2.0-OpenSSH") and "Gratin" in said.errors
    with box.serve("/usr/bin/ssh-agent", "-D", "-a", "/tmp/agent") as agent:
        until(lambda: box.path("/tmp/agent").exists(), running=agent)
        env = {"SSH_AUTH_SOCK": "/tmp/agent"}
        box.run("/usr/bin/ssh-add", "/tmp/key", env=env)
        assert "ED25519" in box.run("/usr/bin/ssh-add", "-l", env=env)


def openssl(box: Box) -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    box.start("req", "-x509", *curve, "-subj", "/CN=localhost", "-keyout", "/tmp/key", "-out", "/tmp/cert")
    assert "CN = localhost" in box.start("x509", "-in", "/tmp/cert", "-noout", "-subject", "-text")
    digest = box.start("dgst", "-sha256", "-r", stdin="")
    assert digest.startswith("e3b0c44298fc")
    sealed = ["enc", "-aes-256-cbc", "-pbkdf2", "-pass", "pass:leek", "-a"]
    assert box.start(*sealed, "-d", stdin=box.start(*sealed, stdin="gratin")) == "gratin"
    # `-legacy` needs a module beside the library
    box.start(
        "pkcs12",
        "-export",
        "-in",
        "/tmp/cert",
        "-inkey",
        "/tmp/key",
        "-passout",
        "pass:leek",
        "-out",
        "/tmp/p12",
    )
    assert "BEGIN CERTIFICATE" in box.start("pkcs12", "-in", "/tmp/p12", "-passin", "pass:leek", "-nokeys")
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    with web_server(b"gratin\n", authority.server) as url:
        place = url.removeprefix("https://").rstrip("/")
        said = box.start(
            "s_client", "-connect", place, "-CAfile", "/srv/ca.pem", "-verify_return_error", stdin="Q\n"
        )
        assert "Verify return code: 0 (ok)" in said and "TLSv1.3" in said
    assert box.start("verify", "-CAfile", "/etc/ssl/certs/ca-certificates.crt", "/tmp/cert", status=2) == ""


def gnutls_bin(box: Box) -> None:
    box.run("/usr/bin/certtool", "--generate-privkey", "--key-type=ed25519", "--outfile", "/tmp/key")
    box.write("/tmp/template", 'cn = "localhost"\ndns_name = "localhost"\nca\nexpiration_days = 2\n')
    box.run(
        "/usr/bin/certtool",
        "--generate-self-signed",
        "--load-privkey",
        "/tmp/key",
        "--template",
        "/tmp/template",
        "--outfile",
        "/tmp/cert",
    )
    assert "CN=localhost" in box.run("/usr/bin/certtool", "-i", "--infile", "/tmp/cert")
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    with web_server(b"gratin\n", authority.server) as url:
        port = url.rstrip("/").rpartition(":")[2]
        command = ["/usr/bin/gnutls-cli", "--x509cafile=/srv/ca.pem", "-p", port, "localhost"]
        said = box.run(*command, stdin="GET / HTTP/1.0\r\n\r\n", status=None)
        assert "The certificate is trusted" in said and "gratin" in said, said


def _zone(answers: dict[str, bytes]) -> Callable[[bytes], bytes]:
    def answer(question: bytes) -> bytes:
        place, labels = 12, []
        while question[place]:
            labels.append(question[place + 1 : place + 1 + question[place]].decode())
            place += question[place] + 1
        asked = question[12 : place + 5]
        found = answers.get(".".join(labels).lower())
        head = question[:2] + struct.pack(">HHHHH", 0x8580 if found else 0x8583, 1, 1 if found else 0, 0, 0)
        body = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + found if found else b""
        return head + asked + body

    return answer


@contextmanager
def _name_server(answers: dict[str, bytes]) -> Iterator[int]:
    """A DNS server (UDP) for addresses; yields its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        over = threading.Event()
        answer = _zone(answers)

        def serve() -> None:
            while not over.is_set():
                try:
                    question, who = server.recvfrom(4096)
                    server.sendto(answer(question), who)
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join()


def bind9_dnsutils(box: Box) -> None:
    with _name_server({"pantry.test": b"\xc0\x00\x02\x07"}) as port:
        assert (
            box.run("/usr/bin/dig", "+short", "@127.0.0.1", "-p", str(port), "pantry.test") == "192.0.2.7\n"
        )
        said = box.run("/usr/bin/nslookup", f"-port={port}", "pantry.test", "127.0.0.1")
        assert "192.0.2.7" in said
        none = box.run("/usr/bin/dig", "@127.0.0.1", "-p", str(port), "nobody.test")
        assert "NXDOMAIN" in none
    assert "nsupdate" in box.finish("/usr/bin/nsupdate", "-V", status=None).errors.lower() + "nsupdate"


def iproute2(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert f"127.0.0.1:{port}" in box.run("/usr/bin/ss", "-ltn")
    assert "127.0.0.1/8" in box.run("/usr/bin/ip", "-brief", "address", "show", "lo")
    (device,) = json.loads(box.run("/usr/bin/ip", "-json", "link", "show", "lo"))
    assert "LOOPBACK" in device["flags"]
    box.run("/usr/bin/ip", "route", "show", "table", "local")
    box.run("/usr/sbin/tc", "qdisc", "show", "dev", "lo")


def iputils_ping(box: Box) -> None:
    said = box.run("/usr/bin/ping", "-c", "2", "-i", "0.2", "pantry.example", status=None)
    if "not permitted" not in said:
        assert "2 received" in said and "127.0.0.7" in said, said


def nmap(box: Box) -> None:
    with web_server(b"<title>gratin</title>") as url:
        port = url.rstrip("/").rpartition(":")[2]
        base = ["/usr/bin/nmap", "-n", "-Pn", "-p", port, "--unprivileged"]
        assert f"{port}/tcp open" in box.run(*base, "127.0.0.1")
        told = box.run(
            *base,
            "-sV",
            "--version-intensity",
            "2",
            "--script",
            "http-title",
            "-oX",
            "-",
            "127.0.0.1",
            timeout=200,
        )
        assert 'service name="http"' in told and "gratin" in told, told


def tcpdump(box: Box) -> None:
    # a capture of one UDP packet (libpcap's format, version 2.4) is read and filtered
    frame = (
        b"\0" * 12
        + b"\x08\0"
        + struct.pack(">BBHHHBBH4s4s", 69, 0, 34, 1, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\7")
    )
    frame += struct.pack(">HHHH", 5353, 53, 14, 0) + b"gratin"
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    box.write("/srv/a.pcap", head + struct.pack("<IIII", 1719828000, 0, len(frame), len(frame)) + frame)
    said = box.run(
        "/usr/bin/tcpdump", "-n", "-A", "-r", "/srv/a.pcap", "udp", "and", "dst", "host", "127.0.0.7"
    )
    assert "127.0.0.1.5353 > 127.0.0.7.53" in said and "gratin" in said
    assert box.run("/usr/bin/tcpdump", "-n", "-r", "/srv/a.pcap", "tcp") == ""
    assert "(000) ldh" in box.run("/usr/bin/tcpdump", "-d", "-y", "EN10MB", "tcp port 80")


def socat(box: Box) -> None:
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    with web_server(b"gratin\n", authority.server) as url:
        place = url.removeprefix("https://").rstrip("/")
        said = box.run(
            "/usr/bin/socat",
            "-t5",
            "-",
            f"OPENSSL:{place},cafile=/srv/ca.pem",
            stdin="GET / HTTP/1.0\r\n\r\n",
        )
        assert said.endswith("gratin\n")
    port = free_port()
    with box.serve("/usr/bin/socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork", "PIPE", port=port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"echo")
            assert client.recv(10) == b"echo"


def netcat_openbsd(box: Box) -> None:
    with web_server(b"gratin\n") as url:
        port = url.rstrip("/").rpartition(":")[2]
        said = box.run("/usr/bin/nc.openbsd", "-w", "5", "localhost", port, stdin="GET / HTTP/1.0\r\n\r\n")
        assert said.endswith("gratin\n")
        box.run("/usr/bin/nc", "-z", "localhost", port)


def iperf3(box: Box) -> None:
    port = free_port()
    with box.serve("/usr/bin/iperf3", "-s", "-p", str(port), "-B", "127.0.0.1", "--forceflush") as server:
        client = ["/usr/bin/iperf3", "-c", "127.0.0.1", "-p", str(port), "-t", "1", "-J", "-b", "50M"]

        def measured() -> object:
            return json.loads(box.run(*client, status=None)).get("end", {}).get("sum_sent")

        assert until(measured, running=server)


def snmp(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/snmp/snmpd.conf",
        f"agentaddress udp:127.0.0.1:{port}\nrocommunity leek 127.0.0.1\nsysLocation pantry\n",
    )
    with box.serve(
        "/usr/sbin/snmpd", "-f", "-Lo", "-C", "-c", "/etc/snmp/snmpd.conf", "-p", "/tmp/pid"
    ) as server:
        base = ["-v2c", "-c", "leek", f"127.0.0.1:{port}", "1.3.6.1.2.1.1.6.0"]
        until(lambda: "pantry" in box.run("/usr/bin/snmpget", *base), running=server)
        assert "STRING" in box.run(
            "/usr/bin/snmpwalk", "-v2c", "-c", "leek", f"127.0.0.1:{port}", "1.3.6.1.2.1.1"
        )


def lftp(box: Box) -> None:
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    env = {"HOME": "/tmp"}
    pages = {"/": b'<a href="dish">dish</a>', "/dish": b"gratin\n"}
    with web_server(pages, authority.server) as url:
        script = (
            f"set ssl:ca-file /srv/ca.pem; set net:max-retries 1; open {url}; get dish -o /tmp/a; cat dish"
        )
        assert box.run("/usr/bin/lftp", "-c", script, env=env) == "gratin\n"
    assert box.text("/tmp/a") == "gratin\n"
