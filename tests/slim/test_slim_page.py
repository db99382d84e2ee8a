"""The report of slimming as a person opens it: in a browser, light and dark, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pantries
import pytest
from boxes import need_root
from support.browser import open_browser

from ramekin import yaml_source
from ramekin.analyze import page
from ramekin.image.tree import file
from ramekin.slim import report, run
from ramekin.slim.probes import form
from ramekin.slim.slimmed import SlimRequest
from ramekin.store.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.runtime

EVIL = "</script><script>document.title='broken'</script>"
PROBES = """
- get: /
- get: /cgi-bin/now
- get: /cgi-bin/there?greetings/hello
- get: /about.html
  name: "</script><script>document.title='broken'</script>"
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small image."""
    need_root()
    folder = tmp_path_factory.mktemp("slim")
    store = Store.at(folder / "store")
    image = pantries.image(store, files=[file(f"srv/{EVIL.replace('/', '_')}", b"e" * 20_000)])
    plan = form.of(yaml_source.parse(PROBES.encode(), Path("probes.yaml")))
    with run.slim(image, SlimRequest(name=f"oci:web{EVIL}", plan=plan), store) as slimmed:
        page.write(folder / "slim.html", report.page(slimmed))
    return folder / "slim.html"


def opened(browser: Browser, path: Path, scheme: str) -> tuple[Page, list[str]]:
    shown = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    wrong: list[str] = []
    shown.on("console", lambda said: wrong.append(said.text) if said.type != "log" else None)
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith("http") else None)
    shown.goto(path.as_uri())
    shown.wait_for_selector("body[data-drawn]", timeout=60_000)
    return shown, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_sizes_probes_rules_and_maps(
    browser: Browser, written: Path, tmp_path: Path, scheme: str
) -> None:
    shown, wrong = opened(browser, written, scheme)
    assert shown.title() != "broken"
    text = shown.inner_text("body")
    for words in (
        "What stays, by the rule that keeps it",
        "What goes, by rule",
        "Before and after",
        "4 of 4 same",
    ):
        assert words in text
    assert "Watched by fanotify" in text
    for name in ("After", "What went, by unit", "Before"):
        shown.get_by_label(name, exact=True).check()
    shown.get_by_label("Kind of unit").check()
    assert "dpkg" in shown.inner_text("#map-legend")
    shown.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert wrong == []
    shown.close()


def test_its_tables_hold_probes_units_files_and_look_ups(browser: Browser, written: Path) -> None:
    shown, wrong = opened(browser, written, "light")
    rows = shown.locator("#tables tbody tr")
    assert rows.count() == 5
    assert "body" in rows.filter(has_text="/cgi-bin/now").inner_text()
    shown.get_by_role("tab", name="Look-ups of what went").click()
    assert "put back" in rows.first.inner_text()
    shown.get_by_role("tab", name="Files that go").click()
    shown.get_by_label("Search the table").fill("unused/big")
    assert rows.count() == 1
    assert "unreached" in rows.first.inner_text()
    shown.get_by_label("Search the table").fill("")
    shown.get_by_role("tab", name="Observed").click()
    assert rows.filter(has_text="usr/bin/busybox").count() == 1
    assert wrong == []
    shown.close()
