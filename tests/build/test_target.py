"""Where images go."""

from __future__ import annotations

import pytest

from ramekin.build.request import Choices, ImageRequest, fold
from ramekin.build.target import repository, target, targets
from ramekin.errors import UsageError


def asked(output: str | None = None, tag: str | None = None, name: str = "web") -> ImageRequest:
    said = Choices(packages=("nginx",), architectures=("amd64",), target=output, tag=tag)
    return fold(name, (said,), where="build")


@pytest.mark.parametrize(
    ("output", "tag", "reference"),
    [
        (None, None, "oci:./web"),
        (None, "team/cache:7", "oci:./cache:7"),
        ("oci:out", None, "oci:out"),
        ("oci:out", "cache:7", "oci:out:7"),
        ("oci:out:1", "cache:7", "oci:out:1"),
        ("oci:all/{name}", None, "oci:all/web"),
        ("oci-archive:a.tar", "team/cache:7", "oci-archive:a.tar:team/cache:7"),
        ("docker-archive:a.tar", None, "docker-archive:a.tar:web:latest"),
        ("docker-archive:a.tar", "team/cache", "docker-archive:a.tar:team/cache:latest"),
        ("docker://localhost:5000/{name}", None, "docker://localhost:5000/web"),
        ("docker://localhost:5000/{name}", "cache:7", "docker://localhost:5000/web:7"),
        ("rootfs:files", "cache:7", "rootfs:files"),
    ],
)
def test_what_a_reference_leaves_open_comes_from_name_and_tag(
    output: str | None, tag: str | None, reference: str
) -> None:
    assert str(target(asked(output, tag))) == reference


def test_an_engine_is_no_target() -> None:
    with pytest.raises(UsageError, match="cannot be written to docker-daemon") as failed:
        target(asked("docker-daemon:web"))
    assert failed.value.hint is not None
    assert "docker load" in failed.value.hint


def test_a_target_has_no_digest() -> None:
    with pytest.raises(UsageError, match="a target has no digest"):
        target(asked(f"docker://localhost:5000/web@sha256:{'0' * 64}"))


def test_two_images_cannot_go_to_one_place() -> None:
    with pytest.raises(UsageError, match="db and web would both be written to"):
        targets([asked("docker-archive:a.tar", name="db"), asked("docker-archive:a.tar")])
    with pytest.raises(UsageError, match="both"):
        targets([asked("oci:out", name="db"), asked("oci:out")])
    assert len(targets([asked("oci:out", tag="a:1"), asked("oci:out", tag="b:2", name="db")])) == 2


@pytest.mark.parametrize(
    ("name", "found"),
    [("web", "web"), ("g++", "g"), ("libstdc++6", "libstdc6"), ("a.-b", "a-b"), ("++", "image")],
)
def test_any_package_gives_a_repository(name: str, found: str) -> None:
    assert repository(name) == found
