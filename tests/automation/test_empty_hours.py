"""Hours without a file, seen by the sensor: no run judges a day on which nothing arrives."""

import datetime as dt

import dagster as dg
import pytest

from snowplow_posthog_dagster.automation import slack_alerts
from snowplow_posthog_dagster.automation.archive_watch import SENSOR_START
from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.resources.slack import AlertSlackResource
from snowplow_posthog_dagster.settings import AlertsSection, Settings
from snowplow_posthog_dagster.storage.workspace import timestamp_text
from tests.automation.slack_server import TOKEN

ALL_HOURS = 24


@pytest.fixture
def today(world):
    """A day whose noon it is; the sensor first ran the day before."""
    world.now = world.now.replace(hour=12, minute=5, second=0)
    world.workspace.append_control({"kind": SENSOR_START, "at": timestamp_text(world.now - dt.timedelta(days=1))})
    world.with_automation(look_back_hours_per_tick=2 * ALL_HOURS)
    return world.now.date()


def fill(world, day, *, but=()):
    """One file an hour, of which a run has loaded all."""
    for hour in range(world.now.hour + 1 if day == world.now.date() else ALL_HOURS):
        if hour not in but:
            world.put(dt.datetime.combine(day, dt.time(hour, 10), dt.UTC), "1.gz")
    world.settle(day)


def verdicts(result) -> dict[str, dg.AssetCheckEvaluation]:
    """What a tick says of `hours_present`, by day."""
    found = [event for event in result.asset_events or [] if isinstance(event, dg.AssetCheckEvaluation)]
    assert all(event.check_name == "hours_present" and not event.passed for event in found)
    return {str(event.metadata["partition"].value): event for event in found}


def test_an_hour_without_a_file_is_told_when_it_is_due(world, today):
    fill(world, today - dt.timedelta(days=1))
    fill(world, today, but=[10, 11, 12])
    world.tick()
    assert verdicts(world.tick()) == {}, "the grace of two hours is not over for the hour 10"
    found = verdicts(world.after(hours=1).tick())
    assert list(found) == [f"{today}"]
    assert found[f"{today}"].description.startswith("no file in the hours 10 (UTC)")
    assert found[f"{today}"].metadata["missing"].value == 1


def test_an_hour_is_told_once_and_the_next_one_with_it(world, today):
    fill(world, today - dt.timedelta(days=1))
    fill(world, today, but=[10, 11, 12])
    assert "10 (UTC)" in verdicts(world.after(hours=1).tick())[f"{today}"].description
    assert verdicts(world.after(minutes=30).tick()) == {}
    world.forget_process()
    assert verdicts(world.tick()) == {}, "a restarted code server knows from the cursor what was told"
    assert "10, 11 (UTC)" in verdicts(world.after(minutes=35).tick())[f"{today}"].description


def test_an_archive_that_is_wholly_silent_is_told(world, today):
    assert list(verdicts(world.tick())) == [f"{today - dt.timedelta(days=1)}", f"{today}"]


def test_days_before_yesterday_are_left_to_the_nightly_job(world, today):
    world.with_automation(look_back_days=3, look_back_hours_per_tick=4 * ALL_HOURS)
    for back in (3, 2):
        fill(world, today - dt.timedelta(days=back), but=[7])
    assert list(verdicts(world.tick())) == [f"{today - dt.timedelta(days=1)}", f"{today}"]


def test_a_day_before_the_sensor_first_ran_is_not_asked_for(world, today):
    assert list(verdicts(world.after(days=-1).tick())) == [f"{today - dt.timedelta(days=1)}"]


def test_a_file_that_came_since_the_hour_was_listed_counts(world, today):
    fill(world, today - dt.timedelta(days=1))
    fill(world, today, but=[3])
    world.now = world.now.replace(hour=5, minute=30)
    assert verdicts(world.tick()) == {}, "listed and empty, and not due before six"
    world.put(dt.datetime.combine(today, dt.time(3, 50), dt.UTC), "late.gz")
    world.with_automation(look_back_hours_per_tick=1)
    assert verdicts(world.after(minutes=40).tick()) == {}, "this tick looked back at another hour"
    (seen,) = (event for event in world.after(minutes=1).tick().asset_events if event.partition == f"{today}")
    assert seen.metadata["waiting"].value == 1, "and what it found waits for a run, not for the next round"


def test_an_archive_without_folders_by_the_hour_is_never_silent(world, today):
    (entry,) = world.settings.file.archive
    daily = entry.model_copy(update={"layout": "{yyyy}/{MM}/{dd}/"})
    file = world.settings.file.model_copy(update={"archive": [daily]})
    world.settings = Settings(world.settings.environment, file)
    assert verdicts(world.tick()) == {}


def test_it_is_an_alert_which_ends_when_a_run_has_loaded_the_files(world, today, slack):
    file = world.settings.file.model_copy(update={"alerts": AlertsSection(outside_production=True)})
    world.settings = Settings(world.settings.environment, file)

    def told():
        repository = build_definitions(world.settings).get_repository_def()
        context = dg.build_sensor_context(instance=world.instance, repository_def=repository)
        resource = AlertSlackResource(token=TOKEN, base_url=slack.url)
        slack_alerts.watch(context, world.graph, resource, world.now.timestamp())
        return slack.texts()

    fill(world, today - dt.timedelta(days=1))
    fill(world, today, but=[9, 10, 11, 12])
    for evaluation in verdicts(world.tick()).values():
        world.instance.report_runless_asset_event(evaluation)  # as the daemon does with what a tick gives it
    (text,) = told()
    assert f"check *hours_present* of posthog_events fails for {today}" in text
    assert "no file in the hours 09 (UTC)" in text
    assert "docs/runbook.md#hours-present" in text
    for hour in range(9, ALL_HOURS):  # all that a run may ask for, whatever time of the day it really is
        world.put(dt.datetime.combine(today, dt.time(hour, 50), dt.UTC), "late.gz")
    world.run(today)
    assert "passes again" in told()[-1]
