"""What an analyst would get, and what it would cost."""

import pytest

from snowplow_posthog_dagster.mapping.profile import Profile
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.record import Rejected
from tests.mapping.support import WEB_PAGE
from tests.snowplow.samples import contexts, record


@pytest.fixture(scope="module")
def report():
    settings = MappingSettings.model_validate({
        "events": {"page_ping": "drop"}, "filters": [{"name": "bots", "drop": {"bot": ["useragent"]}}]})  # fmt: skip
    profile = Profile(settings)
    for number in range(100):
        minute = f"2022-06-06 04:{number % 60:02d}:00.000"
        profile.add(record(
            event="page_view" if number % 4 else "page_ping", event_id="", txn_id=str(number),
            domain_userid=f"user-{number % 10}" if number % 2 else "", domain_sessionid=f"session-{number % 5}",
            collector_tstamp=minute, derived_tstamp=minute, useragent="Googlebot" if number % 10 == 9 else "",
            page_urlquery="utm_source=x" if number % 3 == 0 else "",
            contexts=contexts((WEB_PAGE, {"id": "p"}))))  # fmt: skip
    profile.add(record(txn_id="no number"))
    profile.add(Rejected(0, 1, 0, b"half a line", ()))
    return profile.report()


def test_every_record_is_counted_once(report):
    assert (report.records, report.dead_letters) == (102, 2)
    assert report.filtered == {"page_ping": 25, "bots": 10}
    assert report.events == {"$pageview": 65}


def test_shares_are_of_the_events_that_are_sent(report):
    assert report.shares == {
        "distinct_id": 40 / 65, "session": 1.0, "place": 0.0, "campaign": pytest.approx(22 / 65, abs=0.02),
        "person_profile": 0.0,
    }  # fmt: skip
    assert report.users == 4 + 25
    assert report.sessions == 5


def test_entities_and_the_bytes_of_every_property(report):
    assert report.entities == {"contexts_com_snowplowanalytics_snowplow_web_page_1": 65}
    assert report.bytes_by_property["platform"] == 65 * len('"platform":"web",')
    assert next(iter(report.bytes_by_property)) == "contexts_com_snowplowanalytics_snowplow_web_page_1"


def test_what_other_policies_would_send(report):
    assert report.billable["as configured"] == report.billable["filters, page_ping: drop"] == 65
    assert report.billable["filters, page_ping: keep"] == 90
    assert report.billable["all records, no filters"] == 100
    assert report.billable["no filters, page_ping: drop"] == 75
    assert report.billable["saved by the filter bots"] == 10
    assert report.billable["filters, page_ping: keep, sample 10 %"] < 40


def test_rates_are_of_the_time_between_arrivals(report):
    assert report.seconds == 59 * 60
    assert report.per_day(65) == pytest.approx(65 * 86_400 / 3_540)
    assert report.per_month(65) == pytest.approx(30 * 65 * 86_400 / 3_540)


def test_a_moment_is_no_rate():
    profile = Profile(MappingSettings())
    profile.add(record())
    assert profile.report().per_day(1) == 0.0
    assert Profile(MappingSettings()).report().shares["session"] == 0.0


def test_exact_copies_are_neither_sent_nor_billed():
    profile = Profile(MappingSettings())
    profile.add(record())
    profile.add_repeat()
    found = profile.report()
    assert (found.records, found.repeats, found.billable["all records, no filters"]) == (2, 1, 1)


def test_a_structured_event_called_page_ping_is_none():
    profile = Profile(MappingSettings.model_validate({"events": {"page_ping": "drop"}}))
    profile.add(record(event="struct", se_action="page_ping"))
    assert profile.report().billable["filters, page_ping: drop"] == 1


def test_the_samples_are_those_that_the_settings_would_draw():
    shares = []
    for salt in ("", "other"):
        settings = MappingSettings.model_validate({"sample": {"percent": 10, "salt": salt}})
        profile = Profile(settings)
        for number in range(300):
            profile.add(record(domain_userid=f"user-{number}", event_id=""))
        billable = profile.report().billable
        assert billable["as configured"] == billable["filters, page_ping: keep, sample 10 %"]
        shares.append(billable["as configured"])
    assert all(shares)
