"""Draws the pictures of docs/how-to/look-at-the-pages.md from the runs of the corpus. It is no test:

.assay/control/bin/python -m pytest tests/plugins/assay_airflow/ui/web/draw_pictures.py

The committed pictures were then cut to 64 colours, which halves their bytes.
"""

from pathlib import Path
from urllib.parse import urlencode

import pytest
from opened_page import LOOKS
from page_users import Login
from playwright.sync_api import Browser
from served_pages import log_in, serve_pages

FOLDER = Path(__file__).parents[5] / "docs" / "images" / "pages"
PAIR = {"left": "step-0800-85c1c95b", "right": "step-0809-5acd7fa7"}
HEIGHT = 900  # pixels of a picture: the first screen of a page


@pytest.mark.parametrize("page_name", ["checkpoints", "run", "explorer", "compare"])
@pytest.mark.parametrize(("scheme", "viewport"), LOOKS)
def test_draw(
    browser: Browser, login: Login, pages_root: Path, page_name: str, scheme: str, viewport: dict[str, int]
) -> None:
    runs = {side: f"{folder}/{next((pages_root / 'runs' / folder).iterdir()).name}" for side, folder in PAIR.items()}
    queries = {
        "checkpoints": {"suite": "demo"},
        "run": {"run": runs["right"]},
        "explorer": runs | {"sort": "exact_match"},
        "compare": runs,
    }
    client = login("VIEWER")
    with serve_pages(client) as url, log_in(browser, client, viewport=viewport, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(f"{url}?{urlencode({'page': page_name} | queries[page_name])}")
        page.wait_for_load_state("networkidle")
        assert page.get_by_role("alert").count() == 0, page.get_by_role("alert").all_text_contents()
        FOLDER.mkdir(parents=True, exist_ok=True)
        size = "wide" if viewport["width"] > 600 else "phone"
        page.screenshot(
            path=FOLDER / f"{page_name}-{size}-{scheme}.png",
            clip={"x": 0, "y": 0, "width": viewport["width"], "height": HEIGHT},
            full_page=True,
        )
