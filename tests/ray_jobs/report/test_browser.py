"""The report in a real browser: no script runs, nothing is fetched, nothing overflows, in light, dark and print."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import needs_browser, open_browser
from hostile_run import make_hostile_run
from judged_run import make_judged_run
from playwright.sync_api import Browser, Page
from report_case import ReportCase, make_images, make_results

PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ReportCase:
    return make_hostile_run(tmp_path_factory.mktemp("hostile"))


class OpenedPage:
    """The report in a page of the browser, with its requests and its console messages."""

    def __init__(self, browser: Browser, report: ReportCase, **context: Any) -> None:
        self.asked: list[str] = []
        self.told: list[str] = []
        self.page: Page = browser.new_context(**{"viewport": DESKTOP} | context).new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.told.append(message.text))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.page.on("dialog", lambda dialog: self.told.append(dialog.message))
        self.page.goto(f"file://{report.uri}")


def test_hostile_captions_run_nothing_and_fetch_nothing(browser: Browser, hostile: ReportCase) -> None:
    page = OpenedPage(browser, hostile)
    fetched = [url for url in page.asked if not url.startswith("data:image/jpeg;base64,")]
    assert fetched == [f"file://{hostile.uri}"]
    assert page.told == []
    assert page.page.title().startswith("<script>document.title='owned'</script>")  # as text
    assert page.page.locator("script, img[src='x'], [onmouseover], [onerror]").count() == 0
    assert page.page.evaluate("getComputedStyle(document.body).display") == "block"
    assert page.page.locator("section").count() >= 6


def test_what_the_policy_forbids_is_stopped_by_the_browser_too(browser: Browser, hostile: ReportCase) -> None:
    """If escaping ever failed, the page's content security policy would still stop the script."""
    page = OpenedPage(browser, hostile)
    unescaped = '<img src="http://127.0.0.1:9/x" onerror="document.title=1">'
    page.page.evaluate("text => document.body.insertAdjacentHTML('beforeend', text)", unescaped)
    page.page.wait_for_timeout(200)
    assert page.page.title() != "1"
    assert any("Content Security Policy" in message for message in page.told)


@pytest.mark.parametrize("size", [PHONE, DESKTOP, {"width": 320, "height": 500}], ids=["phone", "desktop", "narrow"])
def test_nothing_sticks_out(browser: Browser, hostile: ReportCase, size: dict[str, int]) -> None:
    page = OpenedPage(browser, hostile, viewport=size).page
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    wide = page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(one => !one.closest('.wide, svg, blockquote')
             && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 90))"""
    )
    assert wide == []


def test_all_pictures_are_there(browser: Browser, tmp_path: Path) -> None:
    page = OpenedPage(browser, ReportCase(tmp_path, make_images(30), make_results(30, -40), make_results(30))).page
    widths = page.evaluate("[...document.images].map(one => one.naturalWidth)")
    assert widths
    assert min(widths) > 0
    heights = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(one => one.getBoundingClientRect().height)"
    )
    assert len(heights) == 3 + 2
    assert min(heights) > 80


UNFOLD = "() => document.querySelectorAll('details').forEach(part => { part.open = true })"
SMALLEST_TEXT = """() => Math.min(...[...document.querySelectorAll('body *')]
  .filter(part => [...part.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())
    && part.tagName !== 'title' && part.getClientRects().length)
  .map(part => parseFloat(getComputedStyle(part).fontSize)
    * (part.ownerSVGElement ? part.ownerSVGElement.getBoundingClientRect().width
      / part.ownerSVGElement.viewBox.baseVal.width : 1)))"""


@pytest.mark.parametrize("size", [PHONE, DESKTOP, {"width": 320, "height": 500}], ids=["phone", "desktop", "narrow"])
def test_all_text_is_at_least_12_pixels_and_fits_when_all_is_unfolded(
    browser: Browser, tmp_path: Path, size: dict[str, int]
) -> None:
    page = OpenedPage(browser, make_judged_run(tmp_path), viewport=size).page
    page.evaluate(UNFOLD)
    assert page.evaluate(SMALLEST_TEXT) >= 12
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_a_phone_shows_every_number_of_a_table_with_the_name_of_its_column(browser: Browser, tmp_path: Path) -> None:
    page = OpenedPage(browser, make_judged_run(tmp_path), viewport={"width": 390, "height": 844}).page
    page.evaluate(UNFOLD)
    rights = page.evaluate(
        "[...document.querySelectorAll('.numbers th, .numbers td')].map(cell => cell.getBoundingClientRect().right)"
    )
    assert len(rights) > 20
    assert max(rights) <= 390
    cell = page.locator("td[data-column='candidate']").first
    assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") == '"candidate"'
    assert page.get_by_role("rowheader", name="exact_match").count() >= 1  # still a table for a screen reader


def test_contents_lead_to_their_sections_and_folded_images_unfold_without_a_script(
    browser: Browser, tmp_path: Path
) -> None:
    opened = OpenedPage(browser, make_judged_run(tmp_path))
    page = opened.page
    for link in page.locator("nav.contents a").all():
        link.click()
        target = link.get_attribute("href") or ""
        assert page.locator(target).bounding_box()["y"] < DESKTOP["height"]  # type: ignore[index]
    folded = page.locator("details.more .case").first
    assert not folded.is_visible()
    page.get_by_text("Show all 9").click()
    assert folded.is_visible()
    assert opened.told == []


CONTRAST = """() => {
  const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3)
      .map(one => one / 255).map(one => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const paper = getComputedStyle(document.body).backgroundColor
  return [...document.querySelectorAll('a, summary, li, h1, h2, h3, p, small, td, th, dt, dd, blockquote, figcaption')]
    .filter(one => one.textContent.trim()).map(one => {
      const [low, high] = [light(getComputedStyle(one).color), light(paper)].sort((a, b) => a - b)
      return (high + 0.05) / (low + 0.05) })
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_is_readable_in_light_and_dark(browser: Browser, hostile: ReportCase, scheme: Any) -> None:
    """A contrast of at least 4.5 to 1, as WCAG 2.2 (1.4.3) asks of text of this size."""
    page = OpenedPage(browser, hostile, color_scheme=scheme).page
    page.evaluate(UNFOLD)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != (
        "rgba(0, 0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)"
    )
    assert min(page.evaluate(CONTRAST)) >= 4.5


def test_the_printed_page_is_dark_on_white_and_complete(browser: Browser, tmp_path: Path) -> None:
    report = ReportCase(tmp_path, make_images(12), make_results(12, -40), make_results(12))
    page = OpenedPage(browser, report, color_scheme="dark").page
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    table = page.locator("section[aria-labelledby=measured] table").first
    assert table.bounding_box()["height"] > 20  # type: ignore[index]  # folded on the screen
    assert page.pdf().startswith(b"%PDF-")
