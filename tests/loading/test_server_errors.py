"""Three 5xx within five minutes are seen whoever met them: one run, or several of one day or of several days."""

import contextlib
import datetime as dt
import time
from dataclasses import replace

import dagster as dg
import pytest

from snowplow_posthog_dagster.assets.error_alarm import ErrorAlarm
from snowplow_posthog_dagster.errors import CaptureUnavailableError
from snowplow_posthog_dagster.loading.server_errors import error_times, errors_around, most_within
from snowplow_posthog_dagster.loading.setup import capture_client_of, delivery_options_of
from snowplow_posthog_dagster.posthog.pacing import Pace
from snowplow_posthog_dagster.sandbox import faults
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.settings import ChecksSection
from tests.ground import DAY, Ground, lines_of

DAYS = [DAY + dt.timedelta(days=number) for number in range(3)]
KEY = dg.AssetKey("posthog_events")
WINDOW = dt.timedelta(minutes=5)


def at(*seconds: int) -> list[str]:
    return [
        f"{dt.datetime(2022, 6, 6, tzinfo=dt.UTC) + dt.timedelta(seconds=one):%Y-%m-%dT%H:%M:%SZ}" for one in seconds
    ]


@pytest.mark.parametrize(
    ("seconds", "most"), [((), 0), ((0,), 1), ((0, 300), 2), ((0, 301), 1), ((900, 0, 10, 20, 310, 311), 3)]
)
def test_the_fullest_five_minutes_count(seconds, most):
    assert most_within(at(*seconds), WINDOW) == most


def test_runs_of_several_days_that_met_one_each_are_seen_together(ground: Ground):
    for day in DAYS:
        if day == DAYS[2]:
            time.sleep(1)  # the log keeps whole seconds
        ground.put("a", lines_of(2), day=day)
        ground.posthog.play(Fault(name="busy", status=503, times=1))
        ground.run(day)
    state = ground.state(DAYS[2])
    (writer,) = {posted.writer for posted in state.posted}
    assert len(error_times(state)) == 1
    assert errors_around(ground.workspace, DAYS[2], state, writer, WINDOW) == 3
    assert errors_around(ground.workspace, DAYS[2], state, writer, dt.timedelta()) == 1, "the others are too long ago"
    assert errors_around(ground.workspace, DAYS[2], state, "a run that met none", WINDOW) == 0


def test_a_refusal_is_no_server_error(ground: Ground):
    ground.put("a", lines_of(2))
    ground.posthog.play(Fault(name="limited", status=429, times=1))
    ground.run()
    assert error_times(ground.state()) == []


def told_while_delivering(
    ground: Ground, instance: dg.DagsterInstance, patience: float = 60.0
) -> list[dg.AssetCheckEvaluation]:
    """Deliver with the alarm in place, trying for so many seconds; what it reported."""
    settings, load = ground.settings, ground.load()
    seen: list[tuple[int, int]] = []
    load.progress = lambda done, total: seen.append((done, total))
    load.progress = ErrorAlarm(instance, load, KEY, ChecksSection())
    options = replace(delivery_options_of(settings), retry_seconds_per_body=patience)
    with contextlib.closing(capture_client_of(settings)) as client, contextlib.suppress(CaptureUnavailableError):
        load.deliver(client, api_key=settings.project_api_key, pacer=Pace(None), options=options)
    load.progress(7, 7)
    assert seen[-1] == (7, 7), "progress is still shown"
    key = dg.AssetCheckKey(KEY, "posthog_errors")
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    events = [record.event.dagster_event for record in records if record.event]
    found = [event.event_specific_data for event in events if event]
    return [one for one in found if isinstance(one, dg.AssetCheckEvaluation)]


def test_it_is_told_once_while_the_delivery_goes_on(ground: Ground):
    ground.put("a", lines_of(2))
    ground.transform()
    ground.posthog.play(faults.status(503, faults.When(times=3)), faults.slow_answer(1.5, faults.When(first=4)))
    with dg.instance_for_test() as instance:
        (evaluation,) = told_while_delivering(ground, instance)
    assert not evaluation.passed and "3 times" in str(evaluation.description)
    assert evaluation.metadata["partition"].value == f"{DAY}"


def test_a_posthog_that_takes_nothing_is_told_by_the_failing_run_alone(ground: Ground):
    ground.put("a", lines_of(2))
    ground.transform()
    ground.posthog.play(Fault(name="down", status=503))
    with dg.instance_for_test() as instance:
        assert told_while_delivering(ground, instance, patience=7.0) == []
    assert len(error_times(ground.state())) >= 3
