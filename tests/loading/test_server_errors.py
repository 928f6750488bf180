"""Three 5xx within five minutes are seen whoever met them: one run, or several of one day or of several days."""

import datetime as dt

import dagster as dg
import pytest

from snowplow_posthog_dagster.assets.error_alarm import ErrorAlarm
from snowplow_posthog_dagster.loading.server_errors import error_times, errors_around, most_within
from snowplow_posthog_dagster.loading.setup import capture_client_of, delivery_options_of
from snowplow_posthog_dagster.posthog.pacing import Pace
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.settings import ChecksSection
from tests.ground import DAY, Ground, lines_of

DAYS = [DAY + dt.timedelta(days=number) for number in range(3)]
KEY = dg.AssetKey("posthog_events")


def at(*seconds: int) -> list[str]:
    return [
        f"{dt.datetime(2022, 6, 6, tzinfo=dt.UTC) + dt.timedelta(seconds=one):%Y-%m-%dT%H:%M:%SZ}" for one in seconds
    ]


@pytest.mark.parametrize(
    ("seconds", "most"), [((), 0), ((0,), 1), ((0, 300), 2), ((0, 301), 1), ((900, 0, 10, 20, 310, 311), 3)]
)
def test_the_fullest_five_minutes_count(seconds, most):
    assert most_within(at(*seconds)) == most


def errors(ground: Ground, day: dt.date, writer: str, minutes: float = 5) -> int:
    since = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
    return errors_around(ground.workspace, day, ground.state(day), writer, since=since)


def test_runs_of_several_days_that_met_one_each_are_seen_together(ground: Ground):
    for day in DAYS:
        ground.put("a", lines_of(2), day=day)
        ground.posthog.play(Fault(name="busy", status=503, times=1))
        ground.run(day)
    (writer,) = {posted.writer for posted in ground.state(DAYS[2]).posted}
    assert len(error_times(ground.state(DAYS[2]))) == 1
    assert errors(ground, DAYS[2], writer) == 3
    assert errors(ground, DAYS[2], writer, minutes=0) == 0, "long ago is over"
    assert errors(ground, DAYS[2], "a run that met none") == 1, "and looks at no other day"


def test_a_refusal_is_no_server_error(ground: Ground):
    ground.put("a", lines_of(2))
    ground.posthog.play(Fault(name="limited", status=429, times=1))
    ground.run()
    assert error_times(ground.state()) == []


def test_it_is_told_while_the_delivery_goes_on(ground: Ground):
    ground.put("a", lines_of(2))
    ground.transform()
    ground.posthog.play(Fault(name="busy", status=503, times=3))
    settings, load = ground.settings, ground.load()
    seen: list[tuple[int, int]] = []
    load.progress = lambda done, total: seen.append((done, total))
    with dg.instance_for_test() as instance:
        load.progress = ErrorAlarm(instance, load, KEY, ChecksSection())
        client = capture_client_of(settings)
        options = delivery_options_of(settings)
        load.deliver(client, api_key=settings.project_api_key, pacer=Pace(None), options=options)
        client.close()
        load.progress(2, 2)
        key = dg.AssetCheckKey(KEY, "posthog_errors")
        told = instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    assert len(told) == 1, "once, however often it is called"
    event = told[0].event.dagster_event if told[0].event else None
    evaluation = event.event_specific_data if event else None
    assert isinstance(evaluation, dg.AssetCheckEvaluation)
    assert not evaluation.passed and "3 times" in str(evaluation.description)
    assert evaluation.metadata["partition"].value == f"{DAY}"
    assert seen[-1] == (2, 2), "progress is still shown"
