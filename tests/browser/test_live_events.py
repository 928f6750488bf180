"""The Live events page as people use it: look, filter, open one event, go on to its person and session."""

import pytest
from playwright.sync_api import Page, expect

from snowplow_posthog_dagster.sandbox.capture import uuid_of_time
from tests.sandbox.events import a_batch, an_event, post

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="document.title=\'broken\'"><script>document.title="broken"</script>'
USUAL = {"$geoip_disable": True, "$process_person_profile": False}


@pytest.fixture
def landed(stand_in):
    """Three page views of two people on two days, and a click."""
    session = str(uuid_of_time(1614643200 * 1_000_000))
    views = [
        an_event(distinct_id="ann", properties=USUAL | {"$current_url": f"https://a/{number}", "$session_id": session})
        for number in range(2)
    ]
    post(stand_in.host, a_batch(*views, an_event(distinct_id="bob", timestamp="2021-03-03T00:00:01Z")))
    post(stand_in.host, a_batch(an_event(event="click", properties=USUAL | {"nested": {"list": [1, "two"]}})))
    return stand_in


def names(page: Page) -> list[str]:
    return page.locator("#events a.name").all_inner_texts()


def test_the_newest_events_come_first(page, landed):
    page.goto(landed.host)
    expect(page).to_have_title("Live events · sandbox")
    assert names(page) == ["click", "$pageview", "$pageview", "$pageview"]
    expect(page.locator("#merged")).to_have_text("4")
    expect(page.locator("#violations")).to_contain_text("None")
    assert [row.split() for row in page.locator("#days tbody tr").all_inner_texts()] == [
        ["2021-03-03", "1"],
        ["$pageview", "1", "1"],
        ["2021-03-02", "3"],
        ["$pageview", "2", "1"],
        ["click", "1", "1"],
    ]


def test_the_filter_narrows_and_clears(page, landed):
    page.goto(landed.host + "/events")
    page.get_by_label("Event").fill("$pageview")
    page.get_by_label("Distinct id").fill("ann")
    page.get_by_role("button", name="Filter").click()
    assert names(page) == ["$pageview", "$pageview"]
    expect(page.get_by_label("Distinct id")).to_have_value("ann")
    page.get_by_label("Text in properties").fill("HTTPS://A/1")
    page.get_by_role("button", name="Filter").click()
    assert names(page) == ["$pageview"]
    page.get_by_label("Day").fill("2021-03-03")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No event matches the filter.")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    assert len(names(page)) == 4


def test_a_day_is_a_click_away(page, landed):
    page.goto(landed.host + "/events")
    page.locator("#days").get_by_role("link", name="2021-03-03").click()
    assert names(page) == ["$pageview"]
    expect(page.locator("#events")).to_contain_text("bob")


def test_what_is_no_day_is_said(page, landed):
    page.goto(landed.host + "/events?day=yesterday")
    expect(page.get_by_role("alert")).to_contain_text("yesterday is no day")
    assert len(names(page)) == 4


def test_an_event_opens_with_its_properties(page, landed):
    page.goto(landed.host + "/events")
    page.locator("#events").get_by_role("link", name="click").click()
    expect(page.get_by_role("heading", name="click")).to_be_visible()
    nested = page.locator("#properties tr", has_text="nested").locator("td.value")
    assert nested.inner_text().split() == ["{", '"list":', "[", "1,", '"two"', "]", "}"]
    page.locator("#event").get_by_role("link", name="someone").click()
    assert names(page) == ["click"]


def test_events_of_strangers_cannot_do_anything(page, stand_in):
    properties = USUAL | {HOSTILE: HOSTILE, "$current_url": "javascript:document.title='broken'"}
    post(stand_in.host, a_batch(an_event(event=HOSTILE, distinct_id=HOSTILE, properties=properties)))
    page.goto(stand_in.host + "/events")
    expect(page.locator("#events a.name")).to_have_text(HOSTILE)
    page.locator("#events a.name").click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
    expect(page.locator("#properties")).to_contain_text(HOSTILE)
    assert page.locator("main img, main script").count() == 0
    assert page.title() != "broken"


def test_older_events_are_a_click_away(page, stand_in):
    post(stand_in.host, a_batch(*[an_event(event=f"event {number}") for number in range(130)]))
    page.goto(stand_in.host + "/events")
    assert (len(names(page)), names(page)[0]) == (100, "event 129")
    page.get_by_role("link", name="Older events").click()
    assert (len(names(page)), names(page)[0]) == (30, "event 29")


def test_copies_are_marked_and_violations_shown(page, stand_in):
    event = an_event(properties={})
    for _ in range(3):
        post(stand_in.host, a_batch(event))
    page.goto(stand_in.host + "/events")
    expect(page.locator("#events")).to_contain_text("×3")
    expect(page.locator("#merged")).to_have_text("1")
    expect(page.locator("#violations")).to_contain_text("ip stamped with geoip on")


def test_the_page_can_refresh_itself(page, landed):
    page.goto(landed.host + "/events?event=click")
    page.get_by_role("link", name="Refresh every 5 s").click()
    assert names(page) == ["click"]
    post(landed.host, a_batch(an_event(event="click")))
    expect(page.locator("#events a.name")).to_have_count(2, timeout=8000)


def test_sessions_lead_to_their_events(page, landed):
    page.goto(landed.host + "/sessions")
    expect(page.locator("#counted")).to_have_text("1")
    row = page.locator("#sessions tbody tr").all_inner_texts()[0].split("\t")
    assert [cell.strip() for cell in row[1:8]] == ["0 s", "ann", "2", "2", "0", "https://a/0", "https://a/0"]
    page.locator("#sessions a").last.click()
    assert names(page) == ["$pageview", "$pageview"]


def test_a_narrow_window_shows_everything(page, landed):
    page.set_viewport_size({"width": 420, "height": 800})
    page.goto(landed.host + "/events")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
