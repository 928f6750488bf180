"""No event above 900 KiB leaves."""

import orjson
import pytest

from snowplow_posthog_dagster.mapping.size import MARKER, MAX_EVENT_BYTES
from snowplow_posthog_dagster.snowplow.record import Rejected
from tests.mapping.support import GITLAB_STANDARD, WEB_PAGE, event, link_click, mapped, outcome

STANDARD, PAGE = "contexts_com_gitlab_gitlab_standard_1", "contexts_com_snowplowanalytics_snowplow_web_page_1"
LINK = "unstruct_event_com_snowplowanalytics_snowplow_link_click_1"


def test_the_largest_entities_are_shed_first_and_only_as_many_as_needed():
    given = {"entities": [(WEB_PAGE, {"id": "p", "x": "a" * 400_000}), (GITLAB_STANDARD, {"x": "b" * 600_000})]}
    made = mapped(**given, user_id="u")
    assert len(made.event) <= MAX_EVENT_BYTES
    assert made.notes == ("shed",)
    found = event(**given)["properties"]
    assert (found[MARKER], STANDARD in found, PAGE in found) == ([STANDARD], False, True)
    assert found["$pageview_id"] == "p"


def test_then_self_describing_data_and_then_long_texts():
    given = {"entities": [(WEB_PAGE, {"x": "a" * 500_000})], **link_click(targetUrl="b" * 500_000),
             "page_title": "c" * 950_000, "page_urlpath": "d" * 5_000}  # fmt: skip
    found = event(**given)["properties"]
    assert found[MARKER] == [PAGE, LINK, "title"]
    assert (found["title"], found["$pathname"]) == ("c" * 1_000, "d" * 5_000)


def test_what_is_still_too_large_is_a_dead_letter():
    settings = {"identity": {"person_properties": {"set": {"a": "gitlab_standard.x"}, "force_history": True}}}
    found = outcome(settings, user_id="u", entities=[(GITLAB_STANDARD, {"x": "a" * 950_000})])
    assert isinstance(found, Rejected)
    assert "more than PostHog takes" in found.errors[0].message


@pytest.mark.parametrize("character", ["a", "ü", "\u2028", '"', "\\", "\x7f", "😀"])
def test_the_limit_holds_for_bytes_as_they_are_sent(character):
    made = mapped(page_title=character * 500_000, page_referrer=character * 300_000)
    assert len(made.event) <= MAX_EVENT_BYTES
    assert orjson.loads(made.event)["properties"][MARKER][0] == "title" if MARKER.encode() in made.event else True


def test_integers_of_any_size_are_weighed_too():
    found = event(entities=[(GITLAB_STANDARD, {"n": [10**30] * 40_000}), (WEB_PAGE, {"id": "p"})])["properties"]
    assert found[MARKER] == [STANDARD]


@pytest.mark.parametrize("value", [[{"k": "v"}] * 85_000, '<a href="/x">' * 60_000, "C:\\" * 220_000])
def test_the_limit_holds_for_the_event_as_a_string_inside_json(value):
    made = mapped(entities=[(GITLAB_STANDARD, {"x": value}), (WEB_PAGE, {"id": "p"})])
    assert len(orjson.dumps(made.event.decode())) < 1_000_000
    assert orjson.loads(made.event)["properties"][MARKER] == [STANDARD]


def test_no_more_is_shed_than_escaping_makes_necessary():
    quoted = [(GITLAB_STANDARD, {"x": '"' * 150_000}), (WEB_PAGE, {"x": [{"k": "v"}] * 50_000})]
    assert event(entities=quoted)["properties"][MARKER] == [PAGE]
    assert MARKER not in event(entities=[(WEB_PAGE, {"x": "a" * 800_000})])["properties"]
