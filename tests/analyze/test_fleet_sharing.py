"""The figures of a fleet by its layers."""

from __future__ import annotations

import pytest
from fleets import MB, outline
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.analyze.fleet import report, sharing
from ramekin.analyze.model import Outline


def static_images() -> list[Outline]:
    return [outline(f"static-{n}", [(f"program {n}", 10 * MB)]) for n in range(10)]


def on_a_large_base() -> list[Outline]:
    return [outline(f"full-{n}", [("base", 64 * MB), (f"program {n}", 1 * MB)]) for n in range(10)]


def on_a_small_base() -> list[Outline]:
    return [outline(f"small-{n}", [("base", 5_500_000), (f"program {n}", 1 * MB)]) for n in range(10)]


@pytest.mark.parametrize(
    ("images", "alone", "together"),
    [
        (static_images(), 100 * MB, 100 * MB),
        (on_a_large_base(), 650 * MB, 74 * MB),
        (on_a_small_base(), 65 * MB, 15_500_000),
    ],
    ids=["static", "large base", "small base"],
)
def test_ten_images_cost_what_the_article_says(images: list[Outline], alone: int, together: int) -> None:
    figures = report.shallow(images).figures
    assert figures.alone == alone
    assert (figures.registry, figures.transfer, figures.disk) == (together, together, together)
    assert figures.chain_loss == 0
    assert figures.documents == 10 * (500 + 700)


def test_a_layer_above_another_one_lies_on_disk_a_second_time() -> None:
    fleet = report.shallow([outline("one", [("a", 5), ("x", 100)]), outline("two", [("b", 7), ("x", 100)])])
    assert fleet.figures.registry == 112
    assert fleet.figures.disk == 212
    assert fleet.figures.chain_loss == 100
    (shared,) = fleet.shared
    assert (shared.images, shared.chains, shared.saved) == (2, 2, 100)


def test_a_layer_that_an_image_has_twice_is_pulled_once_and_lies_there_twice() -> None:
    figures = report.shallow([outline("one", [("a", 5), ("x", 100), ("a", 5)])]).figures
    assert (figures.alone, figures.registry, figures.disk) == (105, 105, 110)


def test_who_pays_adds_up_to_what_the_registry_stores() -> None:
    payers = report.shallow(on_a_large_base()).payers
    assert sum(payer.pays for payer in payers) == 74 * MB
    assert {payer.own for payer in payers} == {1 * MB}
    assert {payer.share for payer in payers} == {6_400_000}


def test_the_matrix_has_what_two_images_share() -> None:
    fleet = report.shallow(
        [
            outline("a", [("base", 10), ("a", 1)]),
            outline("b", [("base", 10), ("b", 2)]),
            outline("c", [("c", 3)]),
        ]
    )
    assert fleet.names == ("a", "b", "c")
    assert fleet.matrix == ((11, 10, 0), (10, 12, 0), (0, 0, 3))


def test_tags_of_one_image_cost_nothing_more() -> None:
    one, two = outline("a", [("x", 10)]), outline("a", [("x", 10)])
    figures = report.shallow([one, Outline("b", two.root, None, two.manifest, two.config)]).figures
    assert (figures.registry, figures.disk, figures.documents) == (10, 10, 1200)


FLEETS = st.lists(
    st.lists(st.sampled_from([("a", 3), ("b", 5), ("c", 7), ("d", 11), ("e", 0)]), min_size=1, max_size=5),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(FLEETS)
def test_figures_agree_with_one_another(layers: list[list[tuple[str, int]]]) -> None:
    members = [sharing.member(outline(f"image-{n}", parts)) for n, parts in enumerate(layers)]
    figures = sharing.figures(members)
    assert figures.registry <= figures.alone
    assert figures.registry <= figures.disk
    assert figures.coldest <= figures.registry
    assert 0 <= figures.chain_loss < max(figures.disk, 1)
    assert abs(sum(payer.pays for payer in sharing.payers(members)) - figures.registry) <= len(members)
    matrix = sharing.matrix(members)
    for row, one in enumerate(members):
        assert matrix[row][row] == one.stored
        for column, other in enumerate(members):
            ours, theirs = ({p.blob: p.stored for p in m.parts} for m in (one, other))
            assert matrix[row][column] == sum(size for blob, size in ours.items() if blob in theirs)
