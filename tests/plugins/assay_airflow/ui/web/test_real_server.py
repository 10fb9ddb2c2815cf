"""The bundle over the pages' own server, with Airflow's login and the runs of the corpus: the way of a morning."""

import re
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from page_users import Login
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.slow


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        self.listens.set()


@pytest.fixture
def page(browser: Browser, login: Login) -> Iterator[Page]:
    """The page of checkpoints for a viewer."""
    client = login("VIEWER")
    server = Server(uvicorn.Config(client.app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert server.listens.wait(60)
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"Authorization": client.headers["Authorization"]}
    context = browser.new_context(extra_http_headers=headers)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/assay/?page=checkpoints")
    yield page
    context.close()
    server.should_exit = True
    thread.join(30)


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


def test_filters_reach_the_server_and_come_back(page: Page) -> None:
    page.locator(".matrix tbody tr", has_text="step-0809").get_by_role("link", name="Images").click()
    expect(page.locator("li.pair")).to_have_count(10)
    page.get_by_label("Sort by").select_option("exact_match")
    expect(page.locator(".score").first).to_contain_text("exact match")
    page.get_by_role("spinbutton", name="To").fill("-0.5")
    expect(page).to_have_url(re.compile("metric_max=exact_match%3A-0.5"))
    page.wait_for_load_state("networkidle")
    worse = page.locator("h2").first.text_content() or ""
    page.get_by_role("searchbox").fill("no caption says this")
    expect(page.locator("h2").first).to_have_text("No image fits these filters")
    page.get_by_role("button", name="Clear all filters").click()
    expect(page.locator("li.pair")).to_have_count(10)
    assert (page.locator("h2").first.text_content() or "") != worse
