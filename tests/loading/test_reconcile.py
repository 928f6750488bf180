"""A day is believed after its events were seen in PostHog; what is missing is named with its likely cause."""

import time
from typing import Any

import pytest

from snowplow_posthog_dagster.automation.housekeeping import keep_house
from snowplow_posthog_dagster.errors import CaptureUnavailableError
from snowplow_posthog_dagster.loading.causes import Evidence, Sent, likely_cause
from snowplow_posthog_dagster.loading.reconcile import ReconcileReport, Reconciliation, Stored, differences
from snowplow_posthog_dagster.loading.remap import plan, remap
from snowplow_posthog_dagster.loading.setup import mapper_of
from snowplow_posthog_dagster.posthog.query import QueryClient
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.sandbox.projects import Project
from snowplow_posthog_dagster.sandbox.stand_in import QueryOptions
from snowplow_posthog_dagster.storage.entries import Delivered, Skip
from tests.ground import Ground, lines_of, user_line
from tests.loading.test_replay import replay
from tests.snowplow.samples import line

YEARS_10 = 10 * 365 * 86_400


def reconcile(ground: Ground, wait_seconds: float = 0.0) -> ReconcileReport:
    return Reconciliation(
        ground.load(), ground.query, api_key=ground.settings.project_api_key, wait_seconds=wait_seconds
    ).run()


def project(**changes: Any) -> Project:
    return Project(id=1, name="Sandbox", api_token="phc_sandbox").model_copy(update=changes)


def test_a_day_that_arrived_agrees_and_is_closed_again(ground: Ground) -> None:
    ground.put("a", lines_of(5))
    ground.put("b", lines_of(3, derived_tstamp="2022-06-06 17:00:00.000"), hour=17)
    ground.run()
    report = reconcile(ground)
    assert (report.result, report.sampled, report.found, report.cause) == ("agree", 8, 8, "")
    (entry,) = ground.state().reconciled
    assert (entry.result, entry.sampled, entry.found) == ("agree", 8, 8)
    assert ground.is_closed()


def test_ingestion_lag_is_waited_for(ground: Ground) -> None:
    ground.posthog.set_queries(QueryOptions(lag_seconds=4.0))
    ground.put("a", lines_of(3))
    ground.run()
    assert reconcile(ground).missing == 3
    assert reconcile(ground, wait_seconds=30.0).result == "agree"


def test_the_wait_for_ingestion_ends(ground: Ground) -> None:
    ground.posthog.set_queries(QueryOptions(lag_seconds=3600.0))
    ground.put("a", lines_of(1))
    ground.run()
    started = time.monotonic()
    assert reconcile(ground, wait_seconds=2.0).result == "gap"
    assert time.monotonic() - started < 20.0


def test_an_unknown_token_is_the_cause(ground: Ground) -> None:
    ground.posthog.set_projects([project(api_token="phc_another")])
    ground.put("a", lines_of(3))
    ground.run()
    report = reconcile(ground)
    assert (report.result, report.missing) == ("gap", 3)
    assert report.cause.startswith("unknown token")


def test_a_billing_limit_is_the_cause_when_nothing_arrives_at_all(ground: Ground) -> None:
    ground.posthog.set_projects([project(billing_limit=True)])
    ground.put("a", lines_of(3))
    ground.run()
    assert reconcile(ground).cause.startswith("billing limit")


def test_old_events_missing_beside_young_ones_are_dropped_by_age(ground: Ground) -> None:
    age = int(time.time()) - 1654490000  # between the two hours
    ground.posthog.set_projects([project(drop_events_older_than_seconds=age)])
    ground.put("a", [*lines_of(2), *lines_of(2, derived_tstamp="2022-06-06 17:00:00.000")])
    ground.run()
    report = reconcile(ground)
    assert (report.found, report.missing) == (2, 2)
    assert "drops events older than" in report.cause


def test_all_missing_while_others_arrive_are_dropped_by_age(ground: Ground) -> None:
    ground.posthog.set_projects([project(drop_events_older_than_seconds=86_400 * 30)])
    ground.put("a", lines_of(3))
    ground.run()
    _capture_live_event(ground)
    assert "drops events older than" in reconcile(ground).cause


def _capture_live_event(ground: Ground) -> None:
    """Somebody's SDK sends into the same project."""
    from posthog import Posthog

    client = Posthog(ground.posthog.project_api_key, host=ground.posthog.host, sync_mode=True)
    client.capture("live", distinct_id="somebody", properties={"$geoip_disable": True})
    client.shutdown()


def test_a_restricted_event_is_named(ground: Ground) -> None:
    ground.posthog.set_projects([project(restricted_events=frozenset({"secret"}))])
    secret = {"event": "struct", "se_category": "c", "se_action": "secret"}
    ground.put("a", [*lines_of(2), *lines_of(2, **secret), *lines_of(1)])
    ground.run()
    report = reconcile(ground)
    assert report.missing == 2 and "restrictions" in report.cause and "'secret'" in report.cause


def test_a_restricted_person_is_named(ground: Ground) -> None:
    ground.posthog.set_projects([project(restricted_distinct_ids=frozenset({"blocked"}))])
    ground.put("a", [*lines_of(2), user_line("blocked"), user_line("blocked"), *lines_of(1)])
    ground.run()
    report = reconcile(ground)
    assert "restrictions" in report.cause and "1 distinct_id" in report.cause
    assert "blocked" not in report.cause, "the log keeps no id of a person"


def test_other_content_is_a_gap_with_the_fields_named(ground: Ground) -> None:
    good = user_line("someone", page_title="as sent")
    ground.put("a", [good])
    ground.transform()
    other = Ground(ground.connection, ground.posthog, ground.buckets, {"POSTHOG_TARGET": "other"})
    # Another writer, with other settings, puts another event under the same key.
    other.file = {"mapping": {"privacy": {"drop": ["page_title"]}}}
    other.run()
    load = ground.load()
    state = load.log.state()
    for known in state.objects.values():
        for name in known.batches:
            load.log.write([Delivered(known.object_id, 0, name, 0, 1, "acknowledged")], writer="w")
    report = reconcile(ground)
    assert (report.result, report.differing) == ("gap", 1)
    assert "title" in " ".join(report.fields) and "transformation" in report.cause


def test_a_record_in_two_objects_is_one_event_and_agrees(ground: Ground) -> None:
    twice = user_line("someone")
    ground.put("a", [twice])
    ground.put("b", [twice, *lines_of(1)])
    ground.run()
    report = reconcile(ground)
    assert (report.result, report.sampled, report.copies) == ("agree", 3, 1)


def test_a_synthetic_duplicate_of_which_posthog_keeps_one_is_no_gap(ground: Ground) -> None:
    ground.posthog.set_queries(QueryOptions(show_duplicates=False))
    event_id = "c6ef3124-b53a-4b13-a233-0088f79dcbcb"
    ground.put("a", [line(event_id=event_id, domain_userid="u", page_title="one")])
    ground.put("b", [line(event_id=event_id, domain_userid="u", page_title="two")])
    ground.run()
    report = reconcile(ground)
    assert (report.result, report.other_record) == ("agree", 1)


def test_a_synthetic_duplicate_within_one_object_is_no_gap_either(ground: Ground) -> None:
    ground.posthog.set_queries(QueryOptions(show_duplicates=False))
    same = {"event_id": "c6ef3124-b53a-4b13-a233-0088f79dcbcb", "domain_userid": "u"}
    ground.put("a", [line(**same, page_title="one"), line(**same, page_title="two")])
    ground.run()
    report = reconcile(ground)
    assert (report.result, report.other_record) == ("agree", 1)


def test_what_was_delivered_before_its_object_was_overwritten_is_checked(ground: Ground) -> None:
    ground.put("a", lines_of(3))
    ground.run()
    ground.put("a", lines_of(4, page_title="again"))
    ground.run()
    report = reconcile(ground)
    assert (report.result, report.sampled, report.not_checked) == ("agree", 7, 0)


def test_the_events_of_a_new_mapping_are_waited_for_behind_those_of_the_old_one(ground: Ground) -> None:
    ground.put("a", [user_line("u", page_title="a title")])
    ground.run()
    ground.file = {"mapping": {"properties": {"drop": ["page_title"]}}}
    load, mapper = ground.load(), mapper_of(ground.settings, ground.workspace)
    remap(load, plan(load, mapper), by="me", force=False)
    time.sleep(1.1)  # PostHog's query API tells the age of a row in whole seconds
    ground.posthog.set_queries(QueryOptions(lag_seconds=3.0))
    time.sleep(3.1)
    ground.run()
    assert reconcile(ground, wait_seconds=30.0).result == "agree"


def test_what_is_not_delivered_is_not_checked(ground: Ground) -> None:
    ground.put("a", lines_of(2))
    ground.run()
    ground.put("b", lines_of(3), hour=5)
    ground.transform()
    report = reconcile(ground)
    assert (report.result, report.found, report.not_checked) == ("not checked", 2, 3)
    assert not ground.is_closed()


def test_a_skipped_object_is_not_checked(ground: Ground) -> None:
    ground.put("a", lines_of(2))
    ground.transform()
    (name,) = ground.state().objects
    ground.load().log.write([Skip(object=name, revision=1, reason="r", by="me", at="now")], writer="operator")
    assert reconcile(ground).result == "not checked"


def test_refused_events_are_not_expected(ground: Ground) -> None:
    ground.put("a", lines_of(1))
    ground.put("b", lines_of(1), hour=5)
    ground.posthog.play(Fault(name="refused", status=400, body="poison", times=2))
    ground.run()
    assert ground.counts().delivery_dead_letters == 1
    report = reconcile(ground)
    assert (report.result, report.sampled) == ("agree", 1)


def test_a_query_api_that_refuses_leaves_the_day_not_checked(ground: Ground) -> None:
    ground.put("a", lines_of(2))
    ground.run()
    ground.posthog.play(Fault(name="busy", surface="query", status=429, retry_after_seconds=7))
    waits: list[float] = []
    query = QueryClient(ground.posthog.host, "1", ground.posthog.personal_api_key, sleep=waits.append)
    report = Reconciliation(ground.load(), query, api_key="phc_sandbox", wait_seconds=60).run()
    assert (report.result, report.missing, report.not_checked) == ("not checked", 0, 2)
    assert "429" in report.cause and set(waits) == {7.0}


def test_an_answer_without_results_is_no_gap(ground: Ground) -> None:
    ground.put("a", lines_of(2))
    ground.run()
    ground.posthog.play(Fault(surface="query", status=200, body='{"detail": "maintenance"}'))
    report = reconcile(ground)
    assert (report.result, report.missing, report.not_checked) == ("not checked", 0, 2)
    assert "without results, but with detail" in report.cause


def test_a_gap_is_told_without_its_cause_when_the_project_cannot_be_asked_for_it(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.posthog.set_projects([project(drop_events_older_than_seconds=86_400 * 30)])
    ground.put("a", lines_of(2))
    ground.run()
    refused = CaptureUnavailableError("PostHog answered 429")
    monkeypatch.setattr(QueryClient, "project", lambda self: (_ for _ in ()).throw(refused))
    report = reconcile(ground)
    assert (report.result, report.missing) == ("gap", 2)
    assert "could not be asked for it: PostHog answered 429" in report.cause
    assert ground.state().reconciled[-1].result == "gap"


def test_a_day_without_a_sample_is_not_checked(ground: Ground) -> None:
    ground.put("a", lines_of(2))
    ground.run()
    ground.workspace.bucket.delete(ground.stored("samples"))
    report = reconcile(ground)
    assert report.result == "not checked" and "no sample" in report.cause


def test_what_was_replayed_after_the_samples_were_purged_is_checked(ground: Ground) -> None:
    ground.file = {"transform": {"max_record_bytes": 2048}}
    ground.put("a", [*lines_of(2), user_line("long", page_title="t" * 5000)])
    ground.run()
    assert reconcile(ground).result == "agree"
    keep_house(ground.load(), dry_run=False, retention_days=30)
    assert ground.stored("samples") == []
    ground.file = {}
    replay(ground)
    report = reconcile(ground)
    assert (report.result, report.sampled, report.found) == ("agree", 1, 1)


def test_a_day_of_very_many_events_is_asked_for_a_bounded_number(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snowplow_posthog_dagster.loading.reconcile.MOST_SAMPLED", 10)
    monkeypatch.setattr("snowplow_posthog_dagster.loading.reconcile._READERS", 1)
    for name in "abcdef":
        ground.put(name, lines_of(4))
    ground.run()
    report = reconcile(ground)
    assert (report.result, report.sampled, report.found) == ("agree", 12, 12)


# -- the rules, without servers ---------------------------------------------------------------------------------------

EVENT = Sent("u", "$pageview", "someone", 1_000, {"$ip": "1.2.3.4", "a": 1, "$set": {"b": 2}, "snowplow_object": "x"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"snowplow_object": "y"}, set()),
        ({"$geoip_city_name": "Berlin"}, set()),
        ({"$ip": ...}, set()),
        ({"$set": {"b": 2, "$initial_b": 2}}, set()),
        ({"a": 2}, {"a"}),
        ({"a": ...}, {"a"}),
        ({"$set": {"b": 3}}, {"$set"}),
        ({"$ip": "9.9.9.9"}, {"$ip"}),
    ],
)
def test_what_posthog_adds_is_no_difference_and_what_it_changes_is(changes: dict[str, Any], expected: set[str]) -> None:
    properties = {name: value for name, value in {**EVENT.properties, **changes}.items() if value is not ...}
    assert differences(EVENT, Stored("u", "$pageview", "someone", 1_000, properties)) == expected


def test_another_time_is_a_difference() -> None:
    assert differences(EVENT, Stored("u", "$pageview", "someone", 1_001, EVENT.properties)) == {"timestamp"}


def sent(number: int, event: str = "e", user: str = "") -> Sent:
    return Sent(f"u{number}", event, user or f"user-{number}", number, {})


HEALTHY = Evidence(True, "1", 5, 10**12, 60.0)


@pytest.mark.parametrize(
    ("missing", "found", "words"),
    [
        ([sent(7), sent(8)], [sent(1), sent(2)], "billing limit reached while"),
        ([sent(1), sent(2)], [sent(7), sent(8)], "older than"),
        ([sent(1, "x"), sent(8, "x")], [sent(2), sent(7)], "'x'"),
        ([sent(1, user="p"), sent(8, user="p")], [sent(2), sent(7)], "1 distinct_id"),
        ([sent(3)], [sent(1), sent(5)], "unknown"),
    ],
)
def test_the_pattern_of_what_is_missing_names_the_cause(missing: list[Sent], found: list[Sent], words: str) -> None:
    assert words in likely_cause(missing, found, HEALTHY)
