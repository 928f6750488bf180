"""How many run at once: counted from the start and end of steps and runs of a real `dagster dev`.

PostHog answers slowly here, so that runs that may overlap do.
"""

import os
import re
import signal
import time

import pytest

from snowplow_posthog_dagster.sandbox import faults
from tests.dagster.server import ENDED, Dagster, Home, expected_events, most_at_once, running_dagster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DAYS = ["2021-02-26", "2021-03-01", "2021-03-02", "2021-03-03"]
SLOW_SECONDS = 12.0


def slow_posthog() -> faults.Fault:
    """Everything is stored and acknowledged, after a while."""
    return faults.Fault(name="slow", status=200, body=faults.OK_BODY, store=1, delay_seconds=SLOW_SECONDS)


@pytest.fixture(scope="module")
def home(make_home) -> Home:
    """Four runs at once, three of them of backfills, two deliveries; run monitoring looks every few seconds."""
    home: Home = make_home()

    def change(content):
        content["concurrency"]["pools"]["default_limit"] = 2
        content["concurrency"]["runs"]["max_concurrent_runs"] = 4
        content["concurrency"]["runs"]["tag_concurrency_limits"][1]["limit"] = 3
        content["run_monitoring"].update(poll_interval_seconds=5, free_slots_after_run_end_seconds=5)

    home.instance_settings(change)
    return home


def delivery_spans(runs) -> list[tuple[float, float]]:
    steps = [step for run in runs for step in run["stepStats"] if step["stepKey"] == "posthog_events"]
    return [(step["startTime"], step["endTime"]) for step in steps if step["startTime"] and step["endTime"]]


def run_spans(runs) -> list[tuple[float, float]]:
    return [(run["startTime"], run["endTime"]) for run in runs if run["startTime"] and run["endTime"]]


def test_the_pool_limits_deliveries_and_a_slot_is_kept_for_live_loads(home: Home, dagster: Dagster):
    home.posthog.play(slow_posthog())
    backfill = dagster.backfill(DAYS)
    dagster.wait_for(lambda: len(dagster.runs(dagster__backfill=backfill)) == len(DAYS), "the runs", 240)
    live = dagster.materialize("2021-03-04", tags={"dagster/priority": "10"})
    assert dagster.wait_for_run(live) == "SUCCESS"
    assert dagster.backfill_status(backfill) not in ENDED, "the live load did not wait for the backfill"
    assert dagster.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    home.posthog.play()
    runs = dagster.runs(dagster__backfill=backfill)
    assert most_at_once(run_spans(runs)) == 3, "the limit of backfills, and it is used"
    assert most_at_once(delivery_spans([*runs, dagster.run(live)])) == 2, "the pool, and it is used"
    assert home.posthog.merged_rows() == sum(len(expected_events(day)) for day in [*DAYS, "2021-03-04"])
    assert home.posthog.violations() == {}


def test_a_day_has_one_run_at_a_time_whoever_starts_it(dagster: Dagster):
    ids = [dagster.materialize("2021-03-26") for _ in range(2)]
    backfill = dagster.backfill(["2021-03-26"])
    assert [dagster.wait_for_run(one) for one in ids] == ["SUCCESS", "SUCCESS"]
    assert dagster.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    runs = dagster.runs(dagster__partition="2021-03-26")
    assert len(runs) == 3
    assert most_at_once(run_spans(runs)) == 1


def is_delivering(dagster: Dagster, run_id: str) -> bool:
    steps = dagster.run(run_id)["stepStats"]
    return any(step["stepKey"] == "posthog_events" and step["startTime"] for step in steps)


def worker_of(run_id: str, log: str) -> int:
    """The process that works on a run: it says its own id when it starts a step."""
    found = re.search(rf"{run_id} - (\d+) - posthog_events - STEP_WORKER_STARTING", log)
    return int(found.group(1)) if found else 0


def test_a_killed_run_gives_back_its_place_in_the_pool_and_loses_nothing(home: Home, dagster: Dagster):
    day = "2021-03-27"
    home.posthog.play(slow_posthog())
    killed = dagster.materialize(day)

    def delivering() -> bool:
        return any(
            step["stepKey"] == "posthog_events" and step["startTime"] for step in dagster.run(killed)["stepStats"]
        )

    dagster.wait_for(delivering, "the delivery", 240)
    os.kill(dagster.wait_for(lambda: worker_of(killed, dagster.log.read_text()), "the worker", 10), signal.SIGKILL)
    assert dagster.wait_for_run(killed) == "FAILURE"
    home.posthog.play()
    began = time.monotonic()
    again = [dagster.materialize(day), dagster.materialize("2021-03-26"), dagster.materialize("2021-03-04")]
    assert {dagster.wait_for_run(one) for one in again} == {"SUCCESS"}
    assert time.monotonic() - began < 300, "no place in the pool is lost for ever"
    assert dagster.metadata("posthog_events", day)[0]["pending"] == 0
    assert home.posthog.violations() == {}
    slots = dagster.ask('{ instance { concurrencyLimit(concurrencyKey: "posthog_ingest") { activeSlotCount } } }')
    assert slots["instance"]["concurrencyLimit"]["activeSlotCount"] == 0


def test_a_run_in_a_terminal_waits_for_the_daemons_run_of_the_day(make_home):
    home = make_home()
    with running_dagster(home) as dagster:
        home.posthog.play(slow_posthog())
        run = dagster.materialize("2021-03-02")
        started = any
        dagster.wait_for(
            lambda: started(step["stepKey"] == "posthog_events" for step in dagster.run(run)["stepStats"]),
            "a step",
            120,
        )
        process = home.start("snowplow-posthog", "load", "2021-03-02")
        assert dagster.wait_for_run(run) == "SUCCESS"
        assert process.wait(240) == 0
        runs = dagster.runs(dagster__partition="2021-03-02")
        posts = sorted(one["run_posts"] for one in dagster.metadata("posthog_events", "2021-03-02"))
    assert len(runs) == 2
    # A step ends a little after it gave back the day, so spans of steps may touch; what was sent may not.
    assert posts[0] == 0, "the one that waited found nothing left to send"
    assert posts[1] > 0
    totals = home.posthog.totals()
    assert totals["raw_rows"] == totals["merged_rows"] == len(expected_events("2021-03-02")), "nothing was sent twice"
