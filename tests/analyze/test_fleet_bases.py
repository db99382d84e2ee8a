"""Which bases a fleet stands on, and the figures if it stood differently."""

from __future__ import annotations

from fleets import MB, outline

from ramekin.analyze.fleet import bases, report
from ramekin.analyze.fleet.bases import Identity
from ramekin.analyze.fleet.whatif import Rates

OLD = "# debian.sh --arch 'amd64' out/ 'bookworm' '@1700000000'"
NEW = "# debian.sh --arch 'amd64' out/ 'bookworm' '@1710000000'"
ALPINE = "ADD alpine-minirootfs-3.19.1-x86_64.tar.gz / # buildkit"


def mixed() -> report.Fleet:
    """Three images on a build of Debian, two on another build, one on Alpine, one on nothing."""
    return report.shallow(
        [
            *(
                outline(f"old-{n}", [("old debian", 50 * MB), (f"o{n}", MB)], history=[OLD, "RUN make"])
                for n in range(3)
            ),
            *(
                outline(f"new-{n}", [("new debian", 51 * MB), (f"n{n}", MB)], history=[NEW, "RUN make"])
                for n in range(2)
            ),
            outline("alpine", [("alpine", 3 * MB), ("thing", MB)], history=[ALPINE, "COPY"]),
            outline("static", [("static", 9 * MB)]),
        ],
        Rates(base_builds=10),
    )


def test_bases_are_named_by_distribution_and_version() -> None:
    found = mixed().bases
    assert [(str(base.identity), len(base.images), base.stored) for base in found.bases] == [
        ("debian 12", 3, 50 * MB),
        ("debian 12", 2, 51 * MB),
        ("alpine 3.19", 1, 3 * MB),
    ]
    assert found.of["static"] == ""


def test_two_builds_of_one_base_are_named() -> None:
    found = mixed().bases
    (kin,) = found.kin
    assert kin.identity == Identity("debian", "12")
    assert {kin.one, kin.other} == {base.key for base in found.bases[:2]}


def test_a_base_is_all_layers_that_its_images_have_in_common() -> None:
    floor = [("debian", 50), ("runtime", 20)]
    found = report.shallow([outline("a", [*floor, ("a", 1)]), outline("b", [*floor, ("b", 1)])]).bases
    assert (found.bases[0].layers, found.bases[0].stored) == (2, 70)


def test_one_build_of_each_base_saves_the_other_one() -> None:
    fleet = mixed()
    by_name = {one.name: one for one in fleet.scenarios}
    now, one_build, one_base = by_name["as-is"], by_name["one-build"], by_name["one-base"]
    assert now.figures.registry == (50 + 51 + 3 + 3 + 2 + 1 + 9) * MB
    assert now.figures.registry - one_build.figures.registry == 51 * MB
    assert now.yearly - one_build.yearly == 10 * 51 * MB
    assert now.figures.registry - one_base.figures.registry == (51 + 3) * MB
    assert one_base.figures.images == 7


def test_what_a_larger_base_had_more_stays_with_those_who_leave_it() -> None:
    fleet = report.shallow(
        [
            *(outline(f"small-{n}", [("small", 5 * MB), (f"s{n}", MB)]) for n in range(3)),
            *(outline(f"large-{n}", [("large", 60 * MB), (f"l{n}", MB)]) for n in range(2)),
        ]
    )
    by_name = {one.name: one.figures for one in fleet.scenarios}
    assert by_name["as-is"].registry == (5 + 60 + 5) * MB
    assert by_name["one-base"].registry == (5 + 55 + 5) * MB
    assert by_name["one-base"].coldest == 61 * MB


def test_a_fleet_on_one_base_has_nothing_to_move() -> None:
    fleet = report.shallow([outline("a", [("x", 5), ("a", 1)]), outline("b", [("x", 5), ("b", 1)])])
    assert [one.name for one in fleet.scenarios] == ["as-is"]


def test_the_name_of_a_base_is_taken_from_annotations_and_labels() -> None:
    note = {"org.opencontainers.image.base.name": "registry.example/debian:bookworm-slim"}
    fleet = report.shallow(
        [
            outline("a", [("x", 5), ("a", 1)], annotations=note),
            outline("b", [("y", 5), ("b", 1)], labels=note),
        ]
    )
    assert {base.name for base in fleet.bases.bases} == {"registry.example/debian:bookworm-slim"}
    assert {str(base.identity) for base in fleet.bases.bases} == {"debian 12"}
    assert len(fleet.bases.kin) == 1


def test_a_release_file_says_what_a_base_is() -> None:
    assert bases.identity_of_release(b'NAME="Alpine"\nID=alpine\nVERSION_ID="3.19.1"\n') == Identity(
        "alpine", "3.19.1"
    )
    assert bases.identity_of_release(b"ID=debian\nVERSION_CODENAME=forky\n") == Identity("debian", "forky")
    assert bases.identity_of_release(b"\xff\xfe no such thing") == Identity()
