"""Finished runs of the sensor that nobody needs any more: Dagster keeps run records for ever, some 300 a day.

Deleting a run deletes its events, and with them what the UI knows of the partition; so the last successful run of a
day is kept, and everything that failed or did nothing beside it goes.
"""

import datetime as dt

import dagster as dg

KEPT_DAYS = 14
_MOST = 2_000
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def delete_old_runs(instance: dg.DagsterInstance, sensor: str, now: dt.datetime, *, dry_run: bool) -> int:
    """Delete finished runs of a sensor that are older than 14 days, at most 2,000; returns how many."""
    wanted = dg.RunsFilter(
        tags={"dagster/sensor_name": sensor},
        statuses=_FINISHED,
        created_before=now - dt.timedelta(days=KEPT_DAYS),
    )
    deleted = 0
    for record in instance.get_run_records(wanted, limit=_MOST):
        run = record.dagster_run
        if run.run_id == _last_success(instance, run.tags.get("dagster/partition")):
            continue
        deleted += 1
        if not dry_run:
            instance.delete_run(run.run_id)
    return deleted


def _last_success(instance: dg.DagsterInstance, partition: str | None) -> str | None:
    if partition is None:
        return None
    wanted = dg.RunsFilter(tags={"dagster/partition": partition}, statuses=[dg.DagsterRunStatus.SUCCESS])
    found = instance.get_run_records(wanted, limit=1)
    return found[0].dagster_run.run_id if found else None
