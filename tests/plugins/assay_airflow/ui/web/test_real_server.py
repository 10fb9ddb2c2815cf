"""The bundle over the pages' own server, with Airflow's login and the runs of the corpus: the way of a morning."""

import re
from collections.abc import Iterator

import pytest
from page_users import Login
from playwright.sync_api import Browser, Page, expect
from served_pages import log_in, serve_pages

pytestmark = pytest.mark.slow


@pytest.fixture
def page(browser: Browser, login: Login) -> Iterator[Page]:
    """The page of checkpoints for a viewer."""
    client = login("VIEWER")
    with serve_pages(client) as url, log_in(browser, client) as context:
        page = context.new_page()
        page.goto(f"{url}?page=checkpoints")
        yield page


def test_from_all_checkpoints_to_why_one_failed_and_its_worst_images(page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    row = page.locator(".matrix tbody tr", has_text="step-0809")
    expect(row.locator(".badge")).to_contain_text("FAIL")
    row.get_by_role("link", name="step-0809").click()
    expect(page.locator(".sentence")).to_contain_text("worse")
    expect(page.locator(".funnel li").first).to_contain_text("read")
    page.get_by_role("link", name="Ten worst images").click()
    expect(page.locator("li.pair")).to_have_count(10)
    expect(page.locator(".side.right mark").first).to_be_visible()
    expect(page.locator(".score b.fail").first).to_be_visible()
    picture = page.locator("li.pair img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    expect(page.locator(".histogram .bar").first).to_be_attached()
    assert complaints == []


def test_two_picked_checkpoints_are_compared_metric_by_metric(page: Page) -> None:
    for name in ("step-0300", "step-0809"):
        page.get_by_label(f"Pick {name} to compare").check()
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("step-0300 \u2192 step-0809")
    row = page.locator(".numbers tbody tr", has_text="exact match")
    expect(row).to_contain_text("better")
    expect(row.locator("svg.interval")).to_be_visible()


def test_filters_reach_the_server_and_come_back(page: Page) -> None:
    page.locator(".matrix tbody tr", has_text="step-0809").get_by_role("link", name="Images").click()
    expect(page.locator("li.pair")).to_have_count(10)
    all_images = page.locator("h2").first.text_content() or ""
    page.get_by_label("Sort by").select_option("exact_match")
    expect(page.locator(".score").first).to_contain_text("exact match")
    page.get_by_role("spinbutton", name="To").fill("-0.5")
    expect(page).to_have_url(re.compile("metric_max=exact_match%3A-0.5"))
    expect(page.locator("h2").first).not_to_have_text(all_images)
    page.get_by_role("searchbox").fill("no caption says this")
    expect(page.locator("h2").first).to_have_text("No image fits these filters")
    page.get_by_role("button", name="Clear all filters").click()
    expect(page.locator("h2").first).to_have_text(all_images)
