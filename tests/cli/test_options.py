"""Every option of `build` has its key in a spec, and both say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from cyclopts import App, Parameter

from ramekin import yaml_source
from ramekin.build import spec
from ramekin.build.request import Choices, fold
from ramekin.cli.build import build
from ramekin.cli.main import _imply, app
from ramekin.cli.options import ImageOptions
from ramekin.errors import UsageError

SAID = {
    "output": (["-o", "oci-archive:x.tar"], "oci-archive:x.tar"),
    "tag": (["--tag", "team/web:1.0"], "team/web:1.0"),
    "source": (["--source", "debian:trixie"], "debian:trixie"),
    "arch": (["--arch", "amd64,arm64", "--arch", "armhf"], "[amd64, arm64, armhf]"),
    "keep": (["--keep", "docs", "--keep", "man"], "[docs, man]"),
    "drop": (["--drop", "gconv"], "gconv"),
    "leave-out": (["--leave-out", "tzdata"], "[tzdata]"),
    "recommends": (["--recommends"], "true"),
    "closure": (["--closure", "files"], "files"),
    "strict": (["--strict"], "yes"),
    "entrypoint": (["--entrypoint", "nginx -g 'daemon off;'"], "[nginx, -g, daemon off;]"),
    "cmd": (["--cmd", ""], "[]"),
    "env": (["--env", "A=1=2", "-e", "B="], "{A: 1=2, B: ''}"),
    "user": (["--user", "33:33"], "33:33"),
    "workdir": (["--workdir", "/srv/"], "/srv"),
    "expose": (["--expose", "80", "--expose", "53/udp"], "[80, 53/udp]"),
    "volume": (["--volume", "/data", "--volume", "/logs"], "[/data, /logs]"),
    "label": (["--label", "a.b=c", "--label", "d=e"], "[a.b=c, d=e]"),
    "compress": (["--compress", "zstd:19"], "zstd:19"),
    "layers": (["--layers", "20"], "20"),
    "sbom": (["--sbom"], "true"),
}


KEY = "cache.example-1:" + "A" * 43 + "="

NIX = {
    "nix-cache": (["--nix-cache", "https://cache.example"], "caches: https://cache.example"),
    "nix-key": (["--nix-key", KEY], f"trusted-keys: ['{KEY}']"),
    "nix-channel": (["--nix-channel", "/srv/channel"], "channel: /srv/channel"),
    "nix-essentials": (["--nix-essentials", "nixpkgs"], "essentials: nixpkgs"),
    "nix-links": (["--no-nix-links"], "links: false"),
    "nix-database": (["--nix-database"], "database: true"),
}
"""Options that have their keys below `sources: nix:`."""


def by_options(*words: str) -> Choices:
    """What a command line says."""
    _, bound, _ = app.parse_args(["build", "nginx", *_imply(words)], exit_on_error=False, print_error=False)
    options = bound.kwargs.get("image", ImageOptions())
    assert isinstance(options, ImageOptions)
    return options.choices()


def by_spec(text: str) -> Choices:
    """What a spec's only image says."""
    raw = f"images:\n  nginx:\n    packages: nginx\n{text}"
    return spec.of(yaml_source.parse(raw.encode(), Path("ramekin.yaml"))).images["nginx"]


@pytest.mark.parametrize("key", SAID)
def test_an_option_and_its_key_make_the_same_request(key: str) -> None:
    words, text = SAID[key]
    packages = Choices(packages=("nginx",))
    optional = fold("nginx", (by_options(*words), packages), where="build")
    assert optional == fold("nginx", (by_spec(f"    {key}: {text}\n"),), where="build")
    assert optional != fold("nginx", (packages,), where="build")


@pytest.mark.parametrize("option", NIX)
def test_an_option_of_nix_and_its_key_make_the_same_request(option: str) -> None:
    words, text = NIX[option]
    packages = Choices(packages=("nginx",))
    said = fold("nginx", (by_options(*words), packages), where="build")
    keys = by_spec(f"    sources: {{nix: {{{text}}}}}\n")
    assert said == fold("nginx", (keys,), where="build")
    assert said != fold("nginx", (packages,), where="build")


def test_all_options_at_once_and_all_keys_at_once_make_the_same_request() -> None:
    words = [word for said, _ in SAID.values() for word in said]
    keys = "".join(f"    {key}: {text}\n" for key, (_, text) in SAID.items())
    packages = Choices(packages=("nginx",))
    assert fold("nginx", (by_options(*words), packages), where="b") == fold(
        "nginx", (by_spec(keys),), where="b"
    )


def test_no_option_of_an_image_is_without_its_key() -> None:
    keys = {info.alias for info in spec.ImageSpec.model_fields.values()}
    assert keys - set(SAID) == {"packages", "mirrors", "sources"}
    assert {name.replace("_", "-") for name in ImageOptions.__dataclass_fields__} == {*SAID, *NIX}
    assert len(spec.NixSpec.model_fields) == len(NIX)


def test_the_other_options_of_build_are_keys_of_the_file_or_of_one_run() -> None:
    keys = {info.alias for info in spec.SpecFile.model_fields.values()}
    arguments = App(default_parameter=Parameter(negative=()))
    arguments.default(build)
    names = {name for argument in arguments.assemble_argument_collection() for name in argument.names}
    options = {name.removeprefix("--") for name in names if name.startswith("--") and name[2:5] != "no-"}
    assert options - set(SAID) - set(NIX) - keys == {"refresh", "json"}


def test_a_negative_option_overrides_a_spec() -> None:
    said = by_options("--no-strict", "--no-recommends")
    made = fold("nginx", (said, by_spec("    strict: true\n    recommends: true\n")), where="build")
    assert (made.strict, made.recommends) == (False, False)


@pytest.mark.parametrize(
    ("words", "implied"),
    [
        (["--sbom"], ["--sbom=spdx"]),
        (["--sbom", "nginx"], ["--sbom=spdx", "nginx"]),
        (["--sbom", "cyclonedx"], ["--sbom", "cyclonedx"]),
        (["--sbom=spdx"], ["--sbom=spdx"]),
        (["run", "x", "--", "--sbom"], ["run", "x", "--", "--sbom"]),
    ],
)
def test_a_bill_needs_no_format(words: list[str], implied: list[str]) -> None:
    assert _imply(words) == implied


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--expose", "x"], "--expose"),
        (["--env", "A"], "--env"),
        (["--label", "=x"], "--label"),
        (["--volume", "data"], "--volume"),
        (["--workdir", "."], "--workdir"),
        (["--compress", "xz"], "--compress"),
        (["--user", ""], "--user"),
        (["--tag", "A"], "--tag"),
        (["--layers", "1"], "--layers"),
        (["--sbom=pdf"], "--sbom"),
        (["--entrypoint", "a 'b"], "--entrypoint"),
        (["--source", "Debian"], "--source"),
    ],
)
def test_a_wrong_value_names_its_option(words: list[str], option: str) -> None:
    with pytest.raises(UsageError, match=f"^{option}: "):
        by_options(*words)
