"""Requests for packages of several kinds of sources, and what of them decides an image."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from support.archive import SigningKey
from support.kitchen import SUITE, Kitchen

from ramekin import yaml_source
from ramekin.build import fields, lock, selection, spec
from ramekin.build.request import Choices, ImageRequest, NixChoices, as_data, bare_name, fold, split_kind
from ramekin.errors import UsageError

PATH = "/nix/store/0c0pmm1rkqlx4x2f3p7hsnd7q1p8lwmq-redis-7.2.4-man"
KEY = "cache.example-1:" + "A" * 43 + "="


def request(*packages: str, source: str | None = None, nix: NixChoices | None = None) -> ImageRequest:
    return fold("x", (Choices(packages=packages, source=source, nix=nix),), where="x")


@pytest.mark.parametrize(
    ("text", "kind", "bare"),
    [
        ("redis", "", "redis"),
        ("gcc:arm64", "", "gcc"),
        ("redis=7.0", "", "redis"),
        ("redis/sid", "", "redis"),
        ("nix:redis", "nix", "redis"),
        ("nix:openssl^dev,out", "nix", "openssl"),
        ("debian:redis/sid", "debian", "redis"),
        (PATH, "nix", "redis"),
        (PATH.removeprefix("/nix/store/"), "", "redis"),
        ("nixpkgs#python3Packages.requests", "nix", "requests"),
        ("nix:github:owner/flake/abc#x.y", "nix", "y"),
    ],
)
def test_a_request_says_its_kind_and_its_name(text: str, kind: str, bare: str) -> None:
    assert fields.package(text, where="x") == text
    assert split_kind(text)[0] == kind
    assert bare_name(text) == bare


@pytest.mark.parametrize("text", ["nix:", "nix:a b", "nix:-x", "a:b:c", "", "re dis", "debian:a b"])
def test_what_is_no_package_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a package"):
        fields.package(text, where="x")


@pytest.mark.parametrize(
    ("packages", "source", "is_of", "asked"),
    [
        (("a", "b"), None, "debian", {"debian": ("a", "b")}),
        (("nix:a", "nix:b"), None, "nix", {"nix": ("a", "b")}),
        (("nix:a", "b"), None, "debian", {"nix": ("a",), "debian": ("b",)}),
        (("a", "debian:b"), "nix:/c", "nix:/c", {"nix": ("a",), "debian": ("b",)}),
        (("debian:a",), "debian:sid", "debian:sid", {"debian": ("a",)}),
        ((PATH, "b"), "debian:sid", "debian:sid", {"nix": (PATH,), "debian": ("b",)}),
    ],
)
def test_an_image_is_of_the_kind_that_its_packages_are_of(
    packages: tuple[str, ...], source: str | None, is_of: str, asked: dict[str, tuple[str, ...]]
) -> None:
    made = request(*packages, source=source)
    assert (made.source, made.by_kind()) == (is_of, asked)


def test_the_same_package_in_two_spellings_is_one() -> None:
    assert request("nix:a", "a", source="nix").packages == ("a",)


def test_places_say_what_others_leave_open() -> None:
    image = NixChoices(caches=("/a",), essentials="own")
    defaults = NixChoices(caches=("/b",), channel="/c", essentials="nixpkgs", database=True)
    made = fold("x", (Choices(packages=("nix:a",), nix=image), Choices(nix=defaults)), where="x")
    assert made.nix == NixChoices(caches=("/a", "/b"), channel="/c", essentials="own", database=True)


def test_what_says_nothing_of_nix_is_found_under_the_keys_that_it_had() -> None:
    assert "nix" not in as_data(request("a"))
    assert "nix" in as_data(request("a", nix=NixChoices(database=True)))
    assert msgspec.json.encode(as_data(request("a")), order="deterministic").startswith(b'{"architectures":')


def test_the_essentials_of_an_image_bind_its_lock() -> None:
    own = request("nix:a")
    locked = lock.image(own, {})
    nixpkgs = request("nix:a", nix=NixChoices(essentials="nixpkgs"))
    assert lock.disagreements(nixpkgs, locked)[0] == "essentials are nixpkgs, locked are own"
    # where bytes come from does not
    elsewhere = request("nix:a", nix=NixChoices(caches=("/a",), channel="/b"))
    assert not [text for text in lock.disagreements(elsewhere, locked) if "architecture" not in text]


def test_a_store_path_is_a_package_and_no_spec_file() -> None:
    assert not selection.is_spec(PATH)
    assert selection.is_spec("/srv/ramekin.yaml")


def read(text: str, folder: Path) -> spec.Spec:
    return spec.of(yaml_source.parse(text.encode(), folder / "ramekin.yaml"))


def test_folders_in_a_spec_are_found_from_it_and_urls_are_not(tmp_path: Path) -> None:
    made = read(
        f"""
sources: {{nix: {{caches: [cache, 'https://a.example'], channel: channel, trusted-keys: '{KEY}'}}}}
images: {{x: {{source: nix:more, packages: redis}}}}
""",
        tmp_path,
    ).requests()[0]
    assert made.source == f"nix:{tmp_path}/more"
    assert made.nix == NixChoices(
        caches=(f"{tmp_path}/cache", "https://a.example"), channel=f"{tmp_path}/channel", trusted_keys=(KEY,)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trusted-keys: cache", "sources.nix.trusted-keys"),
        ("trusted-keys: 'a:AAAA'", "is not a public key"),
        ("essentials: nixpgks", "nixpkgs"),
        ("cache: x", "is not a key of"),
        ("links: maybe", "true or false"),
    ],
)
def test_a_spec_that_is_wrong_says_where(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(f"sources: {{nix: {{{text}}}}}\nimages: {{x: {{packages: a}}}}\n", tmp_path)
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert "ramekin.yaml:1" in caught.value.message


def test_builds_of_debian_packages_load_nothing_of_nix(tmp_path: Path, signing_key: SigningKey) -> None:
    (tmp_path / "kitchen").mkdir()
    kitchen = Kitchen.open(tmp_path / "kitchen", signing_key)
    words = ["build", "gratin", "--source", f"debian:{SUITE}", "--arch", "amd64", "-o", f"oci:{tmp_path}/x"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ramekin", *words, "--store", str(tmp_path / "store")],
        env={**os.environ, **kitchen.env()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ramekin.build.compose" in loaded
    assert not {name for name in loaded if name.startswith("ramekin.sources.nix")}
    assert not {"ramekin.build.storepaths", "ramekin.closure.storepaths.scan", "brotli"} & loaded
