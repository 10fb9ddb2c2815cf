"""axe-core finds nothing serious on any page, in light and dark, on a desk and a phone (a stand-in server)."""

import pytest
from built_pages import PACKAGES, build_pages
from opened_page import LOOKS, QUERIES, OpenedPage
from pages_server import PagesServer
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.slow


def list_violations(page: Page) -> list[str]:
    """The serious and critical findings of axe-core: rule and element."""
    page.evaluate((PACKAGES / "axe-core" / "axe.min.js").read_text())
    report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in report["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "viewport"), LOOKS)
@pytest.mark.parametrize("name", QUERIES)
def test_no_page_has_a_serious_fault(
    browser: Browser, server: PagesServer, name: str, scheme: str, viewport: dict[str, int]
) -> None:
    build_pages()
    opened = OpenedPage(browser, server, QUERIES[name], color_scheme=scheme, viewport=viewport)
    assert list_violations(opened.page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_neither_an_opened_image_nor_the_help_has_a_serious_fault(
    browser: Browser, server: PagesServer, scheme: str
) -> None:
    build_pages()
    opened = OpenedPage(browser, server, QUERIES["explorer"], color_scheme=scheme)
    opened.page.locator(".thumb").nth(5).click()
    expect(opened.page.locator("dialog.opened")).to_be_visible()
    assert list_violations(opened.page) == []
    opened.page.keyboard.press("Escape")
    opened.page.keyboard.press("?")
    expect(opened.page.locator("dialog.help")).to_be_visible()
    assert list_violations(opened.page) == []
