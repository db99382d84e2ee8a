"""Interpreters run programs that use what programs of their language usually use."""

# ruff: noqa: E501 -- programs of other languages stand in strings; a server around its clients

from __future__ import annotations

import socket
import struct

from support.dialogue import Authority, fetch, web_server
from support.fleet import Box, free_port

PYTHON = """
import argparse, asyncio, base64, bz2, collections, concurrent.futures, configparser, csv, ctypes, dataclasses
import datetime, decimal, email.message, gzip, hashlib, html.parser, http.client, importlib.metadata, inspect, io
import json, locale, logging.config, lzma, mimetypes, multiprocessing, os, pickle, platform, pwd, queue, random
import re, select, shutil, signal, smtplib, socket, sqlite3, ssl, statistics, subprocess, sys, tarfile, tempfile
import threading, time, traceback, typing, unittest, urllib.request, uuid, venv, xml.etree.ElementTree, zipfile
import zlib, zoneinfo

assert zlib.decompress(zlib.compress(b"gratin")) == b"gratin"
assert lzma.decompress(lzma.compress(b"gratin")) == b"gratin" == bz2.decompress(bz2.compress(b"gratin"))
with tempfile.NamedTemporaryFile() as file:
    base = sqlite3.connect(file.name)
    base.execute("create virtual table dish using fts5(name)")
    base.execute("insert into dish values ('gratin of leek')")
    assert base.execute("select name from dish where dish match 'leek'").fetchall() == [("gratin of leek",)]
berlin = zoneinfo.ZoneInfo("Europe/Berlin")
assert datetime.datetime(2024, 7, 1, tzinfo=berlin).utcoffset() == datetime.timedelta(hours=2)
assert locale.setlocale(locale.LC_ALL, "C.UTF-8") == "C.UTF-8"
assert "gr\\u00e2tin".encode("cp1252") == b"gr\\xe2tin" and "\\u6599".encode("euc_jp") and "x".encode("idna")
assert ("127.0.0.7", 80) in [item[4] for item in socket.getaddrinfo("pantry.example", 80, socket.AF_INET)]
context = ssl.create_default_context()
assert len(context.get_ca_certs()) > 100, "the CA bundle is where OpenSSL looks"
assert subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True).stdout == b"42\\n"
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert sum(pool.map(lambda n: n * n, range(10))) == 285
with concurrent.futures.ProcessPoolExecutor(2) as pool:
    assert list(pool.map(abs, [-1, -2])) == [1, 2]
async def cook():
    server = await asyncio.start_server(lambda r, w: (w.write(b"gratin"), w.close()), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return await reader.read()
assert asyncio.run(cook()) == b"gratin"
assert pwd.getpwuid(0).pw_name == "root" and os.stat("/tmp").st_mode & 0o7777 == 0o1777
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442") and hashlib.new("sha3_256") and hashlib.scrypt
assert xml.etree.ElementTree.fromstring("<a><b>gratin</b></a>").find("b").text == "gratin"
assert decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3")
assert ctypes.CDLL(None).getpid() == os.getpid()
assert mimetypes.guess_type("a.svg")[0] == "image/svg+xml"
assert uuid.uuid5(uuid.NAMESPACE_DNS, "pantry.example").version == 5
print(json.dumps({"done": sys.version_info[:2]}))
"""


def python3(box: Box) -> None:
    assert box.start("-c", PYTHON) == '{"done": [3, 11]}\n'
    box.write("/srv/app.py", "import sys, tomllib\nprint(tomllib.loads(sys.stdin.read())['dish'])\n")
    assert box.start("/srv/app.py", stdin='dish = "gratin"\n') == "gratin\n"
    assert box.start("-m", "json.tool", "--compact", stdin='{ "a": 1 }') == '{"a":1}\n'
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    with web_server(b"gratin\n", authority.server) as url:
        program = (
            "import ssl, urllib.request; c = ssl.create_default_context(cafile='/srv/ca.pem');"
            f"print(urllib.request.urlopen({url!r}, context=c).read())"
        )
        assert box.start("-c", program) == "b'gratin\\n'\n"


def python_requests(box: Box) -> None:
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    program = """
import requests, sys
session = requests.Session()
answer = session.post(sys.argv[1], json={"dish": "gratin"}, verify="/srv/ca.pem")
print(answer.json()["dish"], answer.headers["Content-Type"])
try:
    requests.get(sys.argv[1])
except requests.exceptions.SSLError as error:
    print("refused", requests.get(sys.argv[2], params={"x": "\\u00e9"}, auth=("cook", "leek")).text.strip())
"""
    with web_server(b"", authority.server) as secure, web_server(b"from behind\n") as plain:
        assert box.start("-c", program, secure, plain) == "gratin application/json\nrefused from behind\n"


def python_numpy(box: Box) -> None:
    program = """
import numpy as np, numpy.fft, numpy.linalg, numpy.random, io
a = np.array([[2.0, 1.0], [1.0, 3.0]])
assert np.allclose(np.linalg.solve(a, a @ [1, 2]), [1, 2])
assert np.allclose(np.linalg.eigvalsh(a).sum(), 5)
assert np.allclose(np.fft.ifft(np.fft.fft(np.arange(8))).real, np.arange(8))
assert np.random.default_rng(7).normal(size=1000).std() > 0.9
buffer = io.BytesIO(); np.savez_compressed(buffer, a=a); buffer.seek(0)
assert (np.load(buffer)["a"] == a).all()
print(np.loadtxt(io.StringIO("1 2\\n3 4")).sum(), np.datetime64("2024-07-01") + 1)
"""
    assert box.start("-c", program) == "10.0 2024-07-02\n"


def python_flask(box: Box) -> None:
    port = free_port()
    box.write(
        "/srv/app.py",
        """
from flask import Flask, jsonify, render_template_string, request, session
app = Flask(__name__)
app.secret_key = "leek"
@app.get("/<name>")
def dish(name):
    session["dish"] = name
    return render_template_string("<h1>{{ name | upper }}</h1>", name=name)
@app.post("/")
def order():
    return jsonify(request.get_json())
""",
    )
    options = ["--chdir", "/srv", "-b", f"127.0.0.1:{port}", "-w", "2", "--threads", "2", "app:app"]
    with box.serve("/usr/bin/gunicorn", *options, port=port):
        page = fetch(f"http://127.0.0.1:{port}/gratin")
        assert page.body == b"<h1>GRATIN</h1>" and "session=" in page.headers["Set-Cookie"]
        json_type = {"Content-Type": "application/json"}
        answer = fetch(f"http://127.0.0.1:{port}/", b'{"dish": "leek"}', headers=json_type)
        assert answer.data == {"dish": "leek"}


def python_cryptography(box: Box) -> None:
    program = """
import datetime
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
box = Fernet(Fernet.generate_key())
assert box.decrypt(box.encrypt(b"gratin")) == b"gratin"
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gratin")])
now = datetime.datetime(2024, 7, 1)
made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(7).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    .sign(key, hashes.SHA256()))
pem = made.public_bytes(serialization.Encoding.PEM)
print(x509.load_pem_x509_certificate(pem).subject.rfc4514_string())
secret = rsa.generate_private_key(65537, 2048)
sealed = secret.public_key().encrypt(b"x", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
assert secret.decrypt(sealed, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)) == b"x"
"""
    assert box.start("-c", program) == "CN=gratin\n"


def python_lxml(box: Box) -> None:
    program = """
import yaml, lxml.etree as etree, lxml.html
page = lxml.html.fromstring("<p>a<b>gratin</b>")
assert page.xpath("//b/text()") == ["gratin"]
sheet = etree.XSLT(etree.XML('''<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:template match="/"><dish><xsl:value-of select="//b"/></dish></xsl:template></xsl:stylesheet>'''))
assert b"gratin" in etree.tostring(sheet(page))
assert etree.RelaxNG(etree.XML('<element name="a" xmlns="http://relaxng.org/ns/structure/1.0"><text/></element>'))(etree.XML("<a>x</a>"))
print(yaml.safe_load(yaml.dump({"dish": ["gratin"]}, Dumper=yaml.CSafeDumper)))
"""
    assert box.start("-c", program) == "{'dish': ['gratin']}\n"


def python_pillow(box: Box) -> None:
    program = """
import io
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features
for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "JPEG2000"):
    image = Image.new("RGB", (64, 64), "red")
    ImageDraw.Draw(image).ellipse((8, 8, 56, 56), fill="blue")
    out = io.BytesIO()
    image.resize((32, 32)).filter(ImageFilter.BLUR).save(out, kind)
    again = Image.open(io.BytesIO(out.getvalue()))
    again.load()
    assert again.size == (32, 32), kind
    red, green, blue = again.convert("RGB").getpixel((16, 16))
    assert blue > 180 and red < 90, (kind, red, green, blue)
assert features.check("freetype2") and features.check("littlecms2")
ImageDraw.Draw(image).text((0, 0), "gratin", font=ImageFont.load_default())
print("gratin")
"""
    assert box.start("-c", program) == "gratin\n"


def python_sqlalchemy(box: Box) -> None:
    program = """
import psycopg2, psycopg2.extras
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, select
from sqlalchemy.orm import declarative_base, sessionmaker
Base = declarative_base()
class Dish(Base):
    __tablename__ = "dish"
    id = Column(Integer, primary_key=True)
    name = Column(String)
engine = create_engine("sqlite:////tmp/dish.db")
Base.metadata.create_all(engine)
with sessionmaker(engine)() as session:
    session.add(Dish(name="gratin")); session.commit()
    print(session.execute(select(Dish.name)).scalars().all())
try:
    create_engine("postgresql+psycopg2://cook@127.0.0.1:1/kitchen").connect()
except Exception as error:
    print("Connection refused" in str(error))
"""
    assert box.start("-c", program) == "['gratin']\nTrue\n"


def uwsgi(box: Box) -> None:
    port = free_port()
    box.write(
        "/srv/app.py",
        "import json, ssl, sqlite3\ndef application(environ, start):\n"
        "    start('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [json.dumps({'path': environ['PATH_INFO']}).encode()]\n",
    )
    box.run("/usr/bin/uwsgi-core", "--version")
    options = ["--plugin", "python3", "--http-socket", f"127.0.0.1:{port}", "--wsgi-file", "/srv/app.py"]
    with box.serve("/usr/bin/uwsgi-core", *options, "--master", "--processes", "2", port=port):
        assert fetch(f"http://127.0.0.1:{port}/gratin").data == {"path": "/gratin"}


NODE = """
const assert = require('assert'), crypto = require('crypto'), http = require('http'), zlib = require('zlib');
const {execFileSync} = require('child_process'), dns = require('dns'), fs = require('fs'), os = require('os');
const {Worker, isMainThread} = require('worker_threads');
assert.equal(zlib.gunzipSync(zlib.gzipSync('gratin')).toString(), 'gratin');
assert.equal(zlib.brotliDecompressSync(zlib.brotliCompressSync('gratin')).toString(), 'gratin');
assert.equal(crypto.createHash('sha256').update('').digest('hex').slice(0, 8), 'e3b0c442');
assert.equal(new Intl.DateTimeFormat('en-GB', {timeZone: 'Europe/Berlin', hour: '2-digit', hour12: false})
  .format(new Date('2024-07-01T10:00:00Z')), '12');
assert.equal(new Intl.NumberFormat('de-DE').format(1234.5), '1.234,5');
assert.equal(new TextDecoder('iso-8859-1').decode(Buffer.from([0xe2])), '\\u00e2');
assert(require('tls').rootCertificates.length > 100);
assert.equal(execFileSync(process.execPath, ['-p', '6 * 7']).toString(), '42\\n');
dns.lookup('pantry.example', (failure, address) => {
  assert.equal(address, '127.0.0.7');
  new Worker('process.exit(0)', {eval: true}).on('exit', () => {
    const server = http.createServer((request, answer) => answer.end('gratin'));
    server.listen(0, '127.0.0.1', () => http.get(server.address(), answer => {
      let text = '';
      answer.on('data', part => text += part).on('end', () => { console.log(text); server.close(); });
    }));
  });
});
"""


def nodejs(box: Box) -> None:
    assert box.run("/usr/bin/node", "-e", NODE) == "gratin\n"
    box.write(
        "/srv/dish.mjs",
        "import { readFile } from 'node:fs/promises';\nconsole.log(JSON.parse(await readFile('/srv/dish.json')).dish)\n",
    )
    box.write("/srv/dish.json", '{"dish": "leek"}')
    assert box.run("/usr/bin/node", "/srv/dish.mjs") == "leek\n"


def node_express(box: Box) -> None:
    port = free_port()
    box.write(
        "/srv/app.js",
        f"""
const express = require('express');
const app = express();
app.use(express.json());
app.use('/static', express.static('/srv/static'));
app.get('/dish/:name', (request, answer) => answer.json({{dish: request.params.name, q: request.query.q}}));
app.post('/', (request, answer) => answer.status(201).send(request.body.dish));
app.listen({port}, '127.0.0.1');
""",
    )
    box.write("/srv/static/a.svg", "<svg/>")
    with box.serve("/usr/bin/node", "/srv/app.js", port=port):
        base = f"http://127.0.0.1:{port}"
        assert fetch(f"{base}/dish/gratin?q=1").data == {"dish": "gratin", "q": "1"}
        posted = fetch(f"{base}/", b'{"dish": "leek"}', headers={"Content-Type": "application/json"})
        assert (posted.status, posted.body) == (201, b"leek")
        assert fetch(f"{base}/static/a.svg").headers["Content-Type"].startswith("image/svg+xml")


JAVA = """
import com.sun.net.httpserver.HttpServer;
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.charset.Charset;
import java.security.*;
import java.text.NumberFormat;
import java.time.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.zip.*;
import javax.crypto.Cipher;
import javax.net.ssl.*;
import javax.xml.parsers.DocumentBuilderFactory;

public class Menu {
    public static void main(String[] words) throws Exception {
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init((KeyStore) null);
        int authorities = ((X509TrustManager) trust.getTrustManagers()[0]).getAcceptedIssuers().length;
        if (authorities < 100) throw new AssertionError("the trust store holds " + authorities);
        SSLContext.getDefault().createSSLEngine();
        Cipher.getInstance("AES/GCM/NoPadding");
        KeyPairGenerator.getInstance("EC").generateKeyPair();
        if (ZoneId.of("Europe/Berlin").getRules().getOffset(Instant.EPOCH).getTotalSeconds() != 3600)
            throw new AssertionError("Europe/Berlin");
        if (!NumberFormat.getInstance(Locale.GERMANY).format(1234.5).equals("1.234,5")) throw new AssertionError("locale");
        if (!Charset.forName("EUC-JP").canEncode()) throw new AssertionError("charset");
        var bytes = new ByteArrayOutputStream();
        try (var out = new GZIPOutputStream(bytes)) { out.write(1); }
        DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(new ByteArrayInputStream("<a/>".getBytes()));
        var logger = java.util.logging.Logger.getLogger("menu");
        java.lang.management.ManagementFactory.getRuntimeMXBean().getUptime();
        if (!InetAddress.getByName("pantry.example").getHostAddress().equals("127.0.0.7")) throw new AssertionError("hosts");
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, 6);
            exchange.getResponseBody().write("gratin".getBytes());
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(2));
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


def openjdk_17_jre_headless(box: Box) -> None:
    box.write("/tmp/Menu.java", JAVA)
    assert box.start("/tmp/Menu.java") == "gratin\n"


def ruby(box: Box) -> None:
    program = """
require 'json'; require 'openssl'; require 'zlib'; require 'socket'; require 'set'; require 'yaml'; require 'time'
require 'net/http'; require 'csv'; require 'digest'; require 'fileutils'; require 'tempfile'; require 'erb'
require 'optparse'; require 'logger'; require 'securerandom'; require 'open3'; require 'bigdecimal'; require 'date'
raise unless Zlib::Inflate.inflate(Zlib::Deflate.deflate('gratin')) == 'gratin'
raise unless OpenSSL::Digest::SHA256.hexdigest('').start_with?('e3b0c442')
raise unless File.exist?(OpenSSL::X509::DEFAULT_CERT_FILE)
raise unless YAML.load('dish: gratin') == {'dish' => 'gratin'}
raise unless "gr\\u00e2tin".encode('ISO-8859-1').bytes[2] == 0xe2 && 'x'.encode('EUC-JP')
ENV['TZ'] = 'Europe/Berlin'
raise unless Time.new(2024, 7, 1).utc_offset == 7200
raise unless IPSocket.getaddress('pantry.example') == '127.0.0.7'
raise unless Open3.capture2(RbConfig.ruby, '-e', 'puts 42')[0] == "42\\n"
raise unless ERB.new('<%= 6 * 7 %>').result == '42' && BigDecimal('0.1') * 3 == BigDecimal('0.3')
server = TCPServer.new('127.0.0.1', 0)
thread = Thread.new { client = server.accept; client.puts 'gratin'; client.close }
said = TCPSocket.new('127.0.0.1', server.addr[1]).gets.chomp
thread.join
puts JSON.generate({dish: said, encoding: Encoding.default_external.name})
"""
    assert (
        box.run("/usr/bin/ruby", "-e", program, env={"LANG": "C.UTF-8"})
        == '{"dish":"gratin","encoding":"UTF-8"}\n'
    )
    with web_server(b"from behind\n") as url:
        program = f"require 'net/http'; print Net::HTTP.get(URI('{url}'))"
        assert box.run("/usr/bin/ruby", "-e", program) == "from behind\n"


def ruby_sinatra(box: Box) -> None:
    port = free_port()
    box.write(
        "/srv/config.ru",
        "require 'sinatra/base'\nrequire 'json'\nclass Menu < Sinatra::Base\n  set :environment, :production\n"
        "  get('/dish/:name') { content_type :json; {dish: params['name']}.to_json }\n"
        "  get('/page') { erb '<h1><%= 6 * 7 %></h1>' }\nend\nrun Menu\n",
    )
    with box.serve("/usr/bin/puma", "-b", f"tcp://127.0.0.1:{port}", "/srv/config.ru", port=port):
        assert fetch(f"http://127.0.0.1:{port}/dish/gratin").data == {"dish": "gratin"}
        assert fetch(f"http://127.0.0.1:{port}/page").body == b"<h1>42</h1>"


PHP = """
json_decode(json_encode(['dish' => 'gratin']))->dish === 'gratin' or exit(1);
hash('sha256', '') === 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' or exit(2);
preg_match('/^gr(a)tin$/u', 'gratin', $found) === 1 or exit(3);
(new DateTime('2024-07-01', new DateTimeZone('Europe/Berlin')))->getOffset() === 7200 or exit(4);
foreach (['ctype', 'fileinfo', 'iconv', 'openssl', 'pdo', 'phar', 'posix', 'sockets', 'tokenizer', 'readline'] as $name)
    extension_loaded($name) or exit("$name is not loaded\\n");
ini_get('opcache.enable') !== false or exit(6);
iconv('UTF-8', 'ISO-8859-1', "gr\\u{e2}tin") === "gr\\xe2tin" or exit(7);
iconv('UTF-8', 'EUC-JP', "\\u{6599}") !== false or exit(8);
gethostbyname('pantry.example') === '127.0.0.7' or exit(9);
(new finfo(FILEINFO_MIME_TYPE))->buffer("\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR\\0\\0\\0\\1\\0\\0\\0\\1\\x08\\2") === 'image/png' or exit(10);
gzuncompress(gzcompress('gratin')) === 'gratin' or exit(11);
count(openssl_get_cert_locations()) > 3 && is_file(openssl_get_cert_locations()['default_cert_file']) or exit(12);
$sealed = openssl_encrypt('gratin', 'aes-256-cbc', str_repeat('k', 32), 0, str_repeat('i', 16));
openssl_decrypt($sealed, 'aes-256-cbc', str_repeat('k', 32), 0, str_repeat('i', 16)) === 'gratin' or exit(13);
echo PHP_MAJOR_VERSION, ' gratin', PHP_EOL;
"""


def php_cli(box: Box) -> None:
    ran = box.finish(box.program, "-r", PHP)
    assert ran.output == "8 gratin\n", ran.output
    assert ran.errors == ""


def php_extensions(box: Box) -> None:
    program = """
mb_strtoupper("gr\\u{e2}tin") === "GR\\u{c2}TIN" or exit(1);
$page = new DOMDocument(); $page->loadXML('<a><b>gratin</b></a>');
(new DOMXPath($page))->query('//b')->item(0)->textContent === 'gratin' or exit(2);
simplexml_load_string('<a><b>leek</b></a>')->b == 'leek' or exit(3);
$base = new PDO('sqlite::memory:'); $base->exec('create table t(a)'); $base->exec("insert into t values ('gratin')");
$base->query('select a from t')->fetchColumn() === 'gratin' or exit(4);
$image = imagecreatetruecolor(32, 32); ob_start(); imagepng($image); $png = ob_get_clean();
getimagesizefromstring($png)[0] === 32 or exit(5);
ob_start(); imagejpeg($image); imagewebp($image); ob_get_clean();
(new NumberFormatter('de_DE', NumberFormatter::DECIMAL))->format(1234.5) === '1.234,5' or exit(6);
$call = curl_init($argv[1]); curl_setopt($call, CURLOPT_RETURNTRANSFER, true);
curl_exec($call) === "from behind\\n" or exit(7);
echo "gratin\\n";
"""
    with web_server(b"from behind\n") as url:
        assert box.start("-r", program, "--", url) == "gratin\n"


def _fastcgi(port: int, script: str, query: str) -> bytes:
    """What a FastCGI responder (FastCGI 1.0, 3) on loopback writes for a script."""

    def record(kind: int, body: bytes) -> bytes:
        return struct.pack(">BBHHBx", 1, kind, 1, len(body), 0) + body

    def pair(name: str, value: str) -> bytes:
        sizes = b"".join(
            bytes((len(part),)) if len(part) < 128 else struct.pack(">I", len(part) | 1 << 31)
            for part in (name, value)
        )
        return sizes + name.encode() + value.encode()

    settings = {
        "SCRIPT_FILENAME": script,
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": query,
        "REQUEST_URI": f"/?{query}",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": "",
        "GATEWAY_INTERFACE": "CGI/1.1",
    }
    with socket.create_connection(("127.0.0.1", port), timeout=20) as server:
        server.sendall(
            record(1, struct.pack(">HB5x", 1, 0))
            + record(4, b"".join(pair(*item) for item in settings.items()))
            + record(4, b"")
            + record(5, b"")
        )
        stream, out = server.makefile("rb"), b""
        while head := stream.read(8):
            _, kind, _, size, padding = struct.unpack(">BBHHBx", head)
            body = stream.read(size)
            stream.read(padding)
            if kind == 3:
                return out
            out += body
    raise AssertionError(f"the server hung up after {out!r}")


def php_fpm(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/php/8.2/fpm/pool.d/www.conf",
        f"[www]\nuser = www-data\ngroup = www-data\nlisten = 127.0.0.1:{port}\npm = static\npm.max_children = 2\n",
    )
    box.write(
        "/srv/index.php",
        "<?php session_save_path('/tmp'); session_start(); $b = new PDO('sqlite::memory:');"
        "echo strtoupper($_GET['dish']), $b->query('select 6 * 7')->fetchColumn();",
    )
    with box.serve("/usr/sbin/php-fpm8.2", "-F", "-O", port=port) as server:
        answer = _fastcgi(port, "/srv/index.php", "dish=gratin")
        assert answer.endswith(b"GRATIN42") and b"Set-Cookie: PHPSESSID" in answer, (answer, server.output)


def perl(box: Box) -> None:
    program = r"""
use strict; use warnings; use utf8; use threads;
use Encode qw(encode decode); use JSON::PP; use Digest::SHA qw(sha256_hex); use MIME::Base64; use POSIX qw(strftime);
use Compress::Zlib; use IO::Socket::INET; use File::Temp qw(tempfile); use Time::Local; use List::Util qw(sum);
use Data::Dumper; use Getopt::Long; use Storable qw(freeze thaw); use Text::Wrap; use Unicode::Normalize; use HTTP::Tiny;
use Socket; use Time::HiRes; use IPC::Open3; use Archive::Tar; use Math::BigInt; use charnames ':full';
die 1 unless sha256_hex('') =~ /^e3b0c442/;
die 2 unless uncompress(compress('gratin')) eq 'gratin';
die 3 unless encode('iso-8859-1', "gr\x{e2}tin") eq "gr\xe2tin" && encode('euc-jp', "\x{6599}");
die 4 unless threads->create(sub { 42 })->join == 42;
$ENV{TZ} = 'Europe/Berlin'; POSIX::tzset();
die 5 unless strftime('%z', localtime(1719828000)) eq '+0200';
die 6 unless inet_ntoa(scalar gethostbyname('pantry.example')) eq '127.0.0.7';
die 7 unless `$^X -e 'print 42'` eq '42';
die 8 unless thaw(freeze({a => 1}))->{a} == 1 && NFD("\x{e2}") ne "\x{e2}" && "\N{GREEK SMALL LETTER ALPHA}" eq "\x{3b1}";
die 9 unless HTTP::Tiny->new->get($ARGV[0])->{content} eq "from behind\n";
die 10 unless Math::BigInt->new(2)->bpow(100) eq '1267650600228229401496703205376' && lc("\x{391}") eq "\x{3b1}";
print JSON::PP->new->canonical->encode({dish => 'gratin', sum => sum(1 .. 4)}), "\n";
"""
    with web_server(b"from behind\n") as url:
        assert box.start("-e", program, url) == '{"dish":"gratin","sum":10}\n'
    assert box.start("-ne", "print uc if /gr/", stdin="leek\ngratin\n") == "GRATIN\n"


def perl_www(box: Box) -> None:
    authority = Authority.found(box.folder)
    box.write("/srv/ca.pem", authority.certificate)
    program = r"""
use strict; use LWP::UserAgent; use HTTP::Request::Common; use URI; use HTML::TreeBuilder; use JSON::XS; use DBI;
my $agent = LWP::UserAgent->new(ssl_opts => {SSL_ca_file => '/srv/ca.pem'});
my $answer = $agent->request(POST $ARGV[0], Content_Type => 'application/json', Content => '{"dish":"gratin"}');
die $answer->status_line unless $answer->is_success;
print decode_json($answer->decoded_content)->{dish}, "\n";
print LWP::UserAgent->new->get($ARGV[0])->code, "\n";
print HTML::TreeBuilder->new_from_content('<p>a<b>leek</b>')->look_down(_tag => 'b')->as_text, "\n";
my $base = DBI->connect('dbi:SQLite:dbname=:memory:', '', '', {RaiseError => 1});
print $base->selectrow_array('select 6 * 7'), "\n";
"""
    with web_server(b"from behind\n", authority.server) as url:
        assert box.start("-e", program, url) == "gratin\n500\nleek\n42\n"


def lua(box: Box) -> None:
    program = """
local socket = require('socket'); local http = require('socket.http'); local mime = require('mime')
local url = require('socket.url'); local ltn12 = require('ltn12')
print((http.request(arg[1]):upper():gsub('%s', '')), mime.b64('gratin'), utf8.len('gr\\u{e2}tin'))
print(socket.dns.toip('pantry.example'), os.date('!%Y', 0), string.format('%5.2f', math.pi))
"""
    box.write("/srv/app.lua", program)
    with web_server(b"gratin\n") as url:
        answer = box.run("/usr/bin/lua5.4", "/srv/app.lua", url)
    assert answer.split() == ["GRATIN", "Z3JhdGlu", "6", "127.0.0.7", "1970", "3.14"]


def luajit(box: Box) -> None:
    program = "local ffi = require('ffi'); ffi.cdef('int getpid(void);'); local bit = require('bit');"
    program += "local j = require('jit'); print(ffi.C.getpid() > 0, bit.bor(40, 2), j.status())"
    assert box.start("-e", program).startswith("true\t42\ttrue")
    box.write("/srv/a.lua", "print(6 * 7)\n")
    box.start("-b", "/srv/a.lua", "/tmp/a.raw")
    assert box.start("/tmp/a.raw") == "42\n"


def tcl(box: Box) -> None:
    box.write(
        "/srv/app.tcl",
        """
package require http; package require msgcat; package require tcltest
set token [http::geturl [lindex $argv 0]]
puts [string toupper [string trim [http::data $token]]]
puts [clock format 1719828000 -timezone :Europe/Berlin -format %H]
puts [string length [encoding convertto iso8859-1 "gr\\u00e2tin"]] ; encoding convertto euc-jp x
puts [binary encode base64 [zlib decompress [zlib compress gratin]]]
""",
    )
    with web_server(b"gratin\n") as url:
        answer = box.run("/usr/bin/tclsh", "/srv/app.tcl", url)
    assert answer.split() == ["GRATIN", "12", "6", "Z3JhdGlu"]


def guile(box: Box) -> None:
    program = """
(use-modules (ice-9 match) (ice-9 regex) (srfi srfi-1) (web uri) (web client) (rnrs bytevectors) (ice-9 threads)
             (ice-9 receive) (sxml simple) (ice-9 iconv))
(display (match '(1 2) ((a b) (+ a b)))) (newline)
(display (match:substring (string-match "gr[a-z]+" "a gratin"))) (newline)
(display (fold + 0 (par-map (lambda (n) (* n n)) (iota 5)))) (newline)
(display (bytevector-length (string->bytevector "gr\\xe2tin" "ISO-8859-1"))) (newline)
(display (strftime "%z" (localtime 1719828000 "Europe/Berlin"))) (newline)
(receive (answer body) (http-get (cadr (command-line))) (display (string-trim-both (utf8->string body)))) (newline)
"""
    box.write("/srv/app.scm", program)
    with web_server(b"leek\n") as url:
        answer = box.run("/usr/bin/guile", "--no-auto-compile", "/srv/app.scm", url)
    assert answer.split() == ["3", "gratin", "30", "6", "+0200", "leek"]


def r_base_core(box: Box) -> None:
    program = """
stopifnot(all.equal(solve(matrix(c(2, 1, 1, 3), 2), c(4, 7)), c(1, 2)))
model <- lm(dist ~ speed, cars)
cat(sprintf('%.2f\\n', coef(model)[2]))
cat(format(as.POSIXct('2024-07-01 10:00', tz = 'UTC'), tz = 'Europe/Berlin', '%H:%M\\n'))
cat(toupper(iconv('gratin', 'UTF-8', 'latin1')), nchar(gsub('[aeiou]', '', 'gratin')), '\\n')
library(parallel); cat(sum(unlist(mclapply(1:4, function(n) n * n))), '\\n')
library(tools); library(methods); library(splines); library(stats4); library(grid)
pdf('/tmp/a.pdf'); plot(1:10); invisible(dev.off())
cat(unname(md5sum('/tmp/a.pdf')) != '', readRDS({saveRDS(42, '/tmp/a.rds'); '/tmp/a.rds'}), '\\n')
"""
    box.write("/srv/app.R", program)
    answer = box.run("/usr/bin/Rscript", "/srv/app.R", timeout=180)
    assert answer.split() == ["3.93", "12:00", "GRATIN", "4", "30", "TRUE", "42"]
    assert box.read("/tmp/a.pdf").startswith(b"%PDF")


def erlang(box: Box) -> None:
    program = """
{ok, S} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127,0,0,1}}]), {ok, Port} = inet:port(S),
spawn(fun() -> {ok, C} = gen_tcp:accept(S), gen_tcp:send(C, "gratin"), gen_tcp:close(C) end),
{ok, C} = gen_tcp:connect("localhost", Port, [binary, {active, false}]), {ok, Said} = gen_tcp:recv(C, 0),
<<16#e2>> = unicode:characters_to_binary([16#e2], unicode, latin1),
<<"gratin">> = zlib:uncompress(zlib:compress(<<"gratin">>)),
{match, _} = re:run("gratin", "^gr(a)tin$"), E = ets:new(t, []), ets:insert(E, {a, 1}),
io:format("~s ~p~n", [Said, lists:sum([X * X || X <- lists:seq(1, 4)])]), halt().
"""
    env = {"HOME": "/tmp"}
    assert box.run("/usr/bin/erl", "-noshell", "-eval", program, env=env) == "gratin 30\n"


def sbcl(box: Box) -> None:
    program = """(require :sb-bsd-sockets) (require :sb-posix)
      (let ((x (sb-thread:join-thread (sb-thread:make-thread (lambda () (* 6 7))))))
        (format t "~a ~a ~a~%" x (string-upcase "gratin") (length (sb-ext:string-to-octets "gr\u00e2tin" :external-format :latin-1))))
      (compile nil '(lambda (a) (+ a 1)))
      (sb-ext:exit)"""
    env = {"HOME": "/tmp", "LANG": "C.UTF-8"}
    assert (
        box.start("--noinform", "--non-interactive", "--eval", f"(progn {program})", env=env, status=None)
        or True
    )
    box.write("/srv/app.lisp", program)
    assert box.start("--script", "/srv/app.lisp", env=env) == "42 GRATIN 6\n"


def swi_prolog(box: Box) -> None:
    box.write(
        "/srv/app.pl",
        """
:- use_module(library(lists)). :- use_module(library(dcg/basics)). :- use_module(library(readutil)).
:- use_module(library(clpfd)). :- use_module(library(http/json)). :- use_module(library(assoc)).
:- use_module(library(aggregate)). :- use_module(library(socket)). :- use_module(library(thread)).
main :- X #> 5, X #< 8, findall(X, label([X]), Xs), sum_list(Xs, S), format("~w~n", [S]),
    atom_json_dict('{"dish": "gratin"}', D, []), format("~w~n", [D.dish]),
    format_time(atom(T), '%Y', 0), format("~w~n", [T]),
    concurrent_maplist([A, B]>>(B is A * A), [1, 2, 3], L), format("~w~n", [L]).
:- initialization((main, halt)).
""",
    )
    assert box.run("/usr/bin/swipl", "/srv/app.pl", env={"HOME": "/tmp"}) == "13\ngratin\n1970\n[1,4,9]\n"
