"""A page of Assay in a real browser, and all that it asked, said and complained about."""

from typing import Any

from page_answers import BAD, OLD
from pages_server import PagesServer
from playwright.sync_api import Browser, Page

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Neither size has colours of its own, nor do colours move anything: two looks cover both schemes and both sizes.
LOOKS = [("light", DESKTOP), ("dark", PHONE)]
QUERIES = {
    "checkpoints": "?page=checkpoints&suite=demo",
    "explorer": f"?page=explorer&left={OLD}&right={BAD}",
    "run": f"?page=run&run={BAD}",
    "compare": f"?page=compare&left={OLD}&right={BAD}",
}


class OpenedPage:
    """`page` is Playwright's; `requests` are the URLs that left it; `complaints` are console lines, errors, dialogs."""

    def __init__(self, browser: Browser, server: PagesServer, query: str, **context: Any) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = browser.new_context(**{"viewport": DESKTOP} | context).new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(server.url + query)
        self.page.wait_for_load_state("networkidle")

    def query(self) -> str:
        """The query string of the page's address."""
        return str(self.page.evaluate("location.search"))
