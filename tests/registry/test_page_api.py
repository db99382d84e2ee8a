"""The JSON that the page lives on: rights, limits and what it never does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from support.ramekin_registry import Served, serving


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry without images on demand."""
    with serving(tmp_path_factory.mktemp("api")) as served:
        served.push_image("team/app", "v1", b"one", b"two")
        yield served


def test_the_page_and_its_parts_are_small_and_strict(registry: Served) -> None:
    total = 0
    for path in ("/", "/assets/page.css", "/assets/page.js"):
        reply = registry.get(path)
        assert reply.status == 200
        total += len(reply.body)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert registry.get(path, if_none_match=reply.headers["etag"]).status == 304
    assert total <= 40_960


def test_a_report_tells_layers_and_platforms(registry: Served) -> None:
    report = registry.get("/api/report?name=team/app&tag=v1").json
    assert report["origin"] == "pushed"
    assert [layer["size"] for layer in report["platforms"][0]["layers"]] == [3, 3]
    assert registry.get("/api/repositories").json["repositories"] == [
        {"name": "team/app", "origin": "pushed"}
    ]
    assert registry.get("/api/tags?name=team/app").json["tags"] == ["v1"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("report?name=team/app&tag=none", 404),
        ("report?name=../etc&tag=v1", 400),
        ("report?name=team/app&tag=a%2Fb", 400),
        ("view?name=" + "a" * 400, 400),
        ("view?name=nothing", 404),
        ("graph?name=nothing", 404),
        ("progress?name=nothing", 404),
        ("search?q=" + "a" * 101, 400),
        ("nothing", 404),
    ],
)
def test_wrong_questions_are_refused(registry: Served, path: str, status: int) -> None:
    assert registry.get(f"/api/{path}").status == status


def test_no_other_site_can_have_a_browser_make_images(registry: Served) -> None:
    body = json.dumps({"name": "gratin"}).encode()
    assert registry.post("/api/build", body).status == 415
    assert registry.post("/api/build", b"[]", content_type="application/json").status == 400
    assert registry.post("/api/build", b" " * 5000, content_type="application/json").status == 413
    assert registry.get("/api/build").status == 405


def test_nobody_sees_what_they_may_not_pull(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:{bcrypt.hashpw(b'wonder', bcrypt.gensalt(4)).decode()}\n")
    settings: dict[str, Any] = {
        "users": str(users),
        "anonymous": [],
        "rules": [
            {"users": ["alice"], "allow": ["pull", "push"]},
            {"repositories": "open", "users": ["anonymous"], "allow": ["pull"]},
        ],
    }
    with serving(tmp_path, settings) as registry:
        registry.authorization = "Basic YWxpY2U6d29uZGVy"
        registry.push_image("team/app", "v1", b"one")
        registry.push_image("open/app", "v1", b"one")
        assert len(registry.get("/api/repositories").json["repositories"]) == 2
        registry.authorization = ""
        assert [one["name"] for one in registry.get("/api/repositories").json["repositories"]] == ["open/app"]
        refused = registry.get("/api/report?name=team/app&tag=v1")
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert registry.get("/api/report?name=open/app&tag=v1").status == 200
        assert registry.get("/").status == 200
