"""Which time PostHog stores: the five steps of its capture, each of which changes what was sent."""

import pytest

from snowplow_posthog_dagster.sandbox.timestamps import HOUR, SECOND, event_time, to_text
from tests.sandbox.events import NOW

MOMENT = 1614711911123000


@pytest.mark.parametrize(
    "text",
    [
        "2021-03-02T19:05:11.123Z",
        "2021-03-02t19:05:11.123z",
        "2021-03-02T19:05:11.123000+00:00",
        "2021-03-02T21:05:11.123+02:00",
        "2021-03-02T22:05:11.123+03",
        "2021-03-02 19:05:11.123Z",
    ],
)
def test_rfc_3339_is_read_exactly(text):
    assert event_time(text, now=NOW) == (MOMENT, ())


@pytest.mark.parametrize("text", ["2021-03-02 19:05:11.123", "2021-03-02T19:05:11.123", "1614711911123"])
def test_other_forms_are_read_and_noted(text):
    assert event_time(text, now=NOW) == (MOMENT, ("timestamp_not_rfc3339",))


@pytest.mark.parametrize("text", ["yesterday", "2021-02-30T00:00:00Z", "02/03/2021", "29th May 2013 18:04:12"])
def test_what_cannot_be_read_becomes_now(text):
    assert event_time(text, now=NOW) == (NOW, ("timestamp_unparsable",))


@pytest.mark.parametrize("absent", [None, ""])
def test_a_missing_timestamp_is_now(absent):
    assert event_time(absent, now=NOW) == (NOW, ())


def test_a_time_of_sending_corrects_the_clients_clock():
    shifted = event_time("2021-03-02T19:05:11.123Z", now=NOW, sent_at=NOW - 90 * SECOND)
    assert shifted == (MOMENT + 90 * SECOND, ("timestamp_shifted",))


def test_an_offset_replaces_the_timestamp():
    assert event_time("2021-03-02T19:05:11.123Z", now=NOW, offset=5000) == (
        NOW - 5 * SECOND,
        ("timestamp_replaced_by_offset",),
    )


def test_more_than_23_hours_ahead_becomes_now():
    at_most, beyond = to_text(NOW + 23 * HOUR), to_text(NOW + 23 * HOUR + SECOND)
    assert event_time(at_most, now=NOW) == (NOW + 23 * HOUR, ())
    assert event_time(beyond, now=NOW) == (NOW, ("timestamp_clamped",))


def test_a_year_that_does_not_exist_becomes_1970():
    assert event_time(None, now=NOW, offset=10**15)[0] == 0


def test_times_are_told_as_posthogs_api_tells_them():
    assert to_text(MOMENT) == "2021-03-02T19:05:11.123000Z"
    assert to_text(MOMENT // SECOND * SECOND) == "2021-03-02T19:05:11Z"
