"""Reports as a person opens them: in a browser, by mouse and keyboard, light and dark, without a network.

Screenshots are left in pytest's folder, to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handmade import image_of, read, tar_of
from support.browser import open_browser

from ramekin.analyze import diff as comparing
from ramekin.analyze import inspect as inspecting
from ramekin.analyze import page
from ramekin.image.image import Image
from ramekin.image.oci import History
from ramekin.image.tree import file
from ramekin.store.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.runtime

EVIL = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>"
LOWER = [
    *(
        file(f"usr/lib/folder{n}/file{m}", bytes([n, m]) * 500 * (n + 1))
        for n in range(20)
        for m in range(20)
    ),
    file("usr/share/doc/x/README", b"d" * 30_000),
    file(f"srv/{EVIL.replace('/', '_')}", b"e" * 20_000),
    file("srv/old", b"o" * 50_000),
    file("app/node_modules/one/package.json", b'{"name": "one", "version": "1.0.0"}'),
    file("app/node_modules/one/index.js", b"j" * 40_000),
]
UPPER = [file("srv/.wh.old", b""), file("srv/new", b"n" * 10_000)]


def later(store: Store) -> Image:
    history = [History(created_by=EVIL), History(created_by="the second step")]
    return image_of(store, [tar_of(LOWER), tar_of(UPPER)], history=history)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages of both commands."""
    folder = tmp_path_factory.mktemp("reports")
    store = Store.at(folder / "store")
    before = read(store, image_of(store, [tar_of(LOWER)]))
    after = read(store, later(store))
    page.write(folder / "inspect.html", page.inspection(inspecting.inspect(after)))
    page.write(folder / "diff.html", page.difference(comparing.diff(before, after)))
    return folder


class Opened:
    """A page with all that went wrong on it."""

    def __init__(self, browser: Browser, path: Path, scheme: str = "light") -> None:
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type != "log" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-drawn]", timeout=60_000)

    def here(self) -> str:
        return self.page.inner_text(".trail strong")


def test_the_report_draws_zooms_and_searches(browser: Browser, reports: Path, tmp_path: Path) -> None:
    opened = Opened(browser, reports / "inspect.html")
    shown = opened.page
    assert shown.locator("#map path.surface").count() > 30
    assert opened.here() == "/"
    # by mouse: into a part that is drawn, and out by the trail
    shown.locator("#map g.slice", has_text="folder19").first.click()
    shown.wait_for_function("document.querySelector('.trail strong').textContent.includes('folder19')")
    shown.screenshot(path=tmp_path / "zoomed.png", full_page=True)
    shown.locator(".trail button").first.click()
    assert opened.here() == "/"
    shown.get_by_label("Packages").check()
    assert "nobody/" in shown.inner_text("#below")
    shown.get_by_label("Waste").check()
    assert "could do without" in shown.inner_text("#map-legend")
    shown.get_by_role("searchbox").fill("folder7 file3")
    assert shown.inner_text("#found").startswith("1 of ")
    assert "usr/lib/folder7/file3" in shown.inner_text("tbody")
    shown.get_by_role("searchbox").fill("")
    shown.get_by_role("tab", name="Lost").click()
    assert "srv/old" in shown.inner_text("tbody")
    shown.get_by_role("button", name="Size").click()
    assert shown.locator("th[aria-sort]").count() == 1
    shown.screenshot(path=tmp_path / "light.png", full_page=True)
    assert opened.wrong == []
    assert all(url.startswith(("file:", "blob:", "data:")) for url in opened.asked)
    assert "inspect.html" in opened.asked[0]


def test_the_report_is_used_by_keyboard(browser: Browser, reports: Path) -> None:
    opened = Opened(browser, reports / "inspect.html")
    shown = opened.page
    shown.locator("#map").focus()
    shown.keyboard.press("Enter")
    inside = opened.here()
    assert inside != "/"
    shown.keyboard.press("ArrowRight")
    assert opened.here() not in ("/", inside)
    shown.keyboard.press("Escape")
    assert opened.here() == "/"
    # the parts are buttons as well
    shown.locator("#below button").first.focus()
    shown.keyboard.press("Enter")
    assert opened.here() == inside
    assert shown.evaluate("document.activeElement.tagName") == "BUTTON"
    shown.get_by_role("tab").first.focus()
    shown.keyboard.press("ArrowRight")
    assert shown.inner_text("[role=tab][aria-selected=true]").startswith("Packages")
    assert opened.wrong == []


def test_names_cannot_break_out_of_the_report(browser: Browser, reports: Path) -> None:
    opened = Opened(browser, reports / "inspect.html")
    assert opened.page.title() == "the image · Ramekin"
    assert opened.page.locator("img").count() == 0
    opened.page.get_by_role("searchbox").fill("onerror")
    assert "<img src=x onerror=alert(1)>" in opened.page.inner_text("tbody")
    assert opened.wrong == []


def test_the_report_is_dark_where_the_system_is(browser: Browser, reports: Path, tmp_path: Path) -> None:
    opened = Opened(browser, reports / "inspect.html", "dark")
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(20, 22, 26)"
    opened.page.screenshot(path=tmp_path / "dark.png", full_page=True)
    assert opened.wrong == []


def test_a_difference_is_a_report_as_well(browser: Browser, reports: Path, tmp_path: Path) -> None:
    opened = Opened(browser, reports / "diff.html")
    opened.page.get_by_role("searchbox").fill("srv/new")
    assert "added" in opened.page.inner_text("tbody")
    opened.page.screenshot(path=tmp_path / "diff.png", full_page=True)
    assert opened.wrong == []


def test_the_same_report_is_the_same_bytes_and_not_too_many(reports: Path, tmp_path: Path) -> None:
    store = Store.at(tmp_path / "store")
    found = inspecting.inspect(read(store, later(store)))
    page.write(tmp_path / "again.html", page.inspection(found))
    assert (tmp_path / "again.html").read_bytes() == (reports / "inspect.html").read_bytes()
    assert (reports / "inspect.html").stat().st_size < 3 << 20
