"""Lock files: what is pinned comes back as it was, and binds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.build import lock, pinning, request
from ramekin.build.lock import LockedClosure, LockedImage, LockError, LockFile
from ramekin.build.request import Choices, ImageRequest
from ramekin.errors import FormatError, NotFoundError
from ramekin.sources.protocol import Package, Reason, Resolution, SuiteFacts
from ramekin.store import digest as digests

STATE = digests.of(b"state")
FACTS = SuiteFacts("debian:bookworm", {"bin": "usr/bin"}, 'ID=debian\nNAME="Döbian"\n')

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789+.-", min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def resolutions(draw: st.DrawFn) -> Resolution:
    chosen = draw(st.lists(names, unique=True, max_size=5))
    some = st.lists(st.sampled_from(chosen or ["a"]), unique=True).map(tuple)
    packages = tuple(
        Package(
            name=name,
            version=draw(texts),
            architecture=draw(st.sampled_from(["amd64", "all"])),
            digest=digests.of(name.encode()),
            size=draw(st.integers(0, 1 << 40)),
            installed_size=draw(st.integers(0, 1 << 40)),
            origin=draw(texts),
            origin_version=draw(texts),
            suite=draw(texts),
            location=draw(texts),
        )
        for name in chosen
    )
    replaced = {name: draw(some) for name in chosen}
    return Resolution(
        architecture="amd64",
        requested=tuple(draw(st.lists(names, max_size=3))),
        packages=packages,
        reasons={name: Reason(draw(texts), draw(texts)) for name in chosen},
        edges={name: draw(some) for name in chosen},
        replaces={name: others for name, others in replaced.items() if others},
    )


@settings(max_examples=60, deadline=None)
@given(resolutions())
def test_a_resolution_survives_its_lock(resolution: Resolution) -> None:
    pinned = lock.closure(resolution, state=STATE, facts=FACTS)
    file = LockFile(
        version=1,
        images={"web": LockedImage(source="debian", packages=("a",), architectures={"amd64": pinned})},
    )
    data = lock.encode(file)
    back = lock.decode(data, where="lock")
    assert back == file
    assert lock.encode(back) == data
    closure = back.images["web"].architectures["amd64"]
    assert closure.resolution("amd64") == resolution
    assert closure.facts() == FACTS


def package(name: str, version: str = "1") -> Package:
    return Package(
        name=name,
        version=version,
        architecture="amd64",
        digest=digests.of(f"{name}{version}".encode()),
        size=10,
    )


def closure(*packages: Package) -> LockedClosure:
    edges: dict[str, tuple[str, ...]] = {one.name: () for one in packages}
    reasons = {one.name: Reason("", one.name) for one in packages}
    made = Resolution("amd64", ("web",), packages, reasons, edges, {})
    return lock.closure(made, state=STATE, facts=FACTS)


def asked(name: str = "web", **choices: object) -> ImageRequest:
    said = Choices(**{"packages": ("nginx",), "architectures": ("amd64",), **choices})  # type: ignore[arg-type]
    return request.fold(name, (said,), where="build")


def pinned(name: str = "web", version: str = "1", **choices: object) -> LockedImage:
    return lock.image(asked(name, **choices), {"amd64": closure(package("nginx", version))})


def test_the_file_is_for_people_to_read() -> None:
    text = lock.encode(LockFile(version=1, images={"web": pinned()})).decode()
    assert text.startswith('{\n  "version": 1,\n  "images": {\n    "web": {\n')
    assert text.endswith("}\n")
    entry = json.loads(text)["images"]["web"]["architectures"]["amd64"]["packages"][0]
    assert (entry["version"], entry["sha256"], entry["size"]) == (
        "1",
        digests.hex_of(package("nginx").digest),
        10,
    )


def test_a_lock_that_agrees_binds() -> None:
    file = LockFile(version=1, images={"web": pinned()})
    assert lock.find(file, asked(), where="lock", hint="") == file.images["web"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"packages": ("nginx", "curl")}, "package curl is not locked"),
        ({"packages": ("curl",)}, "package nginx is locked but not asked for"),
        ({"source": "debian:trixie"}, "the source is debian:trixie, locked is debian"),
        ({"recommends": True}, "recommends is on, locked is off"),
        ({"leave_out": ("tzdata",)}, "left-out essential tzdata is not locked"),
        ({"architectures": ("amd64", "arm64")}, "architecture arm64 is not locked"),
    ],
)
def test_a_lock_that_disagrees_says_how(choices: dict[str, object], message: str) -> None:
    file = LockFile(version=1, images={"web": pinned()})
    with pytest.raises(LockError, match=message) as caught:
        lock.find(file, asked(**choices), where="ramekin.lock.json", hint="run `ramekin lock`")
    assert (caught.value.exit_code, caught.value.hint) == (1, "run `ramekin lock`")


def test_an_image_that_is_not_locked_is_a_disagreement() -> None:
    with pytest.raises(LockError, match="does not hold the image web"):
        lock.find(LockFile(version=1), asked(), where="lock", hint="")


def test_what_does_not_choose_packages_needs_no_new_lock() -> None:
    changed = asked(compression="zstd", keep=("docs",), user="33", tag="web:2")
    assert lock.disagreements(changed, pinned()) == ()


def test_the_lock_is_written_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / lock.NAME
    file = LockFile(version=1, images={"web": pinned()})
    assert lock.write(file, path)
    assert not lock.write(file, path)
    path.chmod(0o600)
    assert lock.write(LockFile(version=1), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [lock.NAME]
    assert lock.read(path) == LockFile(version=1)


def test_a_lock_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.json"):
        lock.read(tmp_path / "none.json")


def _broken(change: str) -> bytes:
    data = json.loads(lock.encode(LockFile(version=1, images={"web": pinned()})))
    place = data["images"]["web"]["architectures"]["amd64"]
    match change:
        case "version":
            data["version"] = 2
        case "digest":
            place["packages"][0]["sha256"] = "00"
        case "state":
            place["state"] = "x"
        case "twice":
            place["packages"] *= 2
        case "size":
            place["packages"][0]["size"] = -1
        case "field":
            place["packages"][0]["sice"] = 1
        case "missing":
            del place["packages"][0]["size"]
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("version", "has version 2"),
        ("digest", "nginx has no SHA-256"),
        ("state", "state is not a digest"),
        ("twice", "nginx is there twice"),
        ("size", "negative size"),
        ("field", "sice"),
        ("missing", "size"),
    ],
)
def test_a_broken_lock_names_what_is_wrong(change: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        lock.decode(_broken(change), where="ramekin.lock.json")
    assert "ramekin.lock.json" in caught.value.message


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_lock_or_a_clear_error(data: bytes) -> None:
    with pytest.raises(FormatError, match="lock"):
        lock.decode(data, where="lock")


def test_changes_are_by_name() -> None:
    old = closure(package("a"), package("b"), package("c"))
    new = closure(package("b", "2"), package("c"), package("d"))
    assert [msgspec.to_builtins(change) for change in lock.changes(old, new)] == [
        {"name": "a", "before": "1"},
        {"name": "b", "before": "1", "after": "2"},
        {"name": "d", "after": "1"},
    ]


def test_locking_leaves_alone_what_agrees() -> None:
    old = LockFile(version=1, images={"web": pinned(), "gone": pinned("gone")})
    resolved: list[str] = []

    def resolve(one: ImageRequest) -> LockedImage:
        resolved.append(one.name)
        return pinned(one.name, version="2")

    made = pinning.fill(old, [asked(), asked("db")], resolve, whole=True)
    assert resolved == ["db"]
    assert sorted(made.images) == ["db", "web"]
    assert made.images["web"] == old.images["web"]
    assert "gone" in pinning.fill(old, [asked("db")], resolve, whole=False).images


def test_updating_takes_the_newest_of_all() -> None:
    old = LockFile(version=1, images={"web": pinned()})
    made = pinning.renew(old, [asked()], lambda one: pinned(one.name, version="2"), whole=True)
    (change,) = pinning.changes(old.images["web"], made.images["web"])["amd64"]
    assert (change.name, change.before, change.after) == ("nginx", "1", "2")
    assert pinning.changes(made.images["web"], made.images["web"]) == {}


def test_a_lock_for_fewer_architectures_is_made_anew() -> None:
    old = LockFile(version=1, images={"web": pinned()})
    wanted = replace(asked(), architectures=("arm64",))
    made = pinning.fill(
        old, [wanted], lambda one: lock.image(one, {"arm64": closure(package("nginx"))}), whole=True
    )
    assert list(made.images["web"].architectures) == ["arm64"]
