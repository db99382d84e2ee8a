"""A fleet by package, by file and by memory, of images whose files are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from shelves import LOADER, program, subject, upx_elf
from support.elves import elf
from support.samples import noise

from ramekin.analyze.checks.model import Subject
from ramekin.analyze.fleet import report
from ramekin.analyze.fleet.contents import PAGE
from ramekin.analyze.fleet.whatif import Rates
from ramekin.image.oci import History, Runtime
from ramekin.image.tree import Entry, file, symlink
from ramekin.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def packages(**sizes: int) -> list[Entry]:
    """Installed packages, each with one file of so many bytes."""
    status = "".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
        for name in sizes
    )
    return [
        file("var/lib/dpkg/status", status.encode()),
        *(file(f"var/lib/dpkg/info/{name}.list", f"/usr/lib/{name}/data\n".encode()) for name in sizes),
        *(file(f"usr/lib/{name}/data", noise(size, seed=size)) for name, size in sizes.items()),
    ]


def deep(*subjects: Subject, rates: Rates = Rates()) -> report.Fleet:  # noqa: B008
    return report.deep([one.image for one in subjects], rates)


def made(store: Store, name: str, *layers: Sequence[Entry], **said: object) -> Subject:
    return subject(store, *layers, name=f"oci:./{name}", **said)  # type: ignore[arg-type]


def test_a_package_that_two_images_installed_for_themselves_is_there_twice(store: Store) -> None:
    fleet = deep(
        made(store, "a", packages(both=50_000, one=20_000)),
        made(store, "b", packages(both=50_000, two=30_000)),
    )
    found = fleet.packages
    assert found is not None
    assert found.count == 3
    # the lists of files are the packages' own too
    assert (found.packages, found.layers, found.alone) == pytest.approx((100_000, 150_000, 150_000), abs=100)
    (repeated,) = found.repeated
    assert (repeated.package, repeated.images, repeated.copies) == ("both 1", 2, 2)
    assert repeated.wasted == pytest.approx(50_000, abs=50)


def test_a_package_in_a_common_layer_is_there_once(store: Store) -> None:
    base = packages(both=50_000)
    fleet = deep(*(made(store, name, base, [file("app", name.encode())]) for name in "ab"))
    found = fleet.packages
    assert found is not None
    assert (found.alone, found.layers, found.packages) == pytest.approx((100_000, 50_000, 50_000), abs=50)
    assert found.repeated == ()


def test_equal_files_of_several_layers_are_counted_by_content(store: Store) -> None:
    common = noise(40_000)
    fleet = deep(
        made(store, "a", [file("x", common), file("y", noise(100, seed=2))]),
        made(store, "b", [file("other/x", common)]),
    )
    found = fleet.files
    assert found is not None
    assert (found.alone, found.layers, found.contents, found.files) == (80_100, 80_100, 40_100, 2)
    (repeated,) = found.repeated
    assert (repeated.size, repeated.layers, repeated.wasted) == (40_000, 2, 40_000)


def test_layers_by_package_hold_each_package_once_and_change_with_it_alone(store: Store) -> None:
    fleet = deep(
        made(store, "a", packages(both=500_000, one=20_000)),
        made(store, "b", packages(both=500_000, two=30_000)),
        rates=Rates(base_builds=10, package_updates=2),
    )
    by_name = {one.name: one for one in fleet.scenarios}
    now, then = by_name["as-is"], by_name["by-package"]
    assert now.figures.registry > 1_000_000
    assert 530_000 < then.figures.registry < 560_000
    assert now.yearly == pytest.approx(now.figures.registry * 10)
    assert then.yearly < 2.2 * 550_000


def test_what_does_not_fit_into_layers_goes_into_the_image_s_own(store: Store) -> None:
    from ramekin.analyze.fleet import contents, sharing, whatif

    images = [
        made(store, name, packages(large=90_000, small=5000, app=100 + place))
        for place, name in enumerate("ab")
    ]
    members = [sharing.member(one.outline, [layer.size for layer in one.image.layers]) for one in images]
    bundles = [contents.bundles(one.image, one.stack, one.owners) for one in images]
    wide = whatif.by_package(members, bundles, Rates())
    narrow = whatif.by_package(members, bundles, Rates(), most=2)
    assert wide.figures.layers == 5
    assert narrow.figures.layers == 3
    assert narrow.figures.registry > wide.figures.registry


LIBRARY = elf(soname="libc.so.6", strings=["x" * 50_000])
PROGRAM = elf(program=True, interpreter=LOADER, needed=["libc.so.6"], strings=["own"])
SYSTEM = [
    program("lib64/ld-linux-x86-64.so.2", elf(soname="ld", strings=["y" * 9000])),
    file("usr/lib/libc.so.6", LIBRARY),
]
STARTED = Runtime(entrypoint=("/app",))


def test_pages_of_a_library_in_a_common_layer_are_in_memory_once(store: Store) -> None:
    common = [
        made(store, name, SYSTEM, [program("app", PROGRAM + name.encode())], runtime=STARTED)
        for name in "abc"
    ]
    apart = [
        made(store, name, [*SYSTEM, program("app", PROGRAM + name.encode())], runtime=STARTED)
        for name in "abc"
    ]
    shared, own = deep(*common).memory, deep(*apart).memory
    assert shared is not None and own is not None
    library = -(-len(LIBRARY) // PAGE) * PAGE
    assert shared.alone == own.alone == own.shared
    assert own.shared - shared.shared >= 2 * library
    assert own.ideal == shared.ideal == shared.shared
    assert {one.files for one in shared.images} == {3}


def test_a_packed_program_has_its_unpacked_bytes_for_itself(store: Store) -> None:
    images = [
        made(store, name, [program("app", upx_elf(2_000_000) + b"same")], runtime=STARTED) for name in "ab"
    ]
    memory = deep(*images).memory
    assert memory is not None
    assert memory.private >= 2 * 2_000_000


def test_a_script_is_run_by_its_interpreter(store: Store) -> None:
    image = made(
        store,
        "a",
        [
            *SYSTEM,
            program("usr/bin/shell", PROGRAM),
            symlink("bin", "usr/bin"),
            program("app", b"#!/usr/bin/env shell\n"),
        ],
        runtime=Runtime(entrypoint=("/app",), env=("PATH=/bin",)),
    )
    memory = deep(image).memory
    assert memory is not None
    assert (memory.images[0].files, memory.unknown) == (3, ())
    lost = deep(made(store, "b", [program("app", b"#!/bin/none\n")], runtime=STARTED)).memory
    assert lost is not None
    assert lost.unknown == ("oci:./b",)


def test_bases_with_much_the_same_files_are_builds_of_one(store: Store) -> None:
    parts = [file(f"usr/lib/{n}", noise(20_000, seed=n)) for n in range(10)]
    release = file("etc/os-release", b"ID=debian\nVERSION_ID=12\n")
    first, second = [release, *parts], [release, *parts[:8], file("usr/lib/8", noise(20_000, seed=99))]
    third = [file("usr/lib/x", noise(180_000, seed=50)), file("etc/os-release", b"ID=alpine\nVERSION_ID=3\n")]
    fleet = deep(
        *(
            made(store, f"{n}", base, [file("app", str(n).encode())])
            for n, base in enumerate((first, second, third))
        )
    )
    (kin,) = fleet.bases.kin
    assert str(kin.identity) == "debian 12"
    assert kin.common == pytest.approx(8 / 9, abs=0.01)
    assert {one.name for one in fleet.scenarios} == {"as-is", "one-build", "one-base", "by-package"}


def test_layers_that_ramekin_made_change_with_their_packages(store: Store) -> None:
    image = made(
        store,
        "a",
        packages(x=400_000),
        [file("app", noise(100_000, seed=7))],
        history=[
            History(created_by="ramekin: x 1 (source: x 1)"),
            History(created_by="COPY app /app"),
        ],
    )
    low, high = image.outline.layers
    fleet = deep(image, rates=Rates(base_builds=12, package_updates=3))
    assert fleet.scenarios[0].yearly == 3 * low.size + 12 * high.size
