"""Databases keep what they are given; clients talk to a server that the check plays, or to a file."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.dialogue import ask, fetch
from support.fleet import Box, free_port, ports, until


def redis_server(box: Box) -> None:
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--appendonly", "yes"]
    with box.serve("/usr/bin/redis-server", *options, port=port):
        assert ask(port, b"SET dish gratin\r\n", b"\r\n") == b"+OK\r\n"
        assert ask(port, b"GET dish\r\n", b"gratin\r\n") == b"$6\r\ngratin\r\n"
        assert ask(port, b"EVAL 'return cjson.encode({6*7})' 0\r\n", b"]\r\n") == b"$4\r\n[42]\r\n"
        assert ask(port, b"SAVE\r\n", b"\r\n") == b"+OK\r\n", "its working directory can be written"
        assert b"mem_allocator:jemalloc" in ask(port, b"INFO memory\r\n", b"lazyfreed_objects")


def postgresql_15(box: Box) -> None:
    port = free_port()
    programs, cluster = "/usr/lib/postgresql/15/bin", "/var/lib/postgresql/15/main"
    options = ["--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
    box.run(f"{programs}/initdb", "-D", cluster, *options, user="postgres")
    server = [f"{programs}/postgres", "-D", cluster, "-p", str(port), "-h", "127.0.0.1", "-c", "fsync=off"]
    with box.serve(*server, port=port, user="postgres") as running:
        query = """
            create extension pgcrypto;
            create table dish (name text, since timestamptz, more jsonb);
            insert into dish values ('gratin', '2024-07-01 12:00 Europe/Berlin', '{"cheese": true}');
            create function twice(n int) returns int language plpgsql as 'begin return 2 * n; end';
            select upper(name), since at time zone 'UTC', twice(21), more->>'cheese',
                to_tsvector('english', 'baked dishes'), encode(digest('', 'sha1'), 'hex') from dish;
            select xpath('/a/text()', '<a>gratin</a>'::xml);
        """
        answer = box.run(
            *(f"{programs}/psql", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-qAt", "-c", query),
            user="postgres",
        )
        first, second = answer.splitlines()
        assert first.startswith("GRATIN|2024-07-01 10:00:00|42|true|'bake':1 'dish':2|da39a3ee"), (
            running.output
        )
        assert second == "{gratin}"
        dump = box.run(
            f"{programs}/pg_dump", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", user="postgres"
        )
        assert "CREATE TABLE public.dish" in dump


def mariadb_server(box: Box) -> None:
    port = free_port()
    box.folder_for("/var/lib/mysql", "mysql")
    box.folder_for("/run/mysqld", "mysql")
    options = ["--user=mysql", "--datadir=/var/lib/mysql"]
    box.run(
        *(
            "/usr/bin/mariadb-install-db",
            *options,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ),
        user="root",
        timeout=180,
    )
    server = ["/usr/sbin/mariadbd", *options, f"--port={port}", "--bind-address=127.0.0.1"]
    with box.serve(*server, "--innodb-buffer-pool-size=16M", port=port, user="root") as running:
        query = """
            create database kitchen; use kitchen;
            create table dish (name varchar(20) character set utf8mb4, made datetime) engine=innodb;
            insert into dish values ('gratin', '2024-07-01'), ('crêpe', '2024-07-02');
            select upper(name), sha1(''), json_value('{"a": 42}', '$.a') from dish order by made;
        """
        client = ["/usr/bin/mariadb", "-h", "127.0.0.1", "-P", str(port), "-u", "root", "-N"]
        answer = box.run(*client, "--default-character-set=utf8mb4", "-e", query)
        digest = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
        assert answer == f"GRATIN\t{digest}\t42\nCRÊPE\t{digest}\t42\n", running.output


def sqlite3(box: Box) -> None:
    query = "create table t(a); insert into t values (6), (7); select group_concat(a, ' x ') from t;"
    assert box.start(":memory:", query) == "6 x 7\n"
    box.write("/tmp/dishes.csv", "name,price\ngratin,7\nleek,3\n")
    script = ".mode csv\n.import /tmp/dishes.csv dish\n.mode json\nselect * from dish order by price;\n"
    answer = box.start("/tmp/dishes.db", stdin=script)
    assert json.loads(answer) == [{"name": "leek", "price": "3"}, {"name": "gratin", "price": "7"}]
    assert box.start("/tmp/dishes.db", "select count(*) from dish") == "2\n"


def etcd(box: Box) -> None:
    client, peer = ports(2)
    urls = [
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
    ]
    urls += [
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
    ]
    cluster = [f"--initial-cluster=default=http://127.0.0.1:{peer}", "--data-dir=/tmp/etcd"]

    def code(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    with box.serve("/usr/bin/etcd", *urls, *cluster, port=client) as server:
        base = f"http://127.0.0.1:{client}/v3/kv"
        put = json.dumps({"key": code("dish"), "value": code("gratin")}).encode()
        until(lambda: fetch(f"{base}/put", put).status == 200, running=server)
        found = fetch(f"{base}/range", json.dumps({"key": code("dish")}).encode()).data
        assert found["kvs"][0]["value"] == code("gratin")  # type: ignore[index]


def influxdb(box: Box) -> None:
    port, rpc = ports(2)
    box.write(
        "/etc/influxdb/influxdb.conf",
        f"""
bind-address = "127.0.0.1:{rpc}"
reporting-disabled = true
[meta]
  dir = "/tmp/influxdb/meta"
[data]
  dir = "/tmp/influxdb/data"
  wal-dir = "/tmp/influxdb/wal"
[http]
  bind-address = "127.0.0.1:{port}"
""",
    )
    with box.serve("/usr/bin/influxd", "run", "-config", "/etc/influxdb/influxdb.conf", port=port) as server:
        base = f"http://127.0.0.1:{port}"
        until(lambda: fetch(f"{base}/query?q=create+database+kitchen", b"").status == 200, running=server)
        assert (
            fetch(f"{base}/write?db=kitchen", b"oven,room=north heat=220 1700000000000000000").status == 204
        )
        found = fetch(f"{base}/query?db=kitchen&q=select+heat+from+oven").data
        assert found["results"][0]["series"][0]["values"][0][1] == 220  # type: ignore[index]


def slapd(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/ldap/slapd.conf",
        """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=test"
rootdn "cn=cook,dc=example,dc=test"
rootpw leek
directory /var/lib/ldap
""",
    )
    box.folder_for("/var/lib/ldap")
    entries = """\
dn: dc=example,dc=test
objectClass: dcObject
objectClass: organization
dc: example
o: Kitchen

dn: uid=gratin,dc=example,dc=test
objectClass: account
uid: gratin
"""
    url = f"ldap://127.0.0.1:{port}"
    command = ["/usr/sbin/slapd", "-f", "/etc/ldap/slapd.conf", "-h", url, "-d", "0"]
    with box.serve(*command, port=port):
        who = ["-x", "-H", url, "-D", "cn=cook,dc=example,dc=test", "-w", "leek"]
        box.run("/usr/bin/ldapadd", *who, stdin=entries)
        found = box.run("/usr/bin/ldapsearch", *who, "-LLL", "-b", "dc=example,dc=test", "(uid=gratin)")
        assert "objectClass: account" in found
        mechanisms = box.run("/usr/bin/ldapsearch", "-x", "-H", url, "-LLL", "-b", "", "-s", "base", "+")
        assert "supportedLDAPVersion: 3" in mechanisms


@contextmanager
def _player(play: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that plays its part with one client; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        failures: list[BaseException] = []

        def serve() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(20)
                    play(connection)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
        if failures:
            raise failures[0]


def redis_tools(box: Box) -> None:
    def play(client: socket.socket) -> None:
        heard = b""
        while b"dish" not in heard:
            part = client.recv(4096)
            assert part, heard
            heard += part
            if b"COMMAND" in heard.upper():
                client.sendall(b"*0\r\n")
                heard = b""
        client.sendall(b"$6\r\ngratin\r\n")

    with _player(play) as port:
        assert box.run("/usr/bin/redis-cli", "-h", "localhost", "-p", str(port), "GET", "dish") == "gratin\n"
    box.run("/usr/bin/redis-benchmark", "--help", status=None)


def postgresql_client(box: Box) -> None:
    def message(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack(">I", len(body) + 4) + body

    def play(client: socket.socket) -> None:
        # PostgreSQL's protocol, 55.2: no TLS, no password, one row
        assert client.recv(8) == struct.pack(">II", 8, 80877103)
        client.sendall(b"N")
        assert b"user\0cook\0" in client.recv(4096)
        status = message(b"S", b"client_encoding\0UTF8\0") + message(b"S", b"server_version\x0015.0\0")
        client.sendall(message(b"R", struct.pack(">I", 0)) + status + message(b"Z", b"I"))
        assert b"select" in client.recv(4096)
        column = b"dish\0" + struct.pack(">IhIhih", 0, 0, 25, -1, -1, 0)
        row = struct.pack(">hI", 1, 6) + b"gratin"
        parts = [
            message(b"T", struct.pack(">h", 1) + column),
            message(b"D", row),
            message(b"C", b"SELECT 1\0"),
        ]
        client.sendall(b"".join([*parts, message(b"Z", b"I")]))
        client.recv(10)

    with _player(play) as port:
        address = f"postgresql://cook@127.0.0.1:{port}/kitchen?gssencmode=disable"
        answer = box.run("/usr/lib/postgresql/15/bin/psql", address, "-qAt", "-c", "select dish")
        assert answer == "gratin\n"
    assert "--format" in box.run("/usr/lib/postgresql/15/bin/pg_dump", "--help")


def mariadb_client(box: Box) -> None:
    def packet(number: int, body: bytes) -> bytes:
        return struct.pack("<I", len(body))[:3] + bytes((number,)) + body

    def text(word: bytes) -> bytes:
        return bytes((len(word),)) + word

    done = b"\0\0\0\2\0\0\0"

    def play(client: socket.socket) -> None:
        # MySQL's protocol, version 10: greeting, any password, one row for every query
        capabilities = 0x0008A205
        greeting = b"\x0a10.11.0-MariaDB\0" + struct.pack("<I", 7) + b"abcdefgh\0"
        greeting += (
            struct.pack("<H", capabilities & 0xFFFF) + b"\x2d\2\0" + struct.pack("<H", capabilities >> 16)
        )
        greeting += b"\x15" + b"\0" * 10 + b"ijklmnopqrst\0" + b"mysql_native_password\0"
        client.sendall(packet(0, greeting))
        assert b"cook" in client.recv(4096)
        client.sendall(packet(2, done))
        while asked := client.recv(4096):
            if asked[4:5] != b"\3":
                return
            name = b"".join(map(text, (b"def", b"", b"", b"", b"dish", b"dish")))
            column = name + b"\x0c" + struct.pack("<HIBHBH", 45, 80, 253, 0, 0, 0)
            end = b"\xfe\0\0\2\0"
            rows = [b"\1", column, end, text(b"gratin"), end]
            client.sendall(b"".join(packet(n + 1, row) for n, row in enumerate(rows)))

    with _player(play) as port:
        options = ["-h", "127.0.0.1", "-P", str(port), "-u", "cook", "-N", "-B", "--skip-ssl"]
        assert box.run("/usr/bin/mariadb", *options, "-e", "select dish") == "gratin\n"
    assert "--single-transaction" in box.run("/usr/bin/mariadb-dump", "--help")
