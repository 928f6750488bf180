"""A backfill of three days through the daemon, as the UI launches it."""

import pytest

from tests.dagster.server import expected_events, most_at_once

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DAYS = ["2021-03-01", "2021-03-02", "2021-03-03"]


def test_dagster_dev_finds_the_location_by_workspace_yaml(dagster):
    assets = dagster.assets()
    assert {"snowplow_archive", "snowplow_manifest", "posthog_batches", "posthog_events", "posthog"} <= set(assets)
    assert assets["posthog_events"]["pools"] == ["posthog_ingest"]
    assert {node["groupName"] for node in assets.values()} == {"snowplow_to_posthog"}


def test_its_runs_are_kept_where_the_option_says(dagster, pytestconfig):
    told = dagster.ask("{ instance { info } }")["instance"]["info"]
    assert ("PostgresRunStorage" in told) is (pytestconfig.getoption("--storage") == "postgres")


def test_three_days_reach_posthog_each_in_its_own_run(home, dagster):
    backfill = dagster.backfill(DAYS)
    assert dagster.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    runs = dagster.runs(dagster__backfill=backfill)
    assert sorted(run["tags"]["dagster/partition"] for run in runs) == DAYS
    assert most_at_once([(run["startTime"], run["endTime"]) for run in runs]) <= 2, "a slot is kept for live loads"
    expected = set().union(*map(expected_events, DAYS))
    assert home.posthog.merged_rows() == len(expected)
    assert home.posthog.violations() == {}


def test_the_same_backfill_again_reads_and_sends_nothing(home, dagster):
    requests = home.posthog.progress()["requests"]
    assert dagster.wait_for_backfill(dagster.backfill(DAYS)) == "COMPLETED_SUCCESS"
    assert home.posthog.progress()["requests"] == requests
    for day in DAYS:
        batches, events = (dagster.metadata(name, day)[0] for name in ("posthog_batches", "posthog_events"))
        assert (batches["run_reads"], events["run_posts"]) == (0, 0)
        assert batches["nothing_new"] is events["nothing_new"] is True
