"""The page, as a person uses it in a browser: type, choose, make, watch, copy, open a report.

Screenshots are left in pytest's folder (`--basetemp`), to be looked at.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.archive import Fault, Server, SigningKey
from support.kitchen import Kitchen
from support.larder import SETTINGS, open_larder
from support.ramekin_registry import Served, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.runtime

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def larder(tmp_path_factory: pytest.TempPathFactory, signing_key: SigningKey) -> Kitchen:
    return open_larder(tmp_path_factory.mktemp("larder") / "kitchen", signing_key)


@pytest.fixture(scope="module")
def mirror(larder: Kitchen) -> Iterator[Server]:
    with Server(larder.archive.root) as server:
        yield server


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, larder: Kitchen, mirror: Server) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    spec = folder / "ramekin.yaml"
    spec.write_text(f"images:\n  supper: {{packages: [leek], source: '{SETTINGS['source']}'}}\n")
    settings = {"on-demand": {**SETTINGS, "specs": [str(spec)]}}
    with serving(folder, settings, environment=larder.env(mirror.url)) as served:
        served.push_image("team/app", "v1", b"layer one", b"layer two")
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("RAMEKIN_REQUIRE_TOOLS"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, registry: Served) -> Iterator[Page]:
    """A new window on the page; anything on its console is a failure."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.set_default_timeout(30_000)
    page.goto(f"http://{registry.host}/")
    yield page
    context.close()
    assert said == []


def shot(page: Page, folder: Path, name: str) -> None:
    page.wait_for_timeout(300)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def figures(page: Page) -> dict[str, str]:
    found = page.locator("#figures > div")
    return {
        one.locator("span").inner_text(): one.locator("b").inner_text().replace("\n", "")
        for one in (found.nth(place) for place in range(found.count()))
    }


def test_a_person_types_chooses_makes_and_copies(
    page: Page, registry: Served, mirror: Server, tmp_path: Path
) -> None:
    words = page.locator("#words")
    words.type("gratin")
    option = page.get_by_role("option").first
    option.wait_for()
    assert "gratin" in option.inner_text()
    assert words.get_attribute("aria-expanded") == "true"
    shot(page, tmp_path, "suggestions")
    words.press("ArrowDown")
    words.press("Enter")
    page.locator("#image").wait_for()
    assert page.locator("#name").inner_text() == f"{registry.host}/gratin:latest"
    assert page.url.endswith("#/gratin:latest")
    assert "to pull" in figures(page)
    assert figures(page)["here already"] == "0B"
    assert page.locator("#bar i").count() >= 3
    shot(page, tmp_path, "before")

    # it takes long enough to be looked at
    mirror.faults.append(Fault(r"/gratin_.*\.deb", delay=3))
    page.get_by_role("button", name="Make it now").click()
    page.locator("#progress progress").first.wait_for(state="attached")  # hidden again as soon as it is made
    shot(page, tmp_path, "progress")
    page.get_by_text("It is made: the next pull").wait_for()
    assert page.locator("#build").is_hidden()
    assert "here already" not in figures(page)
    shot(page, tmp_path, "made")

    page.locator("#command .copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    context: Any = page.context
    assert context.pages[0].evaluate("navigator.clipboard.readText()") == (
        f"docker run --rm {registry.host}/gratin:latest"
    )
    page.get_by_role("tab", name="podman").click()
    assert "podman run --rm --tls-verify=false" in page.locator("#command pre").first.inner_text()
    page.get_by_role("tab", name="podman").press("ArrowRight")
    assert "image: " in page.locator("#command pre").first.inner_text()
    lock = page.locator("#command pre").last.inner_text()
    assert re.fullmatch(rf"{registry.host}/gratin:lock-[0-9a-f]{{64}}", lock)

    page.locator("#graph summary").click()
    page.locator("#graph svg text", has_text="potato").wait_for()
    shot(page, tmp_path, "graph")


def test_a_report_is_opened(page: Page, tmp_path: Path) -> None:
    entry = page.locator("#list details", has_text="team/app")
    entry.locator("summary").first.click()
    entry.get_by_role("button", name="v1").click()
    entry.locator(".report").wait_for()
    assert "sha256:" in entry.locator(".report").inner_text()
    assert "2 layers" in entry.locator(".report").inner_text()
    shot(page, tmp_path, "report")


def test_a_pushed_image_wins_over_packages_and_the_page_says_so(page: Page, registry: Served) -> None:
    registry.push_image("cream", "latest", b"whipped")
    page.goto(f"http://{registry.host}/#/cream:latest")
    page.get_by_text("Somebody pushed this image").wait_for()
    assert figures(page)["to pull"] == "7B"


def test_images_of_specs_are_listed(page: Page, registry: Served) -> None:
    page.locator("#list summary", has_text="supper").wait_for()
    page.goto(f"http://{registry.host}/#/supper:latest")
    page.get_by_text("An image of a spec file").wait_for()


def test_what_a_node_pulls_that_has_another_image(page: Page, registry: Served) -> None:
    for name in ("potato", "cream/potato"):
        assert registry.get(f"/v2/{name}/manifests/latest").status == 200
    page.goto(f"http://{registry.host}/#/cream/potato:latest")
    page.reload()
    page.get_by_label("potato", exact=True).check()
    page.get_by_text("instead of").wait_for()
    assert page.locator("#bar .node").count() > 0


def test_an_image_that_cannot_be_is_refused_with_the_reason(page: Page, registry: Served) -> None:
    page.goto(f"http://{registry.host}/#/stew:latest")
    page.get_by_text("rabbit").wait_for()
    assert page.locator("#image").is_hidden()


def test_packages_are_chosen_and_removed_by_keyboard_alone(page: Page) -> None:
    words = page.locator("#words")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("pan++")
    words.press("Enter")
    page.get_by_role("button", name="Remove pan++").wait_for()
    assert page.url.endswith("#/pan_p_p:latest")
    words.press("Backspace")
    page.get_by_role("button", name="Remove pan++").wait_for(state="detached")
    page.keyboard.type("xyzzy")
    page.get_by_text("No package has").wait_for()
    words.press("Escape")
    assert words.get_attribute("aria-expanded") == "false"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: Browser, registry: Served, tmp_path: Path, scheme: Any) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, color_scheme=scheme, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    page.goto(f"http://{registry.host}/#/shell/gratin/leek:latest")
    page.locator("#image").wait_for()
    page.locator("#layers summary").click()
    shot(page, tmp_path, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
