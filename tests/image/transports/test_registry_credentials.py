"""Credentials come from where Docker's and Podman's clients keep them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from ramekin.errors import FormatError, RamekinError
from ramekin.image.transports import authorization, credentials
from ramekin.image.transports.credentials import Credentials

HOST = "r.example:5000"


def encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def put(path: Path, **content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def helper(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential helper on PATH."""
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_nobody_is_known_at_first() -> None:
    assert credentials.find(HOST, "a/b") is None


def test_dockers_file_is_read(home: Path) -> None:
    put(home / ".docker/config.json", auths={HOST: {"auth": encoded("me", "se:cret")}})
    assert credentials.find(HOST, "a/b") == Credentials("me", "se:cret")
    assert credentials.find("other.example", "a/b") is None


def test_docker_config_names_another_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(home / ".docker/config.json", auths={HOST: {"auth": encoded("me", "old")}})
    put(tmp_path / "d/config.json", auths={HOST: {"auth": encoded("me", "new")}})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "d"))
    assert credentials.find(HOST, "a") == Credentials("me", "new")


def test_podmans_files_come_first(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / ".docker/config.json", auths={HOST: {"auth": encoded("me", "docker")}})
    put(home / ".config/containers/auth.json", auths={HOST: {"auth": encoded("me", "config")}})
    assert credentials.find(HOST, "a") == Credentials("me", "config")
    put(tmp_path / "run/containers/auth.json", auths={HOST: {"auth": encoded("me", "run")}})
    assert credentials.find(HOST, "a") == Credentials("me", "run")
    put(tmp_path / "mine.json", auths={HOST: {"auth": encoded("me", "mine")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "mine.json"))
    assert credentials.find(HOST, "a") == Credentials("me", "mine")


def test_the_longest_part_of_the_name_wins(home: Path) -> None:
    auths = {
        HOST: {"auth": encoded("all", "1")},
        f"{HOST}/team": {"auth": encoded("team", "2")},
        f"{HOST}/team/web": {"auth": encoded("web", "3")},
    }
    put(home / ".config/containers/auth.json", auths=auths)
    users = [credentials.find(HOST, name) for name in ("x", "team/x", "team/web", "teams/web")]
    assert [user.username if user else None for user in users] == ["all", "team", "web", "all"]


@pytest.mark.parametrize(
    "key", [f"https://{HOST}", f"http://{HOST}/", f"https://{HOST}/v1/", f"https://{HOST}/v2/"]
)
def test_old_forms_of_a_registrys_name_are_known(home: Path, key: str) -> None:
    put(home / ".docker/config.json", auths={key: {"auth": encoded("me", "x")}})
    assert credentials.find(HOST, "a") == Credentials("me", "x")


def test_identity_tokens_are_read(home: Path) -> None:
    put(home / ".docker/config.json", auths={HOST: {"auth": encoded("me", ""), "identitytoken": "long"}})
    found = credentials.find(HOST, "a")
    assert found is not None
    assert found.identity_token == "long"


def test_a_helper_for_all_registries(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""test "$1" = get || exit 9
test "$(cat)" = {HOST} || {{ echo "credentials not found in native keychain"; exit 1; }}
echo '{{"ServerURL":"{HOST}","Username":"me","Secret":"kept"}}'"""
    helper(tmp_path / "bin", "safe", script, monkeypatch)
    put(home / ".docker/config.json", credsStore="safe", auths={HOST: {}})
    assert credentials.find(HOST, "a") == Credentials("me", "kept")
    assert credentials.find("other.example", "a") is None


def test_a_helper_for_one_registry_comes_before_the_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path / "bin", "cloud", """echo '{"Username":"<token>","Secret":"id"}'""", monkeypatch)
    put(home / ".docker/config.json", credHelpers={HOST: "cloud"}, auths={HOST: {"auth": encoded("me", "x")}})
    assert credentials.find(HOST, "a") == Credentials(identity_token="id")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo the vault is closed; exit 1", "vault is closed"),
        ("echo >&2 no display; exit 3", "no display"),
        ("echo not json", "not valid"),
    ],
)
def test_a_helper_that_fails_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    helper(tmp_path / "bin", "bad", script, monkeypatch)
    put(home / ".docker/config.json", credsStore="bad")
    with pytest.raises(RamekinError, match=f"docker-credential-bad.*{message}"):
        credentials.find(HOST, "a")


def test_a_helper_that_is_not_installed_is_named(home: Path) -> None:
    put(home / ".docker/config.json", credsStore="missing")
    with pytest.raises(RamekinError, match="docker-credential-missing"):
        credentials.find(HOST, "a")


@pytest.mark.parametrize("name", ["../evil", "a b", "-x", ""])
def test_a_helper_is_a_plain_name(home: Path, name: str) -> None:
    put(home / ".docker/config.json", credHelpers={HOST: name})
    if name:
        with pytest.raises(FormatError):
            credentials.find(HOST, "a")
    else:
        assert credentials.find(HOST, "a") is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"auths":{"r.example:5000":{"auth":"###"}}}',
        '{"auths":{"r.example:5000":{"auth":"bWU="}}}',
    ],
)
def test_a_broken_file_is_named(home: Path, text: str) -> None:
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(text)
    with pytest.raises(FormatError, match=r"config\.json"):
        credentials.find(HOST, "a")


def test_secrets_are_not_in_what_is_printed() -> None:
    who = Credentials("me", "password", "identity", "bearer")
    assert repr(who) == "Credentials(username='me')"


def test_challenges_are_taken_apart() -> None:
    text = (
        'Bearer realm="https://auth.example/token",service="r, example",scope="a:b:pull,push", '
        'Basic realm="x \\"y\\""'
    )
    bearer, basic = authorization.challenges(text)
    assert bearer.scheme == "bearer"
    assert bearer.parameters == {
        "realm": "https://auth.example/token",
        "service": "r, example",
        "scope": "a:b:pull,push",
    }
    assert (basic.scheme, basic.parameters) == ("basic", {"realm": 'x "y"'})
    assert [one.scheme for one in authorization.challenges("Negotiate, Basic realm=x")] == [
        "negotiate",
        "basic",
    ]
    assert authorization.challenges("") == ()
