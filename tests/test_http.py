"""HTTP: what is tried again, what is believed, and where credentials go."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.fake_registry import FakeRegistry, Seen

from ramekin import http
from ramekin.errors import NetworkError, UsageError
from ramekin.http import Client, HttpError

DATA = bytes(range(256)) * 4096
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
PATH = f"/v2/a/blobs/{DIGEST}"


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.blobs["a", DIGEST] = DATA
        yield registry


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(backoff=0.01, timeout=5) as client:
        yield client


def anything(seen: Seen) -> bool:
    return True


def address(server: FakeRegistry) -> str:
    return f"http://{server.host}{PATH}"


def test_a_body_is_read_at_once_or_in_parts(server: FakeRegistry, client: Client) -> None:
    assert client.fetch(address(server)).read() == DATA
    with client.fetch(address(server)) as response:
        parts = list(response.chunks(10_000))
    assert b"".join(parts) == DATA
    assert max(map(len, parts)) <= 10_000
    assert response.headers["docker-content-digest"] == response.headers["Docker-Content-Digest"] == DIGEST


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server: FakeRegistry, client: Client, status: int) -> None:
    server.fail(anything, status=status, times=3)
    assert client.fetch(address(server)).read() == DATA
    assert len(server.seen) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_what_will_not_pass_is_not(server: FakeRegistry, client: Client, status: int) -> None:
    server.fail(anything, status=status, times=9)
    with pytest.raises(HttpError, match=str(status)) as caught:
        client.fetch(address(server))
    assert caught.value.status == status
    assert len(server.seen) == 1


def test_an_expected_status_is_an_answer(server: FakeRegistry, client: Client) -> None:
    with client.request("GET", f"http://{server.host}/nothing", allow={404}) as response:
        assert response.status == 404


def test_tries_end(server: FakeRegistry) -> None:
    server.fail(anything, status=503, times=99)
    with Client(backoff=0.01, retries=2) as client, pytest.raises(HttpError) as caught:
        client.fetch(address(server))
    assert len(server.seen) == 3
    assert caught.value.hint


def test_retry_after_is_waited_for(server: FakeRegistry, client: Client) -> None:
    server.fail(anything, status=429, headers={"Retry-After": "1"})
    start = time.monotonic()
    client.fetch(address(server)).close()
    assert 1 <= time.monotonic() - start < 20


def test_a_server_that_asks_for_an_hour_is_given_up(server: FakeRegistry, client: Client) -> None:
    server.fail(anything, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(HttpError, match="429"):
        client.fetch(address(server))


def test_a_broken_download_goes_on_where_it_stopped(server: FakeRegistry, client: Client) -> None:
    server.fail(anything, cut_after=300_000, times=2)
    assert client.fetch(address(server)).read() == DATA
    assert [seen.headers.get("Range") for seen in server.seen] == [
        None,
        "bytes=300000-",
        "bytes=600000-",
    ]


def test_a_download_that_breaks_every_time_is_an_error(server: FakeRegistry) -> None:
    server.fail(anything, cut_after=1000, times=99)
    with (
        Client(backoff=0.01, retries=2) as client,
        pytest.raises(NetworkError, match=r"ended|broken|closed|more"),
    ):
        client.fetch(address(server)).read()


def test_redirects_are_followed_but_credentials_stay(server: FakeRegistry, client: Client) -> None:
    with FakeRegistry(blob_host=f"http://{server.host}") as front:
        front.blobs["a", DIGEST] = DATA
        headers = {"Authorization": "Bearer secret", "X-Other": "1"}
        assert client.request("GET", address(front), headers=headers).read() == DATA
    assert front.seen[0].headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.seen[0].headers
    assert server.seen[0].headers["X-Other"] == "1"


def test_a_redirect_on_the_same_host_keeps_them(server: FakeRegistry, client: Client) -> None:
    server.fail(lambda seen: seen.path == "/there", status=302, headers={"Location": PATH})
    headers = {"Authorization": "Bearer secret"}
    assert client.request("GET", f"http://{server.host}/there", headers=headers).read() == DATA
    assert server.seen[1].headers["Authorization"] == "Bearer secret"


def test_redirects_end(server: FakeRegistry, client: Client) -> None:
    server.fail(anything, status=307, headers={"Location": PATH}, times=99)
    with pytest.raises(NetworkError, match="redirects"):
        client.fetch(address(server))


def test_a_redirect_to_plain_http_elsewhere_is_refused(server: FakeRegistry, client: Client) -> None:
    server.fail(anything, status=302, headers={"Location": "http://mirror.example/x"})
    with pytest.raises(NetworkError, match=r"redirected.*plain http"):
        client.fetch(address(server))


@pytest.mark.parametrize("url", ["http://r.example/", "http://192.0.2.1/", "http://localhost.example/"])
def test_plain_http_is_for_this_machine(client: Client, url: str) -> None:
    with pytest.raises(NetworkError, match="plain http") as caught:
        client.fetch(url)
    assert "--plain-http" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://127.9.9.9:1/", "http://[::1]/", "http://localhost:80/"]
)
def test_these_are_this_machine(url: str) -> None:
    assert http.is_loopback(url)


def test_other_schemes_are_wrong_use(client: Client) -> None:
    with pytest.raises(UsageError, match="http"):
        client.fetch("ftp://r.example/x")


def test_a_body_is_made_anew_for_each_try(server: FakeRegistry, client: Client) -> None:
    server.fail(anything, status=503, times=1)
    made = []

    def body() -> Iterator[bytes]:
        made.append(1)
        yield b"ab"
        yield b"cd"

    with client.request("PUT", f"http://{server.host}/x", body=body, length=4, allow={404}):
        pass
    assert len(made) == 2
    assert server.seen[1].headers["Content-Length"] == "4"
    assert "Transfer-Encoding" not in server.seen[1].headers


def test_no_server_is_a_short_error(client: Client) -> None:
    with pytest.raises(NetworkError, match="refused") as caught:
        client.fetch("http://127.0.0.1:1/secret?signature=x")
    assert "127.0.0.1:1/secret" in caught.value.message
    assert "signature" not in caught.value.message


def test_credentials_in_an_address_are_not_shown() -> None:
    assert http.shown("https://me:secret@r.example:1/a?b=c#d") == "https://r.example:1/a"


def test_proxies_of_the_environment_are_used(
    server: FakeRegistry, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "no_proxy",
        "NO_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "http_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://{server.host}")
    with (
        Client(plain_http=True, backoff=0.01) as plain,
        plain.request("GET", "http://r.example/x", allow={404}),
    ):
        pass
    assert server.seen[0].path == "http://r.example/x"
    assert client.fetch(address(server)).read() == DATA
    monkeypatch.setenv("NO_PROXY", "other.example,r.example")
    assert http._proxies("http://r.example/x") == {}
    assert http._proxies("http://sub.r.example/x") == {}
    assert http._proxies("http://example/x") == {"http": f"http://{server.host}"}


def test_certificates_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert http._certificates() is True
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert http._certificates() == str(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with pytest.raises(UsageError, match="SSL_CERT_FILE"):
        http._certificates()


def test_netrc_is_not_read(
    server: FakeRegistry, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    client.fetch(address(server)).close()
    assert "Authorization" not in server.seen[0].headers


def test_many_threads_share_a_client(server: FakeRegistry, client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: client.fetch(address(server)).read(), range(40)))
    assert found == {DATA}
    assert threading.active_count() < 60


def test_an_answer_that_is_too_large_is_refused(server: FakeRegistry, client: Client) -> None:
    with pytest.raises(NetworkError, match="more than 1000 bytes"):
        client.fetch(address(server)).read(1000)
