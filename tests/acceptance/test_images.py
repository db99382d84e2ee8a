"""Each image runs under a real runtime and does for its user what the program is there for."""

from __future__ import annotations

import http.server
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.containers import Layout, container, free_port, need, run

pytestmark = [pytest.mark.archive, pytest.mark.runtime]

Build = Callable[..., Layout]
Lay = Callable[[Layout], Path]

IMAGES = [
    "redis-server",
    "nginx",
    "memcached",
    "python3",
    "curl",
    "nodejs",
    "openjdk-17-jre-headless",
    "postgresql-15",
    "ruby",
    "php-cli",
    "sqlite3",
    "git",
    "busybox",
]

runtimes = pytest.mark.parametrize("runtime", ["bwrap", "runc", "podman"])
two_runtimes = pytest.mark.parametrize("runtime", ["bwrap", "runc"])


def ask(port: int, request: bytes, until: bytes) -> bytes:
    """Send bytes to a server on loopback and read until its answer holds `until`."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while until not in answer:
            part = connection.recv(65536)
            assert part, f"the server hung up after {answer!r}"
            answer += part
        return answer


@contextmanager
def web_server(page: bytes, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on loopback that answers every request with `page`; yields its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"{'https' if context else 'http'}://localhost:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that signs itself, and the context of a server that shows it."""
    need("openssl")
    folder = tmp_path_factory.mktemp("authority")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


@runtimes
def test_redis_stores_a_value_and_gives_it_back(build: Build, tmp_path: Path, runtime: str) -> None:
    port = free_port()
    args = ["--bind", "127.0.0.1", "--port", str(port)]
    with container(build("redis-server"), tmp_path, args, runtime=runtime) as redis:
        redis.wait_for_port(port)
        assert ask(port, b"SET dish gratin\r\n", b"\r\n") == b"+OK\r\n"
        assert ask(port, b"GET dish\r\n", b"gratin\r\n") == b"$6\r\ngratin\r\n"
        assert ask(port, b"EVAL 'return 6*7' 0\r\n", b"\r\n") == b":42\r\n"
        assert ask(port, b"SAVE\r\n", b"\r\n") == b"+OK\r\n", "its working directory can be written"


SERVERS = {
    "redis-server": (6379, b"PING\r\n", b"+PONG"),
    "memcached": (11211, b"version\r\n", b"VERSION 1."),
    "nginx": (80, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_starts_with_no_words_at_all(build: Build, tmp_path: Path, name: str) -> None:
    port, request, answer = SERVERS[name]
    with container(build(name), tmp_path, runtime="runc", own_network=True) as server:
        assert server.ask(port, request).startswith(answer)


@runtimes
def test_memcached_stores_a_value_and_gives_it_back(build: Build, tmp_path: Path, runtime: str) -> None:
    port = free_port()
    args = ["-l", "127.0.0.1", "-p", str(port), "-U", "0"]
    with container(build("memcached"), tmp_path, args, runtime=runtime) as memcached:
        memcached.wait_for_port(port)
        assert ask(port, b"set dish 0 60 6\r\ngratin\r\n", b"\r\n") == b"STORED\r\n"
        assert ask(port, b"get dish\r\n", b"END\r\n") == b"VALUE dish 0 6\r\ngratin\r\nEND\r\n"


@two_runtimes
def test_nginx_serves_the_page_and_types_of_its_configuration(
    build: Build, tmp_path: Path, laid_out: Lay, runtime: str
) -> None:
    image = build("nginx")
    root = laid_out(image)
    port = free_port()
    site = root / "etc/nginx/sites-enabled/default"
    assert site.is_symlink(), "the package's own site is enabled, as its postinst would have done"
    site.unlink()
    site.write_text(f"server {{ listen 127.0.0.1:{port}; root /var/www/html; }}\n")
    (root / "var/www/html").mkdir(parents=True, exist_ok=True)
    (root / "var/www/html/menu.svg").write_text("<svg/>")
    (root / "var/www/html/index.html").write_text("<h1>gratin</h1>\n")
    with container(image, tmp_path, runtime=runtime, root=root) as nginx:
        nginx.wait_for_port(port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert page.read() == b"<h1>gratin</h1>\n"
            assert page.headers["Server"].startswith("nginx")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/menu.svg") as page:
            assert page.headers["Content-Type"] == "image/svg+xml"


PYTHON = """
import ctypes, datetime, hashlib, json, locale, lzma, os, pwd, socket, sqlite3, ssl, subprocess, sys
import tempfile, threading, zlib, zoneinfo

assert zlib.decompress(zlib.compress(b"gratin")) == b"gratin"
assert lzma.decompress(lzma.compress(b"gratin")) == b"gratin"
with tempfile.NamedTemporaryFile() as file:
    base = sqlite3.connect(file.name)
    base.execute("create table dish (name text)")
    base.execute("insert into dish values ('gratin')")
    assert base.execute("select name from dish").fetchall() == [("gratin",)]
berlin = zoneinfo.ZoneInfo("Europe/Berlin")
assert datetime.datetime(2024, 7, 1, tzinfo=berlin).utcoffset() == datetime.timedelta(hours=2)
assert locale.setlocale(locale.LC_ALL, "C.UTF-8") == "C.UTF-8"
assert len("\\u00e9".encode(sys.getfilesystemencoding())) == 2
assert ("127.0.0.1", 80) in [item[4] for item in socket.getaddrinfo("localhost", 80, socket.AF_INET)]
context = ssl.create_default_context()
assert len(context.get_ca_certs()) > 100, "the CA bundle is where OpenSSL looks"
assert subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True).stdout == b"42\\n"
said = []
threads = [threading.Thread(target=said.append, args=(n,)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert sorted(said) == list(range(8))
assert pwd.getpwuid(0).pw_name == "root" and pwd.getpwnam("nonroot").pw_uid == 65532
assert os.stat("/tmp").st_mode & 0o7777 == 0o1777
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
print(json.dumps({"done": sys.version_info[:2]}))
"""


@runtimes
def test_python_has_its_library_its_zones_and_its_certificates(
    build: Build, tmp_path: Path, runtime: str
) -> None:
    assert (
        run(build("python3"), tmp_path, ["python3", "-c", PYTHON], runtime=runtime).output
        == '{"done": [3, 11]}\n'
    )


def test_python_runs_as_nobody_in_particular(build: Build, tmp_path: Path) -> None:
    script = (
        "import os, pwd, tempfile; tempfile.TemporaryFile(); print(os.getuid(), pwd.getpwuid(os.getuid())[0])"
    )
    assert (
        run(build("python3"), tmp_path, ["python3", "-c", script], user="nonroot").output == "65532 nonroot\n"
    )


def test_python_loads_byte_code_that_its_own_interpreter_made(
    build: Build, tmp_path: Path, laid_out: Lay
) -> None:
    image = build("python3", "--keep", "bytecode")
    root = laid_out(image)
    script = (
        "import json, importlib.util as u; print(json.__spec__.loader.path_stats(json.__file__)['size'] > 0,"
        "json.__cached__, open(json.__cached__, 'rb').read(8) == u.MAGIC_NUMBER + bytes([1, 0, 0, 0]))"
    )
    said = run(image, tmp_path, ["python3", "-v", "-c", script], root=root)
    place = "/usr/lib/python3.11/json/__pycache__/__init__.cpython-311.pyc"
    assert said.output == f"True {place} True\n"
    # -v tells where each module comes from, and what is compiled
    assert f"code object from '{place}'" in said.errors
    assert "# wrote" not in said.errors
    # its layer stands on those of the image without it
    assert build("python3").manifest["layers"] == image.manifest["layers"][:-1]


def test_byte_code_for_machines_of_another_kind_is_refused(tmp_path: Path, store: Path) -> None:
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    words = ["build", "python3", "--keep", "bytecode", "--arch", other, "-o", f"oci:{tmp_path}/image"]
    ended = subprocess.run(
        [sys.executable, "-m", "ramekin", *words, "--store", store], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert f"byte code for {other} can only be made by a machine that runs its Python" in ended.stderr
    assert not (tmp_path / "image").exists()


@runtimes
def test_curl_fetches_a_page(build: Build, tmp_path: Path, runtime: str) -> None:
    with web_server(b"gratin\n") as url:
        assert run(build("curl"), tmp_path, ["-sS", url], runtime=runtime).output == "gratin\n"


def test_curl_trusts_the_authorities_of_the_image_and_no_other(
    build: Build, tmp_path: Path, laid_out: Lay, authority: tuple[Path, ssl.SSLContext]
) -> None:
    image = build("curl")
    root = laid_out(image)
    certificate, context = authority
    with web_server(b"gratin\n", context) as url:
        refused = run(image, tmp_path, ["-sS", url], root=root, status=60)
        assert "self-signed certificate" in refused.errors
        bundle = root / "etc/ssl/certs/ca-certificates.crt"
        assert bundle.read_text().count("BEGIN CERTIFICATE") > 100
        bundle.write_text(bundle.read_text() + certificate.read_text())
        assert run(image, tmp_path, ["-sS", url], root=root).output == "gratin\n"


NODE = """
const assert = require('assert'), crypto = require('crypto'), http = require('http'), zlib = require('zlib');
assert.equal(zlib.gunzipSync(zlib.gzipSync('gratin')).toString(), 'gratin');
assert.equal(crypto.createHash('sha256').update('').digest('hex').slice(0, 8), 'e3b0c442');
assert.equal(new Intl.DateTimeFormat('en-GB', {timeZone: 'Europe/Berlin', hour: '2-digit', hour12: false})
  .format(new Date('2024-07-01T10:00:00Z')), '12');
assert(require('tls').rootCertificates.length > 100);
const server = http.createServer((request, answer) => answer.end('gratin'));
server.listen(0, '127.0.0.1', () => http.get(server.address(), answer => {
  let text = '';
  answer.on('data', part => text += part).on('end', () => { console.log(text); server.close(); });
}));
"""


@two_runtimes
def test_node_serves_and_fetches(build: Build, tmp_path: Path, runtime: str) -> None:
    assert run(build("nodejs"), tmp_path, ["node", "-e", NODE], runtime=runtime).output == "gratin\n"


JAVA = """
import com.sun.net.httpserver.HttpServer;
import java.net.*;
import java.net.http.*;
import java.security.KeyStore;
import java.time.*;
import javax.net.ssl.*;

public class Menu {
    public static void main(String[] words) throws Exception {
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init((KeyStore) null);
        int authorities = ((X509TrustManager) trust.getTrustManagers()[0]).getAcceptedIssuers().length;
        if (authorities < 100) throw new AssertionError("the trust store holds " + authorities);
        SSLContext.getDefault().createSSLEngine();
        if (ZoneId.of("Europe/Berlin").getRules().getOffset(Instant.EPOCH).getTotalSeconds() != 3600)
            throw new AssertionError("Europe/Berlin");
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, 6);
            exchange.getResponseBody().write("gratin".getBytes());
            exchange.close();
        });
        server.start();
        URI uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/");
        HttpRequest request = HttpRequest.newBuilder(uri).build();
        HttpClient client = HttpClient.newHttpClient();
        System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
        server.stop(0);
        System.exit(0);
    }
}
"""


@two_runtimes
def test_java_runs_a_program_that_serves_fetches_and_trusts(
    build: Build, tmp_path: Path, laid_out: Lay, runtime: str
) -> None:
    image = build("openjdk-17-jre-headless")
    root = laid_out(image)
    (root / "tmp/Menu.java").write_text(JAVA)
    assert run(image, tmp_path, ["java", "/tmp/Menu.java"], root=root, runtime=runtime).output == "gratin\n"


@two_runtimes
def test_postgresql_makes_its_cluster_and_answers_queries(
    build: Build, tmp_path: Path, laid_out: Lay, runtime: str
) -> None:
    image = build("postgresql-15")
    root = laid_out(image)
    port = free_port()
    settings = ["-p", str(port), "-c", "fsync=off"]
    secret = {"POSTGRES_PASSWORD": "gratin"}
    with container(image, tmp_path, settings, root=root, runtime=runtime, env=secret) as postgres:
        postgres.wait_for_port(port)
        query = """
            create table dish (name text, since timestamptz);
            insert into dish values ('gratin', '2024-07-01 12:00 Europe/Berlin');
            create function twice(n int) returns int language plpgsql as 'begin return 2 * n; end';
            create extension pgcrypto;
            select upper(name), since at time zone 'UTC', twice(21), lower('\u00c9') from dish;
        """
        psql = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-qAt", "-c", query]
        client = {"PGPASSWORD": "gratin", "LANG": "C.UTF-8"}
        answer = run(image, tmp_path, psql, root=root, runtime=runtime, env=client)
        assert answer.output == "GRATIN|2024-07-01 10:00:00|42|\u00e9\n"


RUBY = """
require 'json'; require 'openssl'; require 'zlib'; require 'socket'; require 'set'; require 'yaml'
raise unless Zlib::Inflate.inflate(Zlib::Deflate.deflate('gratin')) == 'gratin'
raise unless OpenSSL::Digest::SHA256.hexdigest('').start_with?('e3b0c442')
raise unless File.exist?(OpenSSL::X509::DEFAULT_CERT_FILE)
raise unless YAML.load('dish: gratin') == {'dish' => 'gratin'}
server = TCPServer.new('127.0.0.1', 0)
thread = Thread.new { client = server.accept; client.puts 'gratin'; client.close }
said = TCPSocket.new('127.0.0.1', server.addr[1]).gets.chomp
thread.join
puts JSON.generate({dish: said, encoding: Encoding.default_external.name})
"""


@two_runtimes
def test_ruby_has_its_library(build: Build, tmp_path: Path, runtime: str) -> None:
    ran = run(build("ruby"), tmp_path, ["ruby", "-e", RUBY], runtime=runtime, env={"LANG": "C.UTF-8"})
    assert ran.output == '{"dish":"gratin","encoding":"UTF-8"}\n'


PHP = """
assert(json_decode(json_encode(['dish' => 'gratin']))->dish === 'gratin') or exit(1);
hash('sha256', '') === 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' or exit(2);
preg_match('/^gr(a)tin$/u', 'gratin', $found) === 1 or exit(3);
(new DateTime('2024-07-01', new DateTimeZone('Europe/Berlin')))->getOffset() === 7200 or exit(4);
foreach (['ctype', 'fileinfo', 'iconv', 'openssl', 'pdo', 'phar', 'posix', 'sockets', 'tokenizer'] as $name)
    extension_loaded($name) or exit("$name is not loaded\\n");
extension_loaded('Zend OPcache') or exit("opcache is not loaded\\n");
echo PHP_MAJOR_VERSION, ' gratin', PHP_EOL;
"""


@two_runtimes
def test_php_has_the_extensions_that_its_packages_enable(build: Build, tmp_path: Path, runtime: str) -> None:
    ran = run(build("php-cli"), tmp_path, ["php", "-r", PHP], runtime=runtime)
    assert ran.output == "8 gratin\n"
    assert ran.errors == ""


@runtimes
def test_sqlite_answers_a_query(build: Build, tmp_path: Path, runtime: str) -> None:
    query = "create table t(a); insert into t values (6), (7); select group_concat(a, ' x ') from t;"
    assert run(build("sqlite3"), tmp_path, [":memory:", query], runtime=runtime).output == "6 x 7\n"


def test_git_commits_logs_and_clones(build: Build, tmp_path: Path, laid_out: Lay) -> None:
    image = build("git")
    root = laid_out(image)
    who = {
        f"GIT_{who}_{what}": "cook@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }

    def git(*words: str) -> str:
        return run(image, tmp_path, list(words), root=root, env=who).output

    git("init", "-q", "-b", "main", "/tmp/menu")
    (root / "tmp/menu/dish").write_text("gratin\n")
    git("-C", "/tmp/menu", "add", "dish")
    git("-C", "/tmp/menu", "commit", "-q", "-m", "Put gratin on the menu")
    git("-C", "/tmp/menu", "gc", "-q")
    git("clone", "-q", "file:///tmp/menu", "/tmp/copy")
    assert git("-C", "/tmp/copy", "log", "--format=%s") == "Put gratin on the menu\n"
    assert (root / "tmp/copy/dish").read_text() == "gratin\n"


@runtimes
def test_busybox_runs_a_script_and_fetches_a_page(build: Build, tmp_path: Path, runtime: str) -> None:
    with web_server(b"gratin\n") as url:
        script = f"set -e; busybox wget -q -O - {url} | busybox tr a-z A-Z; echo $((6 * 7))"
        ran = run(build("busybox"), tmp_path, ["busybox", "sh", "-c", script], runtime=runtime)
        assert ran.output == "GRATIN\n42\n"


@pytest.mark.parametrize("name", IMAGES)
def test_every_program_and_library_finds_the_libraries_it_names(
    build: Build, tmp_path: Path, laid_out: Lay, name: str
) -> None:
    image = build(name)
    root = laid_out(image)
    loader = "/lib64/ld-linux-x86-64.so.2"
    if not (root / loader.lstrip("/")).exists():
        pytest.fail("the image has no dynamic loader")
    lacking = []
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        inside = "/" + str(path.relative_to(root))
        ran = run(image, tmp_path, ["--list", inside], entrypoint=[loader], root=root, user="0", status=None)
        lacking += [f"{inside}: {line.strip()}" for line in ran.output.splitlines() if "not found" in line]
    assert lacking == []


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    for block in text.strip().split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            if not line.startswith((" ", "\t")):
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        yield fields


@pytest.mark.parametrize("name", IMAGES)
def test_scanners_find_every_package_and_its_licence(build: Build, laid_out: Lay, name: str) -> None:
    image = build(name)
    root = laid_out(image)
    folder = root / "var/lib/dpkg/status.d"
    found = {}
    for path in folder.iterdir():
        if path.suffix == ".md5sums":
            assert (folder / path.stem).exists()
            continue
        (fields,) = paragraphs(path.read_text())
        assert fields["Package"] == path.name
        assert {"Version", "Architecture", "Maintainer"} <= fields.keys()
        found[path.name] = fields
    bare = name.partition("=")[0]
    assert bare in found
    without = [
        package for package in found if not os.path.lexists(root / "usr/share/doc" / package / "copyright")
    ]
    # Debian Policy 12.5: a link to the folder of a package from the same source stands for its own
    assert [p for p in without if not (root / "usr/share/doc" / p).is_symlink()] == []


@pytest.mark.parametrize("name", IMAGES)
def test_no_package_is_left_with_a_script_that_nothing_stands_in_for(
    store: Path, tmp_path: Path, name: str
) -> None:
    from support.containers import ramekin

    ramekin("build", name, "--strict", "-o", f"oci:{tmp_path}/image", "--store", store)
