"""The schedule of late files, on real logs, a real archive and a real Dagster instance."""

import datetime as dt

import dagster as dg
import pytest

from snowplow_posthog_dagster.automation.late_files import requests
from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of
from snowplow_posthog_dagster.settings import Environment, Settings
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import Broken, Delivered
from snowplow_posthog_dagster.storage.leases import DayLease
from snowplow_posthog_dagster.storage.target import pause
from tests.automation.conftest import settled


@pytest.fixture
def week_ago(world):
    """A loaded and closed day that the sensor no longer looks back at."""
    day = world.now.date() - dt.timedelta(days=6)
    world.put(dt.datetime.combine(day, dt.time(4), dt.UTC), "SnowPlow-1.gz")
    world.settle(day)
    close(world, day)
    return day


def close(world, day) -> None:
    archive = archive_of(world.settings, connection_of(world.settings))
    load = DayLoad(archive=archive, workspace=world.workspace, day=day, writer="test")
    assert load.close(archive.list_day(day))


def asked(world) -> dict[str, str]:
    """The days that a run is asked for, and why; or the reason for none."""
    context = dg.build_schedule_context(instance=world.instance)
    found = requests(context, world.graph, connection_of(world.settings), world.now)
    if isinstance(found, dg.SkipReason):
        return {"": str(found.skip_message)}
    return {str(request.partition_key): request.tags["snowplow_posthog/found"] for request in found}


def late(world, day) -> None:
    world.put(dt.datetime.combine(day, dt.time(5), dt.UTC), "late.gz")


def test_a_late_file_behind_the_sensors_look_back_gets_a_run(world, week_ago):
    assert asked(world) == {"": "1 days have nothing new"}
    late(world, week_ago)
    for _ in range(12):
        assert world.days(world.tick()) == [], "the sensor does not look that far back"
    assert asked(world) == {f"{week_ago}": "1 new files"}


@pytest.mark.slow
def test_the_run_loads_the_late_file_and_closes_the_day(world, week_ago):
    late(world, week_ago)
    assert world.run(next(iter(asked(world))))
    assert world.posthog.merged_rows() == 3
    assert asked(world) == {"": "1 days have nothing new"}


def test_how_many_days_are_looked_at_is_a_setting(world, week_ago):
    late(world, week_ago)
    world.with_automation(night_days=5)
    day = world.workspace.folder("log", week_ago)
    assert list(world.workspace.bucket.listing(day))
    # The log was written a moment ago, so the day counts as one that a backfill worked on, until that is long ago.
    assert asked(world) == {f"{week_ago}": "1 new files"}
    world.after(days=6)
    assert "nothing new" in asked(world)[""]


def test_unsent_events_get_a_run_too(world, week_ago):
    world.put(dt.datetime.combine(week_ago, dt.time(6), dt.UTC), "unsent.gz")
    found = archive_of(world.settings, connection_of(world.settings)).list_day(week_ago)
    (unsent,) = [one for one in found if one.key.endswith("unsent.gz")]
    entries = [entry for entry in settled(unsent) if not isinstance(entry, Delivered)]
    DayLog(world.workspace, week_ago).write(entries, writer="test")
    assert asked(world) == {f"{week_ago}": "3 unsent events"}


def test_a_day_that_was_never_loaded_is_nobodys(world):
    late(world, world.now.date() - dt.timedelta(days=2))
    assert asked(world) == {"": "0 days have nothing new"}


def test_the_rest_of_a_day_that_was_asked_for_in_part_is_left_to_whoever_began_it(world):
    day = world.now.date() - dt.timedelta(days=400)
    for hour in (4, 5):
        world.put(dt.datetime.combine(day, dt.time(hour), dt.UTC), f"SnowPlow-{hour}.gz")
    found = archive_of(world.settings, connection_of(world.settings)).list_day(day)
    one_hour = [entry for one in found if one.hour == 4 for entry in settled(one)]
    DayLog(world.workspace, day).write(one_hour, writer="test")
    assert asked(world) == {"": "1 days have nothing new"}, "as after `load DAY --hour 4`"
    world.tick()
    assert asked(world) == {"": "1 days have nothing new"}


def test_batches_that_were_made_alone_are_not_sent_by_a_schedule(world):
    day = world.now.date() - dt.timedelta(days=6)
    world.put(dt.datetime.combine(day, dt.time(4), dt.UTC), "SnowPlow-1.gz")
    (found,) = archive_of(world.settings, connection_of(world.settings)).list_day(day)
    made = [entry for entry in settled(found) if not isinstance(entry, Delivered)]
    DayLog(world.workspace, day).write(made, writer="test")
    assert asked(world) == {"": "1 days have nothing new"}


def test_a_day_that_began_after_the_sensor_is_asked_for_whatever_was_done_of_it(world):
    world.tick()
    world.after(days=8)
    day = world.now.date() - dt.timedelta(days=6)
    late(world, day)
    assert asked(world) == {f"{day}": "1 new files"}


def test_a_broken_object_of_a_backfill_is_tried_again_although_its_day_was_never_closed(world):
    day = world.now.date() - dt.timedelta(days=400)
    for hour in (4, 5):
        world.put(dt.datetime.combine(day, dt.time(hour), dt.UTC), f"SnowPlow-{hour}.gz")
    good, bad = archive_of(world.settings, connection_of(world.settings)).list_day(day)
    broken = Broken(
        object=bad.object_id,
        revision=0,
        key=bad.key,
        etag=bad.etag,
        hour=5,
        reason="no gzip",
        next_try="2022-06-06T00:00:00Z",
        writer="test",
        at="2022-06-06T00:00:00Z",
    )
    DayLog(world.workspace, day).write([*settled(good), broken], writer="test")
    assert asked(world) == {f"{day}": "1 new files"}


def test_a_day_outside_of_the_partitions_is_nobodys_although_it_was_loaded_once(world, week_ago):
    late(world, week_ago)
    bounds = {"posthog_backfill_start_date": week_ago + dt.timedelta(days=1)}
    environment = world.settings.environment.model_copy(update=bounds)
    world.settings = Settings(environment, world.settings.file)
    assert asked(world) == {"": "0 days have nothing new"}
    world.with_automation(night_days=3)
    assert asked(world) == {"": "0 days have nothing new"}


def test_a_day_with_a_run_is_left_alone(world, week_ago):
    late(world, week_ago)
    with DayLease(world.workspace, week_ago, sender="somebody", who="somebody"):
        assert "a run is under way" in asked(world)[""]


def test_a_paused_target_gets_no_run(world, week_ago):
    late(world, week_ago)
    pause(world.workspace, reason="maintenance", until="", by="ann")
    assert "paused by ann: maintenance" in asked(world)[""]


def test_the_schedule_asks_dagster_for_the_partition(world, week_ago, monkeypatch):
    late(world, week_ago)
    definitions = build_definitions(world.settings)
    schedule = definitions.resolve_schedule_def("late_files")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    context = dg.build_schedule_context(
        instance=world.instance, repository_def=definitions.get_repository_def(), resources=definitions.resources
    )
    (request,) = schedule.evaluate_tick(context).run_requests
    assert request.partition_key == request.tags["dagster/partition"] == f"{week_ago}"


def test_on_the_sandbox_it_runs_from_the_start(world):
    environment = Environment.model_validate(
        {**world.settings.environment.model_dump(), "snowplow_posthog_start_automation": True}
    )
    schedule = build_definitions(Settings(environment, world.settings.file)).resolve_schedule_def("late_files")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
