"""The page of a fleet, as a browser shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fleets import MB, outline
from support.browser import open_browser

from ramekin.analyze import page as pages
from ramekin.analyze.fleet import report
from ramekin.analyze.fleet.page import MATRIX, page, short

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def fleet(count: int) -> report.Fleet:
    """Images on two builds of Debian and one of Alpine; the last one is on nothing."""
    bases = (
        ("old", 50 * MB, "# debian.sh --arch 'amd64' out/ 'bookworm' '@1'"),
        ("new", 51 * MB, "# debian.sh --arch 'amd64' out/ 'bookworm' '@2'"),
        ("alpine", 3 * MB, "ADD alpine-minirootfs-3.19.1-x86_64.tar.gz / # buildkit"),
    )
    images = [
        outline(
            f"docker://registry.example/team/<b>image-{n}",
            [(base, size), (f"own {n}", (n % 7 + 1) * MB)],
            history=[step, "COPY app /"],
        )
        for n in range(count - 1)
        for base, size, step in [bases[n % 3]]
    ]
    return report.shallow([*images, outline("docker://registry.example/team/static", [("s", 9 * MB)])])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[object]:
    """Open the page of a fleet; the test fails on anything that the browser complains of or asks for."""
    complaints: list[str] = []
    contexts = []

    def call(found: report.Fleet, *, dark: bool = False) -> Page:
        pages.write(tmp_path / "fleet.html", page(found))
        context = browser.new_context(color_scheme="dark" if dark else "light", offline=True)
        contexts.append(context)
        opened = context.new_page()
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("requestfailed", lambda request: complaints.append(request.url))
        opened.goto((tmp_path / "fleet.html").as_uri())
        return opened

    yield call
    for context in contexts:
        context.close()
    assert complaints == []


def test_names_are_shown_without_what_all_have_in_common() -> None:
    assert short(("docker://h/a/web:1", "docker://h/a/api:1")) == {
        "docker://h/a/web:1": "web:1",
        "docker://h/a/api:1": "api:1",
    }
    assert short(("oci:./all:one", "oci:./all:two")) == {"oci:./all:one": "one", "oci:./all:two": "two"}
    assert short(("oci:./a", "oci:./ab")) == {"oci:./a": "a", "oci:./ab": "ab"}
    assert short(("oci:./a",)) == {"oci:./a": "oci:./a"}


def test_the_matrix_has_those_that_cost_most() -> None:
    found = page(fleet(100)).matrix
    assert found is not None
    assert len(found.names) == len(found.values) == MATRIX
    assert all(found.shares[n][n] == 1 for n in range(MATRIX))


@pytest.mark.runtime
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_who_pays_what_if_and_who_shares_are_drawn(dark: bool, show) -> None:  # type: ignore[no-untyped-def]
    opened = show(fleet(20), dark=dark)
    titles = opened.locator("h2").all_inner_texts()
    assert titles[0] == "Who pays for what"
    assert [title for title in titles if title.startswith("What if")] == [
        "What if: a registry stores",
        "What if: a node with all images keeps",
        "What if: a node without any pulls for one image",
        "What if: a year of updates",
    ]
    assert opened.locator("section:has-text('Who pays for what') .bars li").count() == 20
    assert opened.locator(".matrix tbody tr").count() == 20
    assert (
        opened.locator("section:has-text('What if: a year of updates') .label")
        .first.inner_text()
        .startswith("As it is")
    )
    widths = opened.evaluate(
        "[...document.querySelectorAll('.bars .track span')].map(e => e.getBoundingClientRect().width)"
    )
    assert max(widths) > 50


@pytest.mark.runtime
def test_tables_can_be_searched_by_keyboard(show) -> None:  # type: ignore[no-untyped-def]
    opened = show(fleet(20))
    opened.get_by_role("tab", name="Images (20)").focus()
    opened.keyboard.press("ArrowRight")
    assert "Shared layers" in opened.locator("[role=tab][aria-selected=true]").inner_text()
    opened.keyboard.press("ArrowLeft")
    opened.locator("#search").fill("image-7")
    assert opened.locator("#found").inner_text().startswith("1 of 20")


@pytest.mark.runtime
def test_names_of_images_are_text_only(show) -> None:  # type: ignore[no-untyped-def]
    opened = show(fleet(5))
    assert opened.locator("b").count() == 0
    assert opened.locator("text=<b>image-1").count() > 0
