"""What the words after `ramekin build` mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from ramekin.build import lock, selection
from ramekin.build.request import Choices
from ramekin.build.selection import select
from ramekin.errors import UsageError

NOTHING = Choices(architectures=("amd64",))
SPEC = "images: {web: {packages: nginx}, db: {packages: redis-server}}\njobs: 2\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ramekin.yaml").write_text(SPEC)
    return tmp_path


def chosen(words: str, folder: Path) -> list[str]:
    return [request.name for request in select(words.split(), NOTHING, folder=folder).requests]


def test_no_word_means_all_images_of_the_spec_here(folder: Path) -> None:
    assert chosen("", folder) == ["web", "db"]


def test_names_of_images_mean_those_images(folder: Path) -> None:
    found = select(["db"], NOTHING, folder=folder)
    assert [request.packages for request in found.requests] == [("redis-server",)]
    assert (found.jobs, found.lock) == (2, folder / "ramekin.lock.json")


def test_other_words_mean_packages_of_one_image(folder: Path) -> None:
    found = select(["curl", "jq=1.6"], NOTHING, folder=folder)
    assert [(request.name, request.packages) for request in found.requests] == [("curl", ("curl", "jq=1.6"))]
    assert (found.lock, found.notes) == (None, ())


def test_a_mixture_means_packages_and_says_so(folder: Path) -> None:
    found = select(["curl", "web"], NOTHING, folder=folder)
    assert found.requests[0].packages == ("curl", "web")
    assert found.notes == (
        f"web in {folder / 'ramekin.yaml'} is an image, but curl is not: all taken as packages",
    )


def test_a_pin_makes_a_word_a_package(folder: Path) -> None:
    assert select(["web/bookworm"], NOTHING, folder=folder).requests[0].packages == ("web/bookworm",)


def test_a_first_word_that_is_a_file_means_a_spec(folder: Path) -> None:
    other = folder / "fleet.yml"
    other.write_text("images: {cache: {packages: memcached}, web: {packages: apache2}}")
    assert chosen(str(other), folder) == ["cache", "web"]
    assert chosen(f"{other} web", folder) == ["web"]
    with pytest.raises(UsageError, match="no image 'curl'"):
        chosen(f"{other} curl", folder)


def test_without_a_spec_words_are_packages(tmp_path: Path) -> None:
    assert chosen("web", tmp_path) == ["web"]
    with pytest.raises(UsageError, match=r"no ramekin\.yaml here"):
        chosen("", tmp_path)


def test_a_word_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a package"):
        chosen("a=b=c", tmp_path)


def test_a_lock_beside_the_spec_binds_when_it_is_there(folder: Path) -> None:
    assert select([], NOTHING, folder=folder).pinned is None
    lock.write(lock.LockFile(version=1), folder / "ramekin.lock.json")
    found = select([], NOTHING, folder=folder)
    with pytest.raises(lock.LockError) as caught:
        found.locked(found.requests[0])
    assert caught.value.hint == "run `ramekin lock`"


def test_a_named_lock_is_used_or_written(folder: Path) -> None:
    path = folder / "pins.json"
    found = select(["curl"], NOTHING, lock_file=str(path), folder=folder)
    assert (found.lock, found.writes, found.locked(found.requests[0])) == (path, True, None)
    lock.write(lock.LockFile(version=1), path)
    found = select(["curl"], NOTHING, lock_file=str(path), folder=folder)
    with pytest.raises(lock.LockError) as caught:
        found.locked(found.requests[0])
    assert "remove" in str(caught.value.hint)


def test_a_spec_elsewhere_is_named_in_the_way_out(folder: Path) -> None:
    other = folder / "fleet.yaml"
    other.write_text(SPEC)
    lock.write(lock.LockFile(version=1), folder / "ramekin.lock.json")
    found = selection.spec([str(other)], NOTHING)
    with pytest.raises(lock.LockError) as caught:
        found.locked(found.requests[0])
    assert caught.value.hint == f"run `ramekin lock {other}`"


def test_a_lock_that_has_no_folder_to_be_in_is_wrong_use_before_anything_is_built(folder: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        select(["curl"], NOTHING, folder=folder, lock_file=str(folder / "nowhere/lock.json"))
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        select([], NOTHING, folder=folder, lock_file=str(folder / "nowhere/lock.json"))
