"""What the page of checkpoints says of each run (a stand-in server)."""

import pytest
from opened_page import QUERIES, OpenedPage
from pages_server import PagesServer
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(browser: Browser, server: PagesServer) -> OpenedPage:
    return OpenedPage(browser, server, QUERIES["checkpoints"])


def test_the_best_that_passed_and_the_newest_stand_first(opened: OpenedPage) -> None:
    best, newest = opened.page.locator(".card").all()
    expect(best).to_contain_text("step-0800 baseline")
    expect(best).to_contain_text("judge 0.970 [0.950, 0.990]")
    expect(newest).to_contain_text("step-0809")
    expect(newest.get_by_role("link", name="Its ten worst images")).to_be_visible()


def test_a_metric_that_is_worse_within_its_margin_is_told_from_one_that_fails(opened: OpenedPage) -> None:
    failed = opened.page.locator("tr", has_text="step-0809").locator(".outcome").first
    within = opened.page.locator("tr", has_text="step-0840").locator(".outcome").first
    assert (failed.get_attribute("title"), within.get_attribute("title")) == ("worse", "worse, within the margin")
    assert "fail" in (failed.get_attribute("class") or "").split()
    assert "fail" not in (within.get_attribute("class") or "").split()


def test_the_trend_has_a_point_with_a_name_for_each_run_that_has_a_step(opened: OpenedPage) -> None:
    points = opened.page.locator(".trend a.point")
    assert sorted(str(point.get_attribute("aria-label")) for point in points.all()) == [
        "step-0800: 0.970 [0.950, 0.990], PASS",
        "step-0809: 0.780 [0.760, 0.800], FAIL",
        "step-0840: 0.960 [0.940, 0.980], INCONCLUSIVE",
    ]
    expect(opened.page.locator(".trend .legend")).to_contain_text("baseline step-0800 \u00b1 margin 0.050")
    expect(opened.page.locator(".trend .legend")).to_contain_text("1 without a step or a value")


def test_a_validation_under_way_shows_its_stage_and_progress(opened: OpenedPage) -> None:
    live = opened.page.get_by_role("region", name="Under way")
    expect(live).to_contain_text("step-0900")
    expect(live).to_contain_text("3 of 9")
    expect(live.get_by_role("progressbar")).to_have_attribute("value", "3")


def test_rows_are_filtered_by_verdict_and_text(opened: OpenedPage) -> None:
    rows = opened.page.locator(".matrix tbody tr")
    expect(rows).to_have_count(4)
    opened.page.get_by_role("button", name="FAIL 2").click()
    expect(rows).to_have_count(2)
    opened.page.get_by_role("searchbox").fill("step-0809")
    expect(rows).to_have_count(1)
    assert opened.query().endswith("verdict=FAIL&q=step-0809")
