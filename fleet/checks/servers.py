"""Servers answer what their clients ask, by configurations as they are written every day."""

# ruff: noqa: E501, SIM117 -- programs of other languages stand in strings; a server around its clients

from __future__ import annotations

import gzip
import socket
import struct

from support.dialogue import Authority, ask, fetch, look_up, web_server
from support.fleet import Box, free_port, ports, until


def nginx(box: Box) -> None:
    plain, secure = ports(2)
    authority = Authority.found(box.folder)
    box.write("/etc/nginx/tls.crt", authority.certificate)
    box.write("/etc/nginx/tls.key", authority.key)
    box.write("/var/www/html/index.html", "<h1>gratin</h1>\n" * 100)
    box.write("/var/www/html/menu.svg", "<svg/>")
    with web_server(b"from behind\n") as behind:
        box.write(
            "/etc/nginx/sites-enabled/default",
            f"""
            server {{
                listen 127.0.0.1:{plain};
                listen 127.0.0.1:{secure} ssl;
                ssl_certificate /etc/nginx/tls.crt;
                ssl_certificate_key /etc/nginx/tls.key;
                root /var/www/html;
                gzip_min_length 10;
                location /api/ {{ proxy_pass {behind.replace("localhost", "127.0.0.1")}; }}
                location ~ ^/dish/(?<name>[a-z]+)$ {{ return 200 "$name\\n"; }}
            }}
            """,
        )
        with box.serve(port=plain):
            page = fetch(f"http://127.0.0.1:{plain}/", headers={"Accept-Encoding": "gzip"})
            assert gzip.decompress(page.body) == b"<h1>gratin</h1>\n" * 100
            assert page.headers["Server"].startswith("nginx")
            picture = fetch(f"http://127.0.0.1:{plain}/menu.svg")
            assert picture.headers["Content-Type"] == "image/svg+xml"
            assert (
                fetch(f"https://localhost:{secure}/api/x", context=authority.client).body == b"from behind\n"
            )
            assert fetch(f"http://127.0.0.1:{plain}/dish/leek").text == "leek\n"
            assert fetch(f"http://127.0.0.1:{plain}/nothing").status == 404


def apache2(box: Box) -> None:
    port = free_port()
    box.write("/etc/apache2/ports.conf", f"Listen 127.0.0.1:{port}\n")
    box.write(
        "/etc/apache2/sites-enabled/000-default.conf",
        f"""
        <VirtualHost *:{port}>
            DocumentRoot /var/www/html
            Alias /dishes /srv/dishes
            <Directory /srv/dishes>
                Require all granted
                Options +Indexes
            </Directory>
        </VirtualHost>
        """,
    )
    box.write("/var/www/html/index.html", "<h1>gratin</h1>\n" * 100)
    box.write("/srv/dishes/leek.txt", "leek\n")
    with box.serve(port=port) as server:
        page = fetch(f"http://127.0.0.1:{port}/", headers={"Accept-Encoding": "gzip"})
        assert page.status == 200, server.output
        assert gzip.decompress(page.body) == b"<h1>gratin</h1>\n" * 100
        assert page.headers["Content-Type"] == "text/html"
        assert "leek.txt" in fetch(f"http://127.0.0.1:{port}/dishes/").text
        assert fetch(f"http://127.0.0.1:{port}/nothing").status == 404
    assert "mod_ssl" in box.run("/usr/sbin/apache2", "-l") or box.path("/usr/lib/apache2/modules").is_dir()


def lighttpd(box: Box) -> None:
    port = free_port()
    settings = box.text("/etc/lighttpd/lighttpd.conf")
    box.write(
        "/etc/lighttpd/lighttpd.conf",
        settings.replace("= 80\n", f"= {port}\n") + 'server.bind = "127.0.0.1"\nserver.errorlog := ""\n',
    )
    box.write("/var/www/html/index.html", "<h1>gratin</h1>\n")
    box.write("/var/www/html/menu.svg", "<svg/>")
    with box.serve("/usr/sbin/lighttpd", "-D", "-f", "/etc/lighttpd/lighttpd.conf", port=port):
        assert fetch(f"http://127.0.0.1:{port}/").body == b"<h1>gratin</h1>\n"
        assert fetch(f"http://127.0.0.1:{port}/menu.svg").headers["Content-Type"] == "image/svg+xml"
        assert fetch(f"http://127.0.0.1:{port}/nothing").status == 404


def haproxy(box: Box) -> None:
    front, secure = ports(2)
    authority = Authority.found(box.folder)
    box.write("/etc/haproxy/tls.pem", authority.certificate + authority.key)
    box.write(
        "/etc/haproxy/dish.lua",
        "core.register_service('dish', 'http', function(a)\n"
        "a:set_status(200); a:add_header('content-length', '4'); a:start_response(); a:send('leek') end)\n",
    )
    with web_server(b"from behind\n") as behind:
        place = behind.removeprefix("http://localhost").strip("/")
        box.write(
            "/etc/haproxy/haproxy.cfg",
            f"""
global
    maxconn 100
    lua-load /etc/haproxy/dish.lua
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    errorfile 503 /etc/haproxy/errors/503.http
frontend web
    bind 127.0.0.1:{front}
    bind 127.0.0.1:{secure} ssl crt /etc/haproxy/tls.pem
    http-request use-service lua.dish if {{ path /dish }}
    http-request set-header X-Dish %[path,regsub(/,.,g)]
    use_backend nobody if {{ path_beg /nobody }}
    default_backend kitchen
backend kitchen
    compression algo gzip
    server one 127.0.0.1{place}
backend nobody
    mode http
""",
        )
        with box.serve("/usr/sbin/haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg", port=front):
            assert fetch(f"http://127.0.0.1:{front}/").body == b"from behind\n"
            assert fetch(f"https://localhost:{secure}/", context=authority.client).body == b"from behind\n"
            assert fetch(f"http://127.0.0.1:{front}/dish").body == b"leek"
            assert fetch(f"http://127.0.0.1:{front}/nobody").status == 503


def caddy(box: Box) -> None:
    port = free_port()
    box.write("/srv/index.html", "<h1>gratin</h1>\n")
    box.write("/srv/hello.html", '{{ "gratin" | upper }}\n')
    box.write(
        "/etc/caddy/Caddyfile",
        f"{{\n admin off\n auto_https off\n}}\nhttp://:{port} {{\n root * /srv\n encode gzip\n templates\n file_server\n}}\n",
    )
    with box.serve(
        "/usr/bin/caddy", "run", "--config", "/etc/caddy/Caddyfile", port=port, env={"HOME": "/tmp"}
    ):
        assert fetch(f"http://127.0.0.1:{port}/").body == b"<h1>gratin</h1>\n"
        assert fetch(f"http://127.0.0.1:{port}/hello.html").body == b"GRATIN\n"


def varnish(box: Box) -> None:
    front = free_port()
    with web_server(b"from behind\n") as behind:
        port = behind.rstrip("/").rpartition(":")[2]
        box.write(
            "/etc/varnish/default.vcl",
            f"""vcl 4.1;
            import std;
            backend default {{ .host = "127.0.0.1"; .port = "{port}"; }}
            sub vcl_deliver {{
                set resp.http.X-Dish = std.toupper("gratin");
                if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }}
            }}
            """,
        )
        command = ["/usr/sbin/varnishd", "-F", "-a", f"127.0.0.1:{front}", "-f", "/etc/varnish/default.vcl"]
        with box.serve(*command, "-s", "malloc,8m", port=front) as server:
            until(lambda: fetch(f"http://127.0.0.1:{front}/").body == b"from behind\n", running=server)
            again = fetch(f"http://127.0.0.1:{front}/")
            assert again.headers["X-Cache"] == "HIT" and again.headers["X-Dish"] == "GRATIN"


def squid(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/squid/squid.conf",
        f"http_port 127.0.0.1:{port}\nacl here dst 127.0.0.0/8\nhttp_access allow here\nhttp_access deny all\n"
        "cache_mem 8 MB\npid_filename none\ncache_effective_user proxy\nvisible_hostname pantry.example\n",
    )
    with web_server({"/dish": b"gratin\n"}) as behind, box.serve(port=port) as server:
        proxy = f"http://127.0.0.1:{port}"
        found = fetch(f"{behind}dish", proxy=proxy)
        assert found.body == b"gratin\n", server.output
        assert "squid" in found.headers["Via"]
        refused = fetch("http://192.0.2.1/", proxy=proxy)
        assert refused.status == 403 and b"Access Denied" in refused.body, refused


def tinyproxy(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/tinyproxy/tinyproxy.conf",
        f'Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nMaxClients 10\nViaProxyName "pantry"\n'
        'DefaultErrorFile "/usr/share/tinyproxy/default.html"\n',
    )
    with (
        web_server({"/dish": b"gratin\n"}) as behind,
        box.serve("/usr/bin/tinyproxy", "-d", "-c", "/etc/tinyproxy/tinyproxy.conf", port=port),
    ):
        found = fetch(f"{behind}dish", proxy=f"http://127.0.0.1:{port}")
        assert found.body == b"gratin\n" and "pantry" in found.headers["Via"]
        failed = fetch("http://127.0.0.1:1/", proxy=f"http://127.0.0.1:{port}")
        assert failed.status == 500 and b"tinyproxy" in failed.body.lower()


def stunnel4(box: Box) -> None:
    port = free_port()
    authority = Authority.found(box.folder)
    box.write("/etc/stunnel/tls.pem", authority.certificate + authority.key, mode=0o600)
    with web_server(b"from behind\n") as behind:
        box.write(
            "/etc/stunnel/stunnel.conf",
            f"foreground = yes\n[web]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:"
            f"{behind.rstrip('/').rpartition(':')[2]}\ncert = /etc/stunnel/tls.pem\n",
        )
        with box.serve("/usr/bin/stunnel4", "/etc/stunnel/stunnel.conf", port=port):
            assert fetch(f"https://localhost:{port}/", context=authority.client).body == b"from behind\n"


def memcached(box: Box) -> None:
    port = free_port()
    with box.serve("/usr/bin/memcached", "-u", "memcache", "-l", "127.0.0.1", "-p", str(port), port=port):
        assert ask(port, b"set dish 0 60 6\r\ngratin\r\n", b"\r\n") == b"STORED\r\n"
        assert ask(port, b"get dish\r\n", b"END\r\n") == b"VALUE dish 0 6\r\ngratin\r\nEND\r\n"
        assert b"STAT pid" in ask(port, b"stats\r\n", b"END\r\n")


def mosquitto(box: Box) -> None:
    port, secure = ports(2)
    authority = Authority.found(box.folder)
    box.write("/etc/mosquitto/tls.crt", authority.certificate)
    box.write("/etc/mosquitto/tls.key", authority.key, owner="mosquitto")
    box.write(
        "/etc/mosquitto/mosquitto.conf",
        f"listener {port} 127.0.0.1\nallow_anonymous true\nlistener {secure} 127.0.0.1\n"
        "certfile /etc/mosquitto/tls.crt\nkeyfile /etc/mosquitto/tls.key\n",
    )

    def packet(kind: int, body: bytes) -> bytes:
        return bytes((kind, len(body))) + body

    def text(word: str) -> bytes:
        return struct.pack(">H", len(word)) + word.encode()

    def hello(name: str) -> bytes:
        return packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text(name))

    with box.serve("/usr/sbin/mosquitto", "-c", "/etc/mosquitto/mosquitto.conf", port=port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as eater:
            eater.sendall(hello("eater"))
            assert eater.recv(4) == b"\x20\x02\x00\x00"
            eater.sendall(packet(0x82, b"\x00\x01" + text("dish/+") + b"\x00"))
            assert eater.recv(5) == b"\x90\x03\x00\x01\x00"
            plain = socket.create_connection(("localhost", secure), timeout=10)
            with authority.client.wrap_socket(plain, server_hostname="localhost") as cook:
                cook.sendall(hello("cook"))
                assert cook.recv(4) == b"\x20\x02\x00\x00"
                cook.sendall(packet(0x30, text("dish/today") + b"gratin"))
                assert b"gratin" in eater.recv(100)


def rabbitmq_server(box: Box) -> None:
    port, distribution = ports(2)
    box.write("/etc/rabbitmq/rabbitmq.conf", f"listeners.tcp.default = 127.0.0.1:{port}\n")
    env = {
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_LOGS": "-",
        "HOME": "/var/lib/rabbitmq",
    }
    with box.serve(port=port, env=env, patience=90):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"AMQP\0\0\x09\x01")
            greeting = client.recv(4096)
            assert greeting[:3] == b"\x01\x00\x00" and b"RabbitMQ" in greeting and b"PLAIN" in greeting


_ZONE = """\
$TTL 60
@ IN SOA ns.example.test. cook.example.test. 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
pantry IN A 192.0.2.7
"""


def bind9(box: Box) -> None:
    port = free_port()
    box.write("/etc/bind/db.example", _ZONE)
    box.write(
        "/etc/bind/named.conf",
        f"""options {{
            directory "/var/cache/bind"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
            recursion no; dnssec-validation no; pid-file none; session-keyfile none;
        }};
        controls {{ }};
        zone "example.test" {{ type primary; file "/etc/bind/db.example"; }};
        """,
    )
    box.folder_for("/var/cache/bind", "bind")
    with box.serve("/usr/sbin/named", "-f", "-u", "bind", "-c", "/etc/bind/named.conf") as server:
        until(lambda: look_up(port, "pantry.example.test") == [b"\xc0\x00\x02\x07"], running=server)


def unbound(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/unbound/unbound.conf",
        f"""server:
    interface: 127.0.0.1
    port: {port}
    do-daemonize: no
    use-syslog: no
    pidfile: ""
    local-zone: "example.test." static
    local-data: "pantry.example.test. A 192.0.2.7"
""",
    )
    with box.serve("/usr/sbin/unbound", "-d", "-c", "/etc/unbound/unbound.conf") as server:
        until(lambda: look_up(port, "pantry.example.test") == [b"\xc0\x00\x02\x07"], running=server)


def dnsmasq(box: Box) -> None:
    port = free_port()
    command = ["/usr/sbin/dnsmasq", "--keep-in-foreground", "--no-resolv", f"--port={port}", "--user=nonroot"]
    options = ["--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=", "--log-facility=-"]
    with box.serve(*command, *options, "--address=/leek.test/192.0.2.9") as server:
        until(lambda: look_up(port, "pantry.example") == [b"\x7f\x00\x00\x07"], running=server)
        assert look_up(port, "any.leek.test") == [b"\xc0\x00\x02\x09"]


def nsd(box: Box) -> None:
    port = free_port()
    box.write("/etc/nsd/example.zone", _ZONE)
    box.write(
        "/etc/nsd/nsd.conf",
        f"""server:
    ip-address: 127.0.0.1@{port}
    zonesdir: /etc/nsd
    pidfile: ""
    database: ""
    xfrdfile: ""
    zonelistfile: "/tmp/zone.list"
    username: nsd
remote-control:
    control-enable: no
zone:
    name: example.test
    zonefile: example.zone
""",
    )
    with box.serve("/usr/sbin/nsd", "-d", "-c", "/etc/nsd/nsd.conf") as server:
        until(lambda: look_up(port, "pantry.example.test") == [b"\xc0\x00\x02\x07"], running=server)


def chrony(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/chrony/chrony.conf",
        f"port {port}\nlocal stratum 5\nallow 127.0.0.1\nbindaddress 127.0.0.1\ncmdport 0\npidfile /tmp/pid\n"
        "driftfile /var/lib/chrony/chrony.drift\nbindcmdaddress /\nuser _chrony\n",
    )
    command = ["/usr/sbin/chronyd", "-d", "-x", "-F", "0", "-f", "/etc/chrony/chrony.conf"]

    def time_of_day() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(1)
            asker.connect(("127.0.0.1", port))
            asker.send(b"\x23" + b"\0" * 47)
            answer = asker.recv(48)
            return answer[0] & 7 == 4 and answer[1] == 5

    with box.serve(*command) as server:
        until(time_of_day, running=server)


def openssh_server(box: Box) -> None:
    port = free_port()
    box.run("/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ssh_host_ed25519_key")
    settings = box.text("/etc/ssh/sshd_config")
    box.write("/etc/ssh/sshd_config", settings + f"\nPort {port}\nListenAddress 127.0.0.1\nPidFile none\n")
    assert "usepam yes" in box.run("/usr/sbin/sshd", "-T")
    with box.serve("/usr/sbin/sshd", "-D", "-e", port=port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"SSH-2.0-Gratin_1\r\n")
            heard = b""
            while b"ssh-ed25519" not in heard:
                part = client.recv(4096)
                assert part, heard
                heard += part
            assert heard.startswith(b"SSH-2.0-OpenSSH") and b"curve25519-sha256" in heard


def prometheus(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/prometheus/prometheus.yml",
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: self\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{port}']\n",
    )
    box.folder_for("/var/lib/prometheus/metrics2", "prometheus")
    command = [
        *("/usr/bin/prometheus", "--config.file=/etc/prometheus/prometheus.yml"),
        *("--storage.tsdb.path=/var/lib/prometheus/metrics2", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    with box.serve(*command, port=port, user="prometheus") as server:

        def up() -> bool:
            found = fetch(f"http://127.0.0.1:{port}/api/v1/query?query=up").data
            results = found["data"]["result"]  # type: ignore[index]
            return bool(results) and results[0]["value"][1] == "1"

        until(up, running=server)
        assert fetch(f"http://127.0.0.1:{port}/classic/graph").status == 200


def node_exporter(box: Box) -> None:
    port = free_port()
    with box.serve("/usr/bin/prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}", port=port):
        assert "node_exporter_build_info" in fetch(f"http://127.0.0.1:{port}/metrics").text


def coturn(box: Box) -> None:
    port = free_port()
    box.write(
        "/etc/turnserver.conf",
        f"listening-port={port}\nlistening-ip=127.0.0.1\nno-tls\nno-dtls\nno-cli\nuser=cook:leek\n"
        "realm=example.test\nlt-cred-mech\nlog-file=stdout\npidfile=/tmp/pid\nuserdb=/tmp/turndb\n",
    )

    def binding() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(1)
            asker.connect(("127.0.0.1", port))
            asker.send(struct.pack(">HHI12s", 1, 0, 0x2112A442, b"gratin gratin"))
            return asker.recv(1000)[:2] == b"\x01\x01"

    with box.serve("/usr/bin/turnserver", "-c", "/etc/turnserver.conf") as server:
        until(binding, running=server)
