"""The pages by keyboard alone, and their state in the address (a stand-in server)."""

import re

import pytest
from opened_page import QUERIES, OpenedPage
from page_answers import BAD, IMAGES, OLD
from pages_server import PagesServer
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.slow


def test_from_the_list_of_checkpoints_to_the_worst_image_by_keys(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["checkpoints"] + "&sort=step&order=asc")
    page = opened.page
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("tr.current")).to_contain_text("step-0800")
    page.keyboard.press("ArrowDown")
    expect(page.locator("tr.current")).to_contain_text("step-0809")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("step-0809")
    page.keyboard.press("e")
    expect(page.locator("li.pair")).to_have_count(10)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("dialog.opened")).to_contain_text("image-000001.png")
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog.opened")).to_contain_text("image-000002.png")
    page.keyboard.press("Escape")
    expect(page.locator("dialog.opened")).to_have_count(0)
    expect(page.locator("li.pair.current")).to_contain_text("image-000002.png")
    assert opened.complaints == []


def test_two_checkpoints_are_picked_and_compared_by_keys(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["checkpoints"] + "&sort=step&order=asc")
    for key in ("j", "x", "j", "x", "c"):
        opened.page.keyboard.press(key)
    expect(opened.page.get_by_role("heading", level=1)).to_contain_text("step-0800 \u2192 step-0809")
    expect(opened.page.locator("table.numbers")).to_be_visible()
    assert server.last_question("compare") == {"left": [OLD], "right": [BAD]}


def test_the_help_lists_the_keys_of_the_page(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    opened.page.keyboard.press("?")
    expect(opened.page.locator("dialog.help")).to_contain_text("close the image")
    opened.page.keyboard.press("Escape")
    expect(opened.page.locator("dialog.help")).to_have_count(0)


def test_the_arrows_page_through_a_hundred_thousand_images(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    page = opened.page
    expect(page.locator("h2").first).to_have_text(f"1 to 10 of {IMAGES:,} images")
    page.keyboard.press("n")
    expect(page.locator("h2").first).to_have_text(f"11 to 20 of {IMAGES:,} images")
    page.keyboard.press("k")  # before the first of a page stands the last of the page before
    expect(page.locator("li.pair.current")).to_contain_text("image-000009.png")
    pair_queries = [query for route, query in server.questions if route == "pairs"]
    assert {int(query["limit"][0]) for query in pair_queries} == {10}


def test_a_letter_typed_into_the_search_is_no_command(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    page = opened.page
    page.keyboard.press("/")
    with page.expect_response(re.compile(r"api/pairs.*q=jk%3F")):
        page.keyboard.type("jk?")
    expect(page.locator("h2").first).to_have_text("1 to 10 of 37 images")
    assert server.last_question("pairs")["q"] == ["jk?"]
    assert page.locator("dialog").count() == 0


def test_filters_are_in_the_address_and_the_back_button_takes_them_out(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    page = opened.page
    page.get_by_label("Sort by").select_option("words")
    with page.expect_response(re.compile("api/pairs.*status=truncated")):
        page.get_by_label("Status").select_option("truncated")
    expect(page).to_have_url(re.compile("sort=words&status=truncated"))
    assert server.last_question("pairs")["status"] == ["truncated"]
    shared = OpenedPage(browser, server, opened.query())
    expect(shared.page.get_by_label("Status")).to_have_value("truncated")
    expect(shared.page.get_by_label("Sort by")).to_have_value("words")
    page.go_back()
    expect(page.get_by_label("Status")).to_have_value("")
    expect(page.get_by_label("Sort by")).to_have_value("words")


def test_dragging_over_the_histogram_filters_the_images(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    page = opened.page
    box = page.locator(".histogram svg").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 20, steps=4)
    with page.expect_response(re.compile("api/pairs.*metric_min=")):
        page.mouse.up()
    expect(page).to_have_url(re.compile("metric_min="))
    question = server.last_question("pairs")
    (least,), (most,) = question["metric_min"], question["metric_max"]
    assert -1 < float(least.removeprefix("judge:")) < float(most.removeprefix("judge:")) < 0
    # The histogram keeps its shape, and the fields say the same range to those who use a keyboard.
    assert "metric_min" not in server.last_question("histogram")
    expect(page.get_by_role("spinbutton", name="From")).to_have_value(least.removeprefix("judge:"))


def test_an_error_is_one_line_with_a_way_on(browser: Browser, server: PagesServer) -> None:
    server.failing["pairs"] = (404, "no run of this name below the root")
    opened = OpenedPage(browser, server, QUERIES["explorer"])
    expect(opened.page.get_by_role("alert")).to_contain_text("no run of this name below the root")
    del server.failing["pairs"]
    opened.page.get_by_role("button", name="Try again").click()
    expect(opened.page.locator("li.pair")).to_have_count(10)


def test_links_open_a_tab_also_from_the_frame_that_airflow_puts_around(browser: Browser, server: PagesServer) -> None:
    """Airflow's sandbox lets no frame open a tab: the link opens it through the page around."""
    page = browser.new_context().new_page()
    page.goto(f"{server.origin}/team/a/")
    frame = page.frame_locator("iframe")
    with page.context.expect_page() as tab:
        frame.get_by_role("link", name="Share").click()
    assert re.search(r"/team/a/assay/\?page=explorer&right=x$", tab.value.url)


def test_the_pages_follow_airflows_colour_mode(browser: Browser, server: PagesServer) -> None:
    opened = OpenedPage(browser, server, QUERIES["compare"], color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = opened.page.evaluate(ground)
    airflow = opened.page.context.new_page()
    airflow.goto(f"{server.origin}/team/a/")
    airflow.evaluate("localStorage.setItem('theme', 'dark')")
    expect(opened.page.locator("html")).to_have_class("dark")
    assert opened.page.evaluate(ground) != light
