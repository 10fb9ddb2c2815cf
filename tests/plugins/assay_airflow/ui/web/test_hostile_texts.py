"""Captions, names, labels, reasons and rationales are shown as text, whatever they hold (a stand-in server)."""

import pytest
from opened_page import LOOKS, QUERIES, OpenedPage
from page_answers import BACKWARDS, HOSTILE, MEGABYTE, SCRIPT
from pages_server import PagesServer
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("scheme", "viewport"), LOOKS)
@pytest.mark.parametrize("name", QUERIES)
def test_no_page_runs_or_fetches_what_a_text_says(
    browser: Browser, server: PagesServer, name: str, scheme: str, viewport: dict[str, int]
) -> None:
    opened = OpenedPage(browser, server, QUERIES[name], color_scheme=scheme, viewport=viewport)
    expect(opened.page.locator("#main")).to_contain_text("document.title='owned'")  # as text
    assert opened.complaints == []  # nor did the policy have to stop anything
    assert {url.startswith(server.url) for url in opened.requests} == {True}
    assert opened.page.title().endswith("\u00b7 Assay")
    assert opened.page.locator("#app script, #app style, img[src='x'], [onerror], a[href^='javascript']").count() == 0
    assert opened.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_caption_is_shown_letter_by_letter(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    captions = opened.page.locator(".side.right .caption")
    assert captions.nth(0).text_content() == SCRIPT
    assert captions.nth(1).text_content() == BACKWARDS
    assert captions.nth(3).text_content() == HOSTILE[3]


def test_of_a_megabyte_the_page_shows_as_much_as_a_browser_lays_out_at_once(
    browser: Browser, server: PagesServer
) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    assert len(opened.page.locator(".side.right .caption").nth(2).text_content() or "") < 1_000
    opened.page.locator(".thumb").nth(2).click()
    caption = opened.page.locator("dialog.opened .caption").nth(1)
    expect(caption).to_contain_text("longer than this page shows")
    assert (caption.text_content() or "").startswith(MEGABYTE[:20_000])


def test_right_to_left_text_does_not_turn_its_neighbours(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    caption = opened.page.locator(".side.right .caption").nth(1)
    assert caption.evaluate("node => getComputedStyle(node).unicodeBidi") in ("isolate", "plaintext")
    assert caption.get_attribute("dir") == "auto"


def test_words_that_differ_are_marked_on_both_sides(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    row = opened.page.locator("li.pair").nth(6)
    assert row.locator(".side.left mark").all_text_contents() == ["black"]
    assert row.locator(".side.right mark").all_text_contents() == ["brown"]


def test_a_link_of_a_record_that_is_no_address_is_not_there(browser: Browser, server: PagesServer) -> None:
    """The record names javascript: as the Ray job's address."""
    opened = OpenedPage(browser, server, QUERIES["run"])
    assert opened.page.get_by_role("link", name="Report").count() == 1
    assert opened.page.get_by_role("link", name="Ray job").count() == 0
