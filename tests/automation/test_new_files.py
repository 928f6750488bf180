"""The S3 sensor on a real archive, real logs and a real Dagster instance."""

import datetime as dt
import json
from dataclasses import replace

import dagster as dg
import pytest

from snowplow_posthog_dagster.automation.archive_watch import SENSOR_START
from snowplow_posthog_dagster.automation.flying import runs_of_day
from snowplow_posthog_dagster.automation.job import asset_keys, job_name
from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.sandbox import faults
from snowplow_posthog_dagster.settings import Environment, Settings, TransformSection
from snowplow_posthog_dagster.storage.archive import Archive
from snowplow_posthog_dagster.storage.leases import DayLease
from snowplow_posthog_dagster.storage.s3 import Bucket
from snowplow_posthog_dagster.storage.target import pause, resume
from snowplow_posthog_dagster.storage.workspace import timestamp_text

STREAM = "SnowPlowEnrichedGood-2"


@pytest.fixture
def today(world):
    """The day of `world.now`, on which the sensor first ran.

    The clock is the real one, as Dagster's and S3's are, so a test may cross midnight.
    """
    world.workspace.append_control({"kind": SENSOR_START, "at": timestamp_text(world.now)})
    return world.now.date()


def loaded(world, day):
    """A day that was loaded whole, and long enough ago for the next run to start."""
    world.settle(day)
    world.after(minutes=6)


def recorded(world, day, status, **more):
    """A run of the day in Dagster's records, without running it."""
    job = build_definitions(world.settings).resolve_job_def(job_name(world.graph))
    return world.instance.create_run_for_job(job, tags={"dagster/partition": f"{day}"}, status=status, **more)


def test_a_new_file_starts_a_run_of_its_day(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    result = world.after(minutes=2).tick()
    assert world.days(result) == [f"{today}"]
    request = result.run_requests[0]
    assert request.run_key is None, "a failed run's key is never retried"
    assert request.tags["dagster/priority"] == "10"


def test_nothing_new_says_what_was_looked_at(world, today):
    reason = world.reason(world.tick())
    assert "nothing new" in reason
    assert f"{today}T{world.now:%H}" in reason


def test_a_loaded_file_is_not_asked_for_again(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    loaded(world, today)
    assert "nothing new" in world.reason(world.tick())


def test_a_file_waits_a_minute_for_its_neighbours(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    assert "less than 60 s" in world.reason(world.after(seconds=20).tick())
    assert world.days(world.after(seconds=60).tick()) == [f"{today}"]


def test_with_an_interval_of_zero_nothing_waits(world, today):
    world.with_automation(min_minutes_between_runs=0)
    world.put(world.now, f"{STREAM}-1.gz")
    assert world.days(world.after(seconds=2).tick()) == [f"{today}"]


def test_runs_of_a_day_keep_their_distance(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    world.settle(today)
    recorded(world, today, dg.DagsterRunStatus.SUCCESS)
    world.put(world.now, f"{STREAM}-2.gz")
    assert "5 minutes after the last began" in world.reason(world.after(minutes=3).tick())
    assert world.days(world.after(minutes=3).tick()) == [f"{today}"]


def test_a_changed_stream_version_in_the_names_changes_nothing(world, today):
    moment = world.now
    world.put(moment, f"{STREAM}-2024-01-01-a.gz")
    loaded(world, today)
    world.put(moment, "SnowPlowEnrichedGood-10-2024-01-01-a.gz")
    world.put(moment, "Another-1-0000.gz")
    assert "2 new files" in world.after(minutes=2).tick().run_requests[0].tags["snowplow_posthog/found"]


def test_an_overwritten_object_is_a_new_one(world, today):
    moment = world.now
    world.put(moment, f"{STREAM}-1.gz")
    loaded(world, today)
    world.put(moment, f"{STREAM}-1.gz")
    assert world.days(world.after(minutes=2).tick()) == [f"{today}"]


def test_a_late_file_of_a_loaded_day_is_found_within_a_round(world, today):
    late = world.now - dt.timedelta(days=3)
    world.put(late, f"{STREAM}-1.gz")
    loaded(world, late.date())
    world.put(late.replace(hour=2), f"{STREAM}-late.gz")
    world.after(minutes=2)
    # six days by at most 24 hours in slices of 12
    results = [world.tick() for _ in range(12)]
    asked = [day for result in results for day in world.days(result)]
    assert set(asked) == {f"{late.date()}"}


def test_a_round_lists_every_hour_once_in_bounded_slices(world, today):
    world.with_automation(look_back_hours_per_tick=6)
    first = world.now - dt.timedelta(days=2)
    world.put(first, f"{STREAM}-1.gz")
    loaded(world, first.date())
    seen = []
    for _ in range(4):
        reason = world.reason(world.tick())
        seen.append(json.loads(world.cursor)["look_back_next"])
        assert "looked back at" in reason
    assert seen[:3] == [f"{first.date()}T06", f"{first.date()}T12", f"{first.date()}T18"]


def test_a_day_that_was_never_loaded_needs_a_backfill(world, today):
    world.put(world.now - dt.timedelta(days=2), f"{STREAM}-1.gz")
    for _ in range(12):
        result = world.after(seconds=2).tick()
        assert world.days(result) == []
        assert "a backfill is needed" in world.reason(result)
        assert f"{today - dt.timedelta(days=2)}" in world.reason(result) or "5 days" in world.reason(result)


def test_days_that_began_after_the_first_start_are_watched(world, today):
    world.tick()
    world.after(days=2)
    moment = world.now - dt.timedelta(days=1)
    world.put(moment, f"{STREAM}-1.gz")
    asked = [day for _ in range(6) for day in world.days(world.after(minutes=2).tick())]
    assert set(asked) == {f"{moment.date()}"}


def test_the_day_of_the_first_start_is_watched_after_midnight_too(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    assert world.days(world.after(minutes=2).tick()) in ([f"{today}"], [])
    assert world.days(world.after(days=1).tick()) == [f"{today}"], "its run may have been lost; it never acknowledged"


def test_after_midnight_the_last_hour_of_the_day_before_is_still_watched(world, today):
    world.tick()
    midnight = dt.datetime.combine(today + dt.timedelta(days=2), dt.time(0, 10), dt.UTC)
    world.now = midnight
    world.put(midnight - dt.timedelta(minutes=20), f"{STREAM}-1.gz")
    world.put(midnight, f"{STREAM}-2.gz")
    assert world.days(world.tick()) == [f"{today + dt.timedelta(days=1)}", f"{today + dt.timedelta(days=2)}"]


@pytest.mark.slow
def test_a_failed_hour_is_tried_again_and_the_waiting_grows(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    world.posthog.play(faults.status(401))
    assert not world.run(today)
    assert "failed" in world.reason(world.after(minutes=2).tick())
    assert world.days(world.after(minutes=4).tick()) == [f"{today}"], "the batches are there, their events are not sent"
    for _ in range(5):
        recorded(world, today, dg.DagsterRunStatus.FAILURE)
    assert "32 minutes after the last began, the last 6 of which failed" in world.reason(world.after(minutes=10).tick())
    world.posthog.play()
    assert world.days(world.after(minutes=30).tick()) == [f"{today}"]
    assert world.run(today)
    assert "nothing new" in world.reason(world.tick())
    assert world.posthog.merged_rows() == 3


@pytest.mark.slow
def test_a_failed_run_is_asked_for_again_after_a_restart_of_the_code_server(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    world.posthog.play(faults.status(401))
    assert not world.run(today)
    world.forget_process()
    assert world.days(world.after(minutes=6).tick()) == [f"{today}"]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED])
def test_no_run_piles_up_behind_a_slow_one(world, today, status):
    world.put(world.now, f"{STREAM}-1.gz")
    run = recorded(world, today, status, remote_job_origin=origin())
    for _ in range(3):
        assert run.run_id[:8] in world.reason(world.after(minutes=30).tick())


def origin():
    """As of a run that the daemon launched."""
    from dagster._core.remote_origin import (
        InProcessCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="snowplow_posthog_dagster"), "here")
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "load_day")


def test_a_run_of_the_cli_counts_by_its_day_lease(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    world.after(minutes=2)
    with DayLease(world.workspace, today, sender="a-terminal", who="somebody"):
        assert "being loaded by a-termi" in world.reason(world.tick())
    assert world.days(world.tick()) == [f"{today}"]


def test_a_killed_run_of_a_terminal_blocks_nothing_for_ever(world, today):
    """Dagster leaves it `started` for ever; its lease is long gone."""
    world.put(world.now, f"{STREAM}-1.gz")
    recorded(world, today, dg.DagsterRunStatus.STARTED)
    assert "under way" in world.reason(world.after(seconds=90).tick())
    assert world.days(world.after(minutes=10).tick()) == [f"{today}"]


def test_a_partition_of_the_same_name_elsewhere_does_not_count(world, today):
    @dg.job(name="somebody_elses")
    def other() -> None: ...

    world.put(world.now, f"{STREAM}-1.gz")
    world.instance.create_run_for_job(
        other, tags={"dagster/partition": f"{today}"}, status=dg.DagsterRunStatus.STARTED, remote_job_origin=origin()
    )
    assert world.days(world.after(minutes=2).tick()) == [f"{today}"]


def test_many_runs_of_such_a_partition_elsewhere_hide_no_run_of_ours(world, today):
    @dg.job(name="somebody_elses")
    def other() -> None: ...

    def elsewhere(count: int) -> None:
        for _ in range(count):
            world.instance.create_run_for_job(
                other, tags={"dagster/partition": f"{today}"}, status=dg.DagsterRunStatus.SUCCESS
            )

    world.put(world.now, f"{STREAM}-1.gz")
    queued = recorded(world, today, dg.DagsterRunStatus.QUEUED, remote_job_origin=origin())
    recorded(world, today, dg.DagsterRunStatus.FAILURE)
    elsewhere(60)
    world.after(minutes=2)
    assert queued.run_id[:8] in world.reason(world.tick())
    flying = runs_of_day(
        world.instance, today, assets=asset_keys(world.graph), job=job_name(world.graph), now=world.now
    )
    assert (flying.unfinished, flying.failures) == ((queued.run_id,), 1)


@pytest.mark.slow
def test_a_broken_object_is_tried_again_when_its_time_has_come(world, today):
    world.with_automation(look_back_hours_per_tick=240)  # all at once: by turns, this hour's comes later in the day
    world.put(world.now, f"{STREAM}-1.gz")
    world.put(world.now, f"{STREAM}-broken.gz", b"\x1f\x8b\x08\x00 this is no gzip")
    assert world.run(today)
    assert "1 broken objects are tried again later" in world.reason(world.tick())
    assert world.days(world.after(hours=2).tick()) == [f"{today}"]


def frozen(monkeypatch, part: str) -> None:
    """As if the keys with this part lay in Glacier: the S3 of these tests has no storage classes."""
    real = Archive._object

    def listed(archive, item, hour, source):
        return replace(real(archive, item, hour, source), storage_class="GLACIER" if part in item.key else "STANDARD")

    monkeypatch.setattr(Archive, "_object", listed)


@pytest.mark.parametrize("left_out", [True, False])
def test_a_frozen_file_that_runs_leave_out_is_asked_for_when_it_is_restored(world, today, monkeypatch, left_out):
    frozen(monkeypatch, "icy")
    transform = TransformSection(frozen_objects="skip" if left_out else "fail")
    world.settings = Settings(
        world.settings.environment, world.settings.file.model_copy(update={"transform": transform})
    )
    world.put(world.now, f"{STREAM}-icy.gz")
    first = world.after(minutes=2).tick()
    assert world.days(first) == ([] if left_out else [f"{today}"]), "a run that fails says what must be restored"
    monkeypatch.setattr(Bucket, "is_restored", lambda bucket, key: True)
    assert world.days(world.tick()) == world.days(first), "S3 is not asked again at each tick"
    world.forget_process()
    assert world.days(world.tick()) == [f"{today}"]


def observed(result) -> list[dg.AssetObservation]:
    """What a tick says of the archive; test_empty_hours.py has what it says of hours without a file."""
    return [event for event in result.asset_events if isinstance(event, dg.AssetObservation)]


def test_the_archive_is_observed_once_per_change(world, today):
    moment = world.now
    world.put(moment, f"{STREAM}-1.gz")
    events = observed(world.after(minutes=2).tick())
    assert [(event.asset_key.path, event.partition) for event in events] == [(["snowplow_archive"], f"{today}")]
    assert events[0].metadata["files"].value == 1
    assert events[0].metadata["newest_hour"].value == f"{today}T{moment:%H}"
    assert observed(world.tick()) == []
    world.put(moment, f"{STREAM}-2.gz")
    assert observed(world.tick())[0].metadata["files"].value == 2


def test_an_end_date_in_the_past_is_said(world, today):
    environment = world.settings.environment.model_copy(
        update={"posthog_backfill_end_date": today - dt.timedelta(days=30)}
    )
    world.settings = Settings(Environment.model_validate(environment.model_dump()), world.settings.file)
    world.put(world.now, f"{STREAM}-1.gz")
    assert "POSTHOG_BACKFILL_END_DATE is" in world.reason(world.after(minutes=2).tick())


def test_a_paused_target_is_said(world, today):
    pause(world.workspace, reason="moving house", until="", by="anna")
    assert "paused by anna: moving house" in world.reason(world.after(minutes=2).tick())
    resume(world.workspace, by="anna")
    assert "paused" not in world.reason(world.tick())


def test_while_a_target_is_paused_batches_are_made_and_nothing_is_asked_to_send_them(world, today):
    world.put(world.now, f"{STREAM}-1.gz")
    pause(world.workspace, reason="moving house", until="", by="anna")
    (request,) = world.after(minutes=2).tick().run_requests
    assert request.partition_key == f"{today}"
    assert [key.path for key in request.asset_selection] == [["snowplow_manifest"], ["posthog_batches"]]
    definitions = build_definitions(world.settings)
    job = definitions.resolve_job_def(job_name(world.graph))
    selected = job.get_subset(asset_selection=set(request.asset_selection))
    assert selected.execute_in_process(partition_key=f"{today}", instance=world.instance).success
    assert "paused by anna" in world.reason(world.after(minutes=10).tick())
    assert world.posthog.merged_rows() == 0
    resume(world.workspace, by="anna")
    assert world.days(world.tick()) == [f"{today}"], "its events wait to be sent"
    assert world.run(today)
    assert world.posthog.merged_rows() == 3


def test_a_foreign_cursor_starts_the_round_again(world, today):
    world.cursor = '{"version": 99, "look_back_next": 7}'
    world.tick()
    assert json.loads(world.cursor)["version"] == 1
    world.cursor = "output/2021/03/02/19/SnowPlowEnriched"
    world.tick()
    assert json.loads(world.cursor)["version"] == 1


def test_the_sensor_ships_stopped_and_is_started_by_make_dev(world):
    def status(settings):
        return build_definitions(settings).resolve_sensor_def("new_snowplow_files").default_status

    assert status(world.settings) == dg.DefaultSensorStatus.STOPPED
    started = world.settings.environment.model_copy(update={"snowplow_posthog_start_automation": True})
    assert status(Settings(started, world.settings.file)) == dg.DefaultSensorStatus.RUNNING
