"""Who may do what: users, passwords, tokens and rules."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bcrypt
import pytest
from support.ramekin_registry import MANIFEST, Direct, Reply, digest_of, image

from ramekin.errors import RamekinError, UsageError
from ramekin.registry import config as configuration
from ramekin.registry import passwords, server
from ramekin.registry.config import Config

RULES = [
    {"users": "*", "allow": ["pull"]},
    {"repositories": "team", "users": ["alice"], "allow": ["pull", "push", "delete"]},
    {"repositories": "open", "users": ["anonymous", "*"], "allow": "pull"},
]


def htpasswd(path: Path, **users: str) -> Path:
    lines = [
        f"{user}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}" for user, word in users.items()
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


ALICE, BOB = basic("alice", "wonder"), basic("bob", "builder")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Direct]:
    users = htpasswd(tmp_path / "users", alice="wonder", bob="builder")
    with Direct(tmp_path / "store", {"anonymous": [], "users": str(users), "rules": RULES}) as direct:
        for name in ("team/a", "open/b"):
            # put there beside the rules
            catalog = direct.site.catalog
            with direct.store.stage() as stage:
                stage.write(b"{}")
                stage.commit()
            catalog.link(name, digest_of(b"{}"))
            from ramekin.registry import manifests

            catalog.push(name, manifests.read(image(), MANIFEST), "v1")
        yield direct


def token(registry: Direct, authorization: str | None, *scopes: str) -> str:
    query = urlencode([("service", "ramekin"), *(("scope", scope) for scope in scopes)])
    headers = {"authorization": authorization} if authorization else {}
    reply = registry.get(f"/token?{query}", **headers)
    assert reply.status == 200, reply
    return f"Bearer {reply.json['token']}"


def test_who_has_no_name_is_told_where_to_get_a_token(registry: Direct) -> None:
    reply = registry.get("/v2/", host="registry.example:5000")
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    challenge = reply.headers["www-authenticate"]
    assert challenge == 'Bearer realm="http://registry.example:5000/token",service="ramekin"'
    reply = registry.get("/v2/team/a/manifests/v1")
    assert 'scope="repository:team/a:pull"' in reply.headers["www-authenticate"]
    reply = registry.post("/v2/team/a/blobs/uploads/")
    assert 'scope="repository:team/a:pull,push"' in reply.headers["www-authenticate"]


def test_names_and_passwords_are_taken_with_every_request(registry: Direct) -> None:
    assert registry.get("/v2/", authorization=ALICE).status == 200
    assert registry.get("/v2/team/a/manifests/v1", authorization=BOB).status == 200
    assert registry.post("/v2/team/a/blobs/uploads/", authorization=ALICE).status == 202


@pytest.mark.parametrize(
    "authorization",
    [
        basic("alice", "wrong"),
        basic("nobody", "wonder"),
        basic("", ""),
        "Basic ???",
        "Basic",
        "Digest x",
        "Bearer x",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
        basic("alice", ""),
        basic("alice", "x" * 5000),
    ],
)
def test_what_is_wrong_is_refused(registry: Direct, authorization: str) -> None:
    for path in ("/v2/", "/v2/team/a/manifests/v1", "/v2/open/b/manifests/v1"):
        reply = registry.get(path, authorization=authorization)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")


def test_rules_by_prefix_of_whole_components(registry: Direct) -> None:
    def push(name: str, who: str) -> int:
        return registry.post(f"/v2/{name}/blobs/uploads/", authorization=who).status

    assert push("team", ALICE) == push("team/a/b", ALICE) == 202
    assert push("teamwork", ALICE) == push("open/b", ALICE) == 403
    assert push("team/a", BOB) == 403
    assert registry.delete("/v2/team/a/manifests/v1", authorization=BOB).status == 403
    assert registry.delete("/v2/team/a/manifests/v1", authorization=ALICE).status == 202


def test_anonymous_pulls_only_where_a_rule_says_so(registry: Direct) -> None:
    assert registry.get("/v2/open/b/manifests/v1").status == 200
    assert registry.get("/v2/open/b/manifests/v1").status == 200
    assert registry.get("/v2/team/a/manifests/v1").status == 401
    # what one was given is not kept for those who may not have it
    assert registry.get("/v2/team/a/manifests/v1", authorization=ALICE).status == 200
    assert registry.get("/v2/team/a/manifests/v1").status == 401


def test_a_token_is_good_for_what_was_asked_and_allowed(registry: Direct) -> None:
    bearer = token(registry, ALICE, "repository:team/a:pull,push", "repository:open/b:push,pull")
    assert registry.get("/v2/", authorization=bearer).status == 200
    assert registry.get("/v2/team/a/manifests/v1", authorization=bearer).status == 200
    assert registry.post("/v2/team/a/blobs/uploads/", authorization=bearer).status == 202
    assert registry.get("/v2/open/b/manifests/v1", authorization=bearer).status == 200
    assert registry.post("/v2/open/b/blobs/uploads/", authorization=bearer).status == 403
    reply = registry.delete("/v2/team/a/manifests/v1", authorization=bearer)
    assert reply.status == 401
    assert 'scope="repository:team/a:delete"' in reply.headers["www-authenticate"]


def test_a_token_for_nobody_pulls_what_all_may(registry: Direct) -> None:
    bearer = token(registry, None, "repository:open/b:pull", "repository:team/a:pull")
    assert registry.get("/v2/open/b/manifests/v1", authorization=bearer).status == 200
    assert registry.get("/v2/team/a/manifests/v1", authorization=bearer).status == 401


def test_a_token_ends(tmp_path: Path) -> None:
    users = htpasswd(tmp_path / "users", alice="wonder")
    settings = {"anonymous": [], "users": str(users), "token": {"seconds": 4}}
    with Direct(tmp_path / "store", settings) as registry:
        bearer = token(registry, ALICE)
        assert registry.get("/v2/", authorization=bearer).status == 200
        # tokens tell time in whole seconds, so that one of a second may have ended when it comes
        time.sleep(4.1)
        reply = registry.get("/v2/", authorization=bearer)
        assert reply.status == 401
        assert 'error="invalid_token"' in reply.headers["www-authenticate"]


def test_a_token_of_another_registry_is_none(registry: Direct, tmp_path: Path) -> None:
    settings = {"anonymous": [], "users": str(tmp_path / "users")}
    with Direct(tmp_path / "other", settings) as other:
        assert registry.get("/v2/", authorization=token(other, ALICE)).status == 401


def test_a_token_is_good_at_every_worker(registry: Direct, tmp_path: Path) -> None:
    bearer = token(registry, ALICE, "repository:team/a:pull")
    settings = {"anonymous": [], "users": str(tmp_path / "users"), "rules": RULES}
    with Direct(tmp_path / "store", settings) as other:
        assert other.get("/v2/team/a/manifests/v1", authorization=bearer).status == 200


def test_the_key_of_tokens_is_for_nobody_else_to_read(registry: Direct, tmp_path: Path) -> None:
    assert (tmp_path / "store/registry/token-key").stat().st_mode & 0o777 == 0o600


def test_tokens_are_given_for_a_form_too(registry: Direct) -> None:
    form = {"grant_type": "password", "service": "ramekin", "client_id": "docker", "username": "alice"}
    scope = {"scope": "repository:team/a:pull,push"}

    def post(**fields: str) -> Reply:
        body = urlencode(form | scope | fields).encode()
        return registry.post("/token", body, content_type="application/x-www-form-urlencoded")

    bearer = f"Bearer {post(password='wonder').json['access_token']}"
    assert registry.post("/v2/team/a/blobs/uploads/", authorization=bearer).status == 202
    assert post(password="wrong").status == 401
    assert post(grant_type="refresh_token").status == 400
    assert registry.post("/token", b"x" * 100_000).status == 413


def test_a_wrong_password_gets_no_token(registry: Direct) -> None:
    assert (
        registry.get("/token?scope=repository:team/a:pull", authorization=basic("alice", "x")).status == 401
    )


def test_scopes_that_are_none_are_given_nothing(registry: Direct) -> None:
    for scope in (
        "",
        "x",
        "repository::pull",
        "repository:../..:pull",
        "repository:" + "a" * 500 + ":pull",
        "::" * 50,
    ):
        bearer = token(registry, ALICE, scope)
        assert registry.get("/v2/team/a/manifests/v1", authorization=bearer).status == 401


def test_a_user_who_is_taken_from_the_file_is_out(registry: Direct, tmp_path: Path) -> None:
    bearer = token(registry, ALICE, "repository:team/a:pull")
    assert registry.get("/v2/team/a/manifests/v1", authorization=ALICE).status == 200
    htpasswd(tmp_path / "users", bob="builder")
    time.sleep(1.1)
    assert registry.get("/v2/team/a/manifests/v1", authorization=ALICE).status == 401
    assert registry.get("/v2/team/a/manifests/v1", authorization=bearer).status == 401


def test_the_catalog_shows_what_one_may_pull(registry: Direct) -> None:
    assert registry.get("/v2/_catalog").status == 401
    assert registry.get("/v2/_catalog", authorization=BOB).json["repositories"] == ["open/b", "team/a"]
    bearer = token(registry, ALICE, "registry:catalog:*")
    assert registry.get("/v2/_catalog", authorization=bearer).json["repositories"] == ["open/b", "team/a"]
    assert registry.get("/v2/_catalog", authorization=token(registry, ALICE)).status == 401


def test_on_loopback_everybody_may_pull_and_push_but_not_delete(tmp_path: Path) -> None:
    with Direct(tmp_path, {"anonymous": []}) as registry:
        digest, _ = registry.push_image("a", "v1", b"1")
        assert registry.get("/v2/a/manifests/v1").status == 200
        reply = registry.delete(f"/v2/a/manifests/{digest}")
        assert (reply.status, reply.code) == (405, "UNSUPPORTED")


def refused(settings: dict[str, Any]) -> str:
    with pytest.raises((RamekinError, ValueError)) as caught:
        server.check(Config.model_validate(settings))
    return str(caught.value)


def test_elsewhere_nobody_without_a_name_writes(tmp_path: Path) -> None:
    assert "nobody without a name may push" in refused({"host": "0.0.0.0", "anonymous": ["pull", "push"]})
    rules = [{"users": "anonymous", "allow": "delete"}]
    assert "nobody without a name may delete" in refused({"host": "::", "rules": rules})
    assert "has no users" in refused({"host": "192.0.2.1"})
    server.check(Config.model_validate({"host": "0.0.0.0", "anonymous": "pull"}))
    with Direct(tmp_path, {"host": "0.0.0.0", "anonymous": "pull"}) as registry:
        assert registry.post("/v2/a/blobs/uploads/").status == 403
        assert registry.get("/v2/a/manifests/v1").status == 404


def test_password_files_say_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "users"
    for text, message in (
        ("alice:{SHA}abc", "users:1: the password of alice is not a bcrypt hash"),
        ("\n:x", "users:2: not a user's name"),
        ("# nobody", "has no users"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError) as caught:
            passwords.read(path)
        assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot: 5000", "c.yaml:1: prot is not a key of the configuration; did you mean port?"),
        ("port: many", "c.yaml:1: port: input should be a valid integer"),
        ("limits:\n  blob: big", "c.yaml:2: limits.blob: 'big' is not a size; write it as 500MB or 4MiB"),
        ("limits:\n  blop: 1", "c.yaml:2: limits.blop is not a key of the configuration; did you mean blob?"),
        ("rules:\n- users: a", "c.yaml:2: rules[0].allow is missing"),
        ("rules:\n- users: a\n  allow: fly", "c.yaml:3: rules[0].allow: input should be 'pull', 'push'"),
        ("cleaning: {grace: soon}", "c.yaml:1: cleaning.grace: 'soon' is not a time"),
        ("rules: [{users: alice, allow: pull}]", "c.yaml:1: the file: the rules name users"),
        ("- 1", "c.yaml:1: the file"),
        ("on-demand: {nabled: true}", "did you mean enabled?"),
    ],
)
def test_configurations_say_what_is_wrong_and_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        configuration.read(path)
    assert message in caught.value.message


def test_configurations_are_read_with_units(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "users: passwords\nlimits: {blob: 2GB, manifest: 8MiB, body-seconds: 5m}\n"
        "cleaning: {every: never, untagged: 30d, made-size: 50GB}\nanonymous: pull\n"
    )
    config = configuration.read(path)
    assert config.users == str(tmp_path / "passwords")
    assert (config.limits.blob, config.limits.manifest, config.limits.body_seconds) == (
        2 * 10**9,
        8 << 20,
        300,
    )
    assert (config.cleaning.every, config.cleaning.untagged) == (None, 30 * 86400)
    assert config.anonymous == ("pull",)
    assert configuration.changed(config, port=7000).port == 7000
    with pytest.raises(UsageError):
        configuration.changed(config, port=70_000)


def test_metrics_are_for_those_with_the_right(tmp_path: Path) -> None:
    users = htpasswd(tmp_path / "users", alice="wonder", bob="builder")
    rules = [{"users": "*", "allow": "pull"}, {"users": "bob", "allow": "metrics"}]
    settings: dict[str, Any] = {"anonymous": [], "users": str(users), "rules": rules}
    with Direct(tmp_path / "store", settings) as registry:
        reply = registry.get("/metrics")
        assert (reply.status, reply.headers["www-authenticate"]) == (401, 'Basic realm="ramekin"')
        assert registry.get("/metrics", authorization=basic("bob", "wrong")).status == 401
        assert registry.get("/metrics", authorization=ALICE).status == 403
        assert b"ramekin_requests" in registry.get("/metrics", authorization=BOB).body


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"anonymous": []}, 200),
        ({"host": "192.0.2.1", "anonymous": "pull"}, 403),
        ({"host": "192.0.2.1", "anonymous": ["pull", "metrics"]}, 200),
    ],
)
def test_metrics_are_open_on_loopback_or_when_they_are_said_to_be(
    tmp_path: Path, settings: dict[str, Any], status: int
) -> None:
    with Direct(tmp_path / "store", settings) as registry:
        assert registry.get("/metrics").status == status
