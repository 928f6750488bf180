"""The timestamp that PostHog gets."""

import pytest

from snowplow_posthog_dagster.snowplow.record import Rejected
from tests.mapping.support import event, mapped, outcome

ARRIVAL = "2022-06-06 04:29:38.123"


@pytest.mark.parametrize(
    "derived",
    [
        "2000-01-01 00:00:00.000",
        "2022-06-01 00:00:00.000",
        "2022-06-06 04:29:38.123",
        "2022-06-07 03:29:38.123",  # 23 h after arrival
    ],
)
def test_the_derived_time_is_sent(derived):
    made = mapped(derived_tstamp=derived, collector_tstamp=ARRIVAL)
    found = event(derived_tstamp=derived, collector_tstamp=ARRIVAL)
    assert found["timestamp"] == derived.replace(" ", "T") + "Z"
    assert made.notes == ("no_distinct_id",)
    assert "derived_tstamp" not in found["properties"]


@pytest.mark.parametrize(
    "derived",
    ["1970-01-01 00:00:00.000", "1999-12-31 23:59:59.999", "2022-06-07 03:29:38.124", "2106-02-07 06:28:15.000",
     "9999-12-31 23:59:59.999", "0001-01-01 00:00:00.000", "0000-01-01 00:00:00.000"],
)  # fmt: skip
def test_the_time_of_a_broken_clock_is_replaced_by_arrival_and_kept(derived):
    found = event(derived_tstamp=derived, collector_tstamp=ARRIVAL)
    assert found["timestamp"] == "2022-06-06T04:29:38.123Z"
    assert found["properties"]["derived_tstamp"] == derived.replace(" ", "T") + "Z"
    assert "timestamp_replaced" in mapped(derived_tstamp=derived, collector_tstamp=ARRIVAL).notes


def test_without_a_derived_time_arrival_is_sent_and_nothing_counted():
    made = mapped(derived_tstamp="", user_id="u")
    assert (event(derived_tstamp="")["timestamp"], made.notes) == ("2022-06-06T04:29:38.123Z", ())


def test_a_collector_without_a_clock_does_not_spoil_the_derived_time():
    for collector in ("", "1970-01-01 00:00:00.000"):
        found = event(derived_tstamp="2022-06-06 04:00:00.000", collector_tstamp=collector)
        assert found["timestamp"] == "2022-06-06T04:00:00.000Z"


@pytest.mark.parametrize(
    ("derived", "collector"), [("", ""), ("1970-01-01 00:00:00.000", ""), ("", "2100-01-01 00:00:00.000")]
)
def test_a_record_without_any_usable_time_is_a_dead_letter(derived, collector):
    found = outcome(derived_tstamp=derived, collector_tstamp=collector)
    assert isinstance(found, Rejected)
    assert found.errors[0].column == "collector_tstamp"


def test_without_a_collector_the_enrichment_tells_that_a_clock_was_ahead():
    """PostHog would move such an event to the moment of the load, another one in every replay."""
    enriched = {"collector_tstamp": "", "etl_tstamp": "2022-06-06 04:30:00.000"}
    for late in ("2022-06-06 04:30:00.000", "2022-06-07 03:30:00.000"):
        assert event(derived_tstamp=late, **enriched)["timestamp"] == late.replace(" ", "T") + "Z"
    assert isinstance(outcome(derived_tstamp="2022-06-07 03:30:00.001", **enriched), Rejected)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("2022-06-06 04:00:00", "2022-06-06T04:00:00.000Z"),
        ("2022-06-06 04:00:00.8", "2022-06-06T04:00:00.800Z"),
        ("2022-06-06T04:00:00.886Z", "2022-06-06T04:00:00.886Z"),
        ("2022-06-06 04:00:00.886123456", "2022-06-06T04:00:00.886Z"),
        ("2022-06-05 23:59:59.9999", "2022-06-05T23:59:59.999Z"),
    ],
)
def test_every_form_of_timestamp_is_sent_in_one(written, sent):
    found = event(derived_tstamp=written, etl_tstamp=written)
    assert (found["timestamp"], found["properties"]["etl_tstamp"]) == (sent, sent)


def test_the_milliseconds_are_those_of_the_text():
    assert mapped(derived_tstamp="2022-06-06 00:00:00.001").timestamp == 1_654_473_600_001
