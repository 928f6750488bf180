"""The nightly job on real logs, a real archive, the stand-in's query API and a real Dagster instance."""

import datetime as dt

import dagster as dg
import pytest

from snowplow_posthog_dagster.automation.check_alerts import _evaluations
from snowplow_posthog_dagster.automation.housekeeping import keep_house
from snowplow_posthog_dagster.automation.schedules import Night, NightConfig, NightReport, build_nightly_schedule
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import CheckAcknowledged, Purged, Reconciled
from snowplow_posthog_dagster.storage.leases import DayLease
from snowplow_posthog_dagster.storage.workspace import timestamp_text


@pytest.fixture
def yesterday(world):
    """A day of the past with one object an hour, all loaded."""
    day = world.now.date() - dt.timedelta(days=1)
    for hour in range(24):
        world.put(dt.datetime.combine(day, dt.time(hour), dt.UTC), f"SnowPlow-{hour}.gz")
    world.settle(day)
    return day


def night(world, **config) -> NightReport:
    given = {"wait_seconds": 0, "dry_run": True, **config}
    return Night(world.graph, connection_of(world.settings), world.instance, NightConfig(**given), world.now).run()


def day_load(world, day) -> DayLoad:
    return DayLoad(
        archive=archive_of(world.settings, connection_of(world.settings)),
        workspace=world.workspace,
        day=day,
        writer="t",
    )


def is_finished(world, day) -> bool:
    load = day_load(world, day)
    return load.is_finished(load.archive.list_day(day))


def checks(world, day) -> dict[str, bool]:
    """The last evaluation of every check for a day."""
    found: dict[str, bool] = {}
    for name in ("complete_in_time", "hours_present", "reconciled"):
        key = dg.AssetCheckKey(world.graph.key("posthog_events"), name)
        for record in world.instance.event_log_storage.get_asset_check_execution_history(key, limit=50):
            data = record.event.dagster_event.event_specific_data
            if data.metadata["partition"].value == f"{day}":
                found.setdefault(name, data.passed)
    return found


def test_a_loaded_day_is_closed(world, yesterday):
    assert not is_finished(world, yesterday)
    report = night(world)
    assert report.lines[0] == f"{yesterday}: closed"
    assert report.errors == []
    assert is_finished(world, yesterday)
    assert checks(world, yesterday) == {"complete_in_time": True, "hours_present": True, "reconciled": True}
    assert night(world).lines[0] == f"{yesterday}: complete"


def test_a_late_file_keeps_the_day_open_and_fails_its_check(world, yesterday):
    world.put(dt.datetime.combine(yesterday, dt.time(5), dt.UTC), "late.gz")
    world.now = dt.datetime.combine(yesterday + dt.timedelta(days=1), dt.time(4), dt.UTC)
    assert "not complete: 1 objects to transform" in night(world).lines[0]
    assert not is_finished(world, yesterday)
    assert checks(world, yesterday)["complete_in_time"] is False


def test_a_day_that_somebody_accepted_as_late_says_so_and_alerts_nobody(world, yesterday):
    world.put(dt.datetime.combine(yesterday, dt.time(5), dt.UTC), "late.gz")
    world.now = dt.datetime.combine(yesterday + dt.timedelta(days=1), dt.time(4), dt.UTC)
    key = dg.AssetCheckKey(world.graph.key("posthog_events"), "complete_in_time")

    def told() -> list[bool]:
        night(world)
        known = _evaluations(world.instance, key, 0)
        return [one.passed or bool(one.accepted) for one in known if one.partition == f"{yesterday}"]

    assert told() == [False]
    accepted = CheckAcknowledged(
        check="complete_in_time", reason="a slow loader", until="2999-01-01", by="ann", at="2022-06-07T00:00:00Z"
    )
    DayLog(world.workspace, yesterday).write([accepted], writer="operator")
    assert told() == [True, False], "the newest first: somebody knows of it"
    (newest, _) = world.instance.event_log_storage.get_asset_check_execution_history(key, limit=2)
    found = newest.event.dagster_event.event_specific_data
    assert not found.passed and "accepted by ann until 2999-01-01: a slow loader" in found.description
    assert "acknowledged" in found.metadata


def test_a_day_that_was_never_asked_for_is_left_alone(world):
    world.put(world.now - dt.timedelta(days=1), "x.gz")
    assert len(night(world).lines) == 1


def test_a_day_after_the_sensors_start_that_nobody_loaded_fails_its_check(world):
    world.tick()
    world.after(days=2)
    missed = world.now.date() - dt.timedelta(days=1)
    world.put(world.now - dt.timedelta(days=1), "x.gz")
    night(world)
    assert checks(world, missed)["complete_in_time"] is (world.now.hour < 3)


def test_a_day_that_is_being_worked_on_is_left_for_the_next_night(world, yesterday):
    with DayLease(world.workspace, yesterday, sender="somebody", who="somebody"):
        assert "left for the next night" in night(world).lines[0]


@pytest.mark.slow
def test_posthog_is_asked_for_what_it_acknowledged(world):
    day = world.now.date() - dt.timedelta(days=1)
    world.put(dt.datetime.combine(day, dt.time(3), dt.UTC), "x.gz")
    assert world.run(day)
    asking = world.settings.environment.model_copy(update={"posthog_personal_api_key": _secret(world)})
    world.settings = Settings(asking, world.settings.file)
    assert "agree" in night(world).lines[0]
    assert is_finished(world, day)
    assert "agreed with PostHog before" in night(world).lines[0]


def _secret(world):
    from pydantic import SecretStr

    return SecretStr(world.posthog.personal_api_key)


def reconciled(world, day):
    entry = Reconciled(result="agree", sampled=1, found=1, differing=0, cause="", at=timestamp_text())
    DayLog(world.workspace, day).write([entry], writer="test")


def store_batches(world, day) -> list[str]:
    """A file for every batch that the log lists."""
    keys = []
    for known in DayLog(world.workspace, day).state().objects.values():
        for name in known.batches:
            keys.append(world.workspace.batch_key(day, known.object_id, name))
            world.workspace.bucket.put(keys[-1], b"batch")
    return keys


def stored(world, day, kind="batches") -> list[str]:
    return [listed.key for listed in world.workspace.bucket.listing(world.workspace.folder(kind, day))]


def test_batches_go_when_the_day_is_closed_and_reconciled_and_not_before(world, yesterday):
    keys = store_batches(world, yesterday)
    load = day_load(world, yesterday)
    load.close(load.archive.list_day(yesterday))
    assert keep_house(load, dry_run=False, retention_days=30).summary() == "nothing"
    reconciled(world, yesterday)
    load.close(load.archive.list_day(yesterday))
    segments = load.log.segment_names()
    dry = keep_house(load, dry_run=True, retention_days=30)
    assert dry.files == {"batches": 24}
    assert stored(world, yesterday) == sorted(keys)
    assert load.log.segment_names() == segments
    assert keep_house(load, dry_run=False, retention_days=30).files == {"batches": 24}
    assert stored(world, yesterday) == []
    assert is_finished(world, yesterday), "a purge does not reopen the day"
    assert len([entry for entry in load.log.entries() if isinstance(entry, Purged)]) == 24
    assert load.log.state().counts().acknowledged == 72


def test_the_entry_is_written_before_anything_is_deleted(world, yesterday):
    store_batches(world, yesterday)
    reconciled(world, yesterday)
    load = day_load(world, yesterday)
    load.close(load.archive.list_day(yesterday))

    def cut(bucket, keys):
        raise OSError("the connection was cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(load.workspace.bucket), "delete", cut)
        with pytest.raises(OSError, match="was cut"):
            keep_house(load, dry_run=False, retention_days=30)
    assert len([entry for entry in load.log.entries() if isinstance(entry, Purged)]) == 24
    keep_house(load, dry_run=False, retention_days=30)
    load.close(load.archive.list_day(yesterday))
    keep_house(load, dry_run=False, retention_days=30)
    assert stored(world, yesterday) == []


def test_orphans_go_after_a_day(world, yesterday):
    orphan = world.workspace.batch_key(yesterday, "unknown-object", "unknown-batch")
    world.workspace.bucket.put(orphan, b"batch")
    load = day_load(world, yesterday)
    now = world.now.timestamp()
    assert keep_house(load, dry_run=False, retention_days=30, now=now + 80_000).files == {}
    assert keep_house(load, dry_run=False, retention_days=30, now=now + 90_000).files == {"orphans": 1}
    assert stored(world, yesterday) == []


def test_dead_letters_go_after_their_retention_and_stay_counted(world, yesterday):
    (name, *_) = DayLog(world.workspace, yesterday).state().objects
    key = f"{world.workspace.root}dead_letters/stage=transform/dt={yesterday}/{name}-abc.jsonl.gz"
    world.workspace.bucket.put(key, b"letters")
    load = day_load(world, yesterday)
    now = world.now.timestamp()
    assert keep_house(load, dry_run=False, retention_days=30, now=now + 29 * 86_400).files == {}
    assert keep_house(load, dry_run=False, retention_days=30, now=now + 31 * 86_400).files == {"dead_letters": 1}
    assert load.log.state().objects[name].purged == {"dead_letters"}


def test_what_a_day_of_long_ago_stored_goes_too(world):
    """Dead letters outlive the days that the night looks at, and so do the batches of a backfill of history."""
    day = world.now.date() - dt.timedelta(days=400)
    for hour in range(24):
        world.put(dt.datetime.combine(day, dt.time(hour), dt.UTC), f"SnowPlow-{hour}.gz")
    world.settle(day)
    store_batches(world, day)
    reconciled(world, day)
    assert night(world, dry_run=False).lines[0] == f"{day}: closed", "a backfill worked on it a moment ago"
    assert stored(world, day) == []
    (name, *_) = DayLog(world.workspace, day).state().objects
    key = f"{world.workspace.root}dead_letters/stage=delivery/dt={day}/{name}-abc.jsonl.gz"
    world.workspace.bucket.put(key, b"letters")
    world.after(days=31)
    (line,) = night(world, dry_run=False).lines
    assert "1 dead_letters (7 bytes)" in line
    assert "day_files" in line, "those of the day's earlier endings"
    assert is_finished(world, day)


def test_a_day_of_a_backfill_has_no_hour_to_be_complete_by(world):
    day = world.now.date() - dt.timedelta(days=400)
    world.put(dt.datetime.combine(day, dt.time(3), dt.UTC), "loaded.gz")
    world.settle(day)
    world.put(dt.datetime.combine(day, dt.time(4), dt.UTC), "late.gz")
    assert "not complete: 1 objects to transform" in night(world).lines[0]
    assert "complete_in_time" not in checks(world, day)
    assert checks(world, day)["hours_present"] is False


def test_the_schedule_ships_stopped_and_its_job_runs(world, yesterday):
    schedule = build_nightly_schedule(world.graph)
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    from snowplow_posthog_dagster.definitions import build_definitions

    job = build_definitions(world.settings).resolve_job_def("nightly_job")
    result = job.execute_in_process(
        instance=world.instance, run_config={"ops": {"reconcile_and_tidy": {"config": {"wait_seconds": 0}}}}
    )
    assert result.success
    assert is_finished(world, yesterday)
