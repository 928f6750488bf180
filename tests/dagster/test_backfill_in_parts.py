"""A backfill that is not done in one go: batches ahead of delivery, and one that is stopped and launched again."""

import pytest

from snowplow_posthog_dagster.sandbox import faults
from tests.dagster.server import ENDED, Dagster, Home, expected_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BATCHES_FIRST = ["2021-03-01", "2021-03-02"]
STOPPED = ["2021-02-26", "2021-03-03", "2021-03-04"]


def test_batches_are_made_ahead_while_delivery_is_off_and_sent_later(home: Home, dagster: Dagster) -> None:
    home.posthog.play(faults.status(401))
    ahead = dagster.backfill(BATCHES_FIRST, assets=("snowplow_manifest", "posthog_batches"))
    assert dagster.wait_for_backfill(ahead) == "COMPLETED_SUCCESS", "nothing of PostHog is needed"
    assert home.posthog.progress()["requests"] == 0
    for day in BATCHES_FIRST:
        # A record in two objects is pending twice and one event in PostHog.
        assert dagster.metadata("posthog_batches", day)[0]["pending"] >= len(expected_events(day)) > 0
    home.posthog.play()
    sent = dagster.backfill(BATCHES_FIRST, assets=("posthog_events",))
    assert dagster.wait_for_backfill(sent) == "COMPLETED_SUCCESS"
    assert home.posthog.merged_rows() == sum(len(expected_events(day)) for day in BATCHES_FIRST)
    assert [dagster.metadata("posthog_events", day)[0]["pending"] for day in BATCHES_FIRST] == [0, 0]


def test_a_backfill_that_was_stopped_goes_on_where_it_stopped(home: Home, dagster: Dagster) -> None:
    before = home.posthog.merged_rows()
    # One body is taken, and whatever comes after it is tried again and again.
    home.posthog.play(faults.status(503, faults.When(first=2)))
    backfill = dagster.backfill(STOPPED)
    dagster.wait_for(lambda: home.posthog.merged_rows() > before, "the first body", 240)
    dagster.wait_for(lambda: _delivering(dagster, backfill), "a delivery that is not taken", 240)
    dagster.ask(
        """mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename
             ... on PythonError { message } } }""",
        id=backfill,
    )
    dagster.wait_for(lambda: dagster.backfill_status(backfill) in ENDED, "the end", 240)
    assert dagster.backfill_status(backfill) == "CANCELED"
    assert all(run["status"] in {"SUCCESS", "FAILURE", "CANCELED"} for run in dagster.runs(dagster__backfill=backfill))
    everything = sum(len(expected_events(day)) for day in [*BATCHES_FIRST, *STOPPED])
    assert before < home.posthog.merged_rows() < everything
    home.posthog.play()
    assert dagster.wait_for_backfill(dagster.backfill(STOPPED)) == "COMPLETED_SUCCESS"
    totals = home.posthog.totals()
    assert totals["merged_rows"] == everything
    shown = [dagster.metadata("posthog_events", day)[0] for day in [*BATCHES_FIRST, *STOPPED]]
    assert [one["pending"] for one in shown] == [0] * len(shown)
    assert totals["raw_rows"] == sum(one["acknowledged"] for one in shown), "nothing that was taken is sent again"


def _delivering(dagster: Dagster, backfill: str) -> bool:
    steps = [step for run in dagster.runs(dagster__backfill=backfill) for step in run["stepStats"]]
    return any(step["stepKey"] == "posthog_events" and step["status"] == "IN_PROGRESS" for step in steps)
