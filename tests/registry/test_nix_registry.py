"""Images of store paths, pulled from below `nix/`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.containers import Layout, forget, need, podman, podman_image, ramekin, run
from support.nix_world import OTHER, SYSTEM, World
from support.ramekin_registry import Served, serving

from ramekin.errors import UsageError
from ramekin.registry.names import repository
from ramekin.registry.ondemand import names
from ramekin.registry.ondemand.names import NIX, Named

HERE = "amd64" if SYSTEM == "x86_64-linux" else "arm64"
THERE = "arm64" if HERE == "amd64" else "amd64"


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("nix/redis", Named("", False, ("redis",), NIX)),
        ("nix/shell/redis/curl", Named("", True, ("curl", "redis"), NIX)),
        ("arm64/nix/nodejs_20", Named("arm64", False, ("nodejs_20",), NIX)),
        ("nix/bash_uinteractive", Named("", False, ("bashInteractive",), NIX)),
        ("nix/requests__toolbelt", Named("", False, ("requests_toolbelt",), NIX)),
        ("nix/openssl_odev", Named("", False, ("openssl^dev",), NIX)),
        ("nix/foo_n_ubar", Named("", False, ("foo_Bar",), NIX)),
        ("nix/python312_upackages.numpy", Named("", False, ("python312Packages.numpy",), NIX)),
        ("nix", Named("", False, ("nix",))),
    ],
)
def test_a_name_below_nix_asks_for_store_paths(name: str, named: Named) -> None:
    assert names.parse(name) == named
    assert repository(name) == name
    assert names.parse(named.repository) == named


@pytest.mark.parametrize(
    "name", ["nix/nix/shell/x", "shell/nix/x/shell", "nix/node__20", "nix/a_x", "nix/a_odev_"]
)
def test_names_have_one_spelling(name: str) -> None:
    with pytest.raises(UsageError):
        names.parse(name)


attributes = st.from_regex(r"[a-zA-Z0-9](?:[a-zA-Z0-9_.+^-]{0,12}[a-zA-Z0-9+])?", fullmatch=True)


@given(attributes)
def test_every_attribute_comes_back_from_its_spelling(attribute: str) -> None:
    spelled = names.spell(attribute, NIX)
    assert repository(f"nix/{spelled}") == f"nix/{spelled}"
    assert names.unspell(spelled, NIX) == attribute


# --- pulling ---------------------------------------------------------------------------------------------


def settings(world: World, **more: Any) -> dict[str, Any]:
    nix = {
        "caches": [str(world.cache("none"))],
        "trusted-keys": [world.key],
        "channel": str(world.channel),
        "shell": ["bash", "coreutils"],
        **more,
    }
    return {"on-demand": {"nix": nix}}


@pytest.fixture(scope="module")
def registry(nix_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need("skopeo")
    with serving(tmp_path_factory.mktemp("nix-registry"), settings(nix_world)) as served:
        yield served


def pull(registry: Served, name: str, folder: Path, architecture: str = HERE) -> Layout:
    """An image as skopeo brings it."""
    command = ["skopeo", "--override-arch", architecture, "copy", "--src-tls-verify=false"]
    target = f"oci:{folder}:x"
    done = subprocess.run(
        [*command, f"docker://{registry.host}/{name}", target], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return Layout(folder, "x")


@pytest.mark.runtime
def test_a_name_below_nix_is_an_image_that_runs(registry: Served, tmp_path: Path) -> None:
    image = pull(registry, f"{HERE}/nix/hello", tmp_path / "image")
    assert image.config["config"]["Entrypoint"] == ["/bin/hello"]
    assert run(image, tmp_path).output == "good day\nhello from the store\n"


@pytest.mark.runtime
def test_a_shell_is_one_of_nixpkgs(registry: Served, nix_world: World, tmp_path: Path) -> None:
    image = pull(registry, f"{HERE}/nix/shell/hello", tmp_path / "image")
    assert image.config["config"]["Cmd"] == ["/bin/bash"]
    done = run(image, tmp_path, ["/bin/bash", "-c", "cat /bin/greet-all; hello"])
    assert done.output.startswith(f"#! {nix_world['bash']}/bin/sh\n")
    assert done.output.endswith("hello from the store\n")


@pytest.mark.runtime
def test_podman_pulls_and_runs_it(registry: Served, tmp_path: Path) -> None:
    need("podman")
    name = f"{registry.host}/{HERE}/nix/shell/hello"
    found = podman_image(tmp_path, "pull", "--quiet", "--tls-verify=false", name)
    try:
        limits = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]
        command = [*podman(tmp_path), "run", "--rm", "--network=host", *limits, found]
        done = subprocess.run([*command, "bash", "-c", "greet-all"], capture_output=True, text=True)
        assert done.stdout.endswith(" is where I live\n"), done.stderr
    finally:
        forget(tmp_path)


@pytest.mark.runtime
def test_the_shell_alone_is_an_image_and_can_be_made_ahead(nix_world: World, tmp_path: Path) -> None:
    config = tmp_path / "registry.yaml"
    config.write_text(json.dumps(settings(nix_world)))
    ramekin("warm", "--config", config, "--store", tmp_path / "store", f"{HERE}/nix/shell")
    with serving(tmp_path, settings(nix_world), store=str(tmp_path / "store")) as registry:
        assert registry.get(f"/v2/{HERE}/nix/shell/manifests/latest").status == 200


@pytest.mark.runtime
def test_both_architectures_stand_below_one_name(registry: Served, nix_world: World, tmp_path: Path) -> None:
    index = registry.get("/v2/nix/bash/coreutils/manifests/latest").json
    assert {entry["platform"]["architecture"] for entry in index["manifests"]} == {"amd64", "arm64"}
    there = pull(registry, "nix/bash/coreutils", tmp_path / "there", THERE)
    layers = " ".join(
        layer.get("annotations", {}).get("io.ramekin.layer.packages", "")
        for layer in there.manifest["layers"]
    )
    assert nix_world[f"bash.{OTHER}"].base in layers
    assert nix_world["bash"].base not in layers


@pytest.mark.runtime
def test_permutations_are_one_digest(registry: Served) -> None:
    digests = {
        registry.get(f"/v2/{name}/manifests/latest").headers["docker-content-digest"]
        for name in ("nix/bash/coreutils", "nix/coreutils/bash", "nix/bash/coreutils/bash")
    }
    assert len(digests) == 1


@pytest.mark.runtime
def test_a_lock_tag_holds_the_store_paths(registry: Served) -> None:
    image = registry.get(f"/v2/{HERE}/nix/hello/manifests/latest")
    tags = registry.get("/v2/nix/hello/tags/list").json["tags"]
    locks = [tag for tag in tags if tag.startswith("lock-")]
    answers = [registry.get(f"/v2/{HERE}/nix/hello/manifests/{tag}") for tag in locks]
    assert image.headers["docker-content-digest"] in {
        answer.headers.get("docker-content-digest") for answer in answers
    }


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("name", "tag", "said"),
    [
        ("nix/helo", "latest", "hello"),
        ("nix/hello", "trixie", "no tag of an image of Nix"),
        ("nix/hello", "20250101", "no tag of an image of Nix"),
        ("nix/unheard.of.by.anyone", "latest", "unheard"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(registry: Served, name: str, tag: str, said: str) -> None:
    refused = registry.get(f"/v2/{name}/manifests/{tag}")
    assert refused.status == 404
    assert said in json.dumps(refused.json)


def test_a_registry_without_nix_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, {"on-demand": {"source": "debian:bookworm"}}) as registry:
        refused = registry.get("/v2/nix/hello/manifests/latest")
    assert refused.status == 404
    assert "makes no images of Nix" in refused.body.decode()


def test_folders_of_the_configuration_are_relative_to_it(nix_world: World, tmp_path: Path) -> None:
    (tmp_path / "channel").symlink_to(nix_world.channel)
    (tmp_path / "cache").symlink_to(nix_world.cache("none"))
    more = {"channel": "channel", "caches": ["cache"], "essentials": "own"}
    with serving(tmp_path, settings(nix_world, **more)) as registry:
        assert registry.get(f"/v2/{HERE}/nix/hello/manifests/latest").status == 200


def test_a_key_that_is_none_is_refused_at_the_start(nix_world: World, tmp_path: Path) -> None:
    config = tmp_path / "registry.yaml"
    config.write_text(json.dumps(settings(nix_world, **{"trusted-keys": ["world"]})))
    failed = ramekin("serve", "--config", config, check=False)
    assert (failed.returncode, "trusted-keys" in failed.stderr) == (2, True)
