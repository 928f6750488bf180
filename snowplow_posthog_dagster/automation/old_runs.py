"""Finished runs of the sensor that nobody needs any more: Dagster keeps run records for ever, some 300 a day.

Deleting a run deletes its events, and with them what the UI knows of the partition: a run that made the newest
materialization of any of a day's assets is kept, and everything else goes. It need not be the day's last good run:
one that made batches only, during a pause, left `posthog_events` as it was, and partitions of another target or code
location have the same names.
"""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

KEPT_DAYS = 14
_MOST = 2_000
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def delete_old_runs(
    instance: dg.DagsterInstance, sensor: str, assets: Sequence[dg.AssetKey], now: dt.datetime, *, dry_run: bool
) -> int:
    """Delete finished runs of a sensor that are older than 14 days, at most 2,000; returns how many.

    `assets` are those that its runs make.
    """
    wanted = dg.RunsFilter(
        tags={"dagster/sensor_name": sensor},
        statuses=_FINISHED,
        created_before=now - dt.timedelta(days=KEPT_DAYS),
    )
    runs = [record.dagster_run for record in instance.get_run_records(wanted, limit=_MOST)]
    days = {run.tags.get("dagster/partition") for run in runs} - {None}
    kept = {run_id for day in days for run_id in _newest_makers(instance, assets, str(day))}
    old = [run.run_id for run in runs if run.run_id not in kept]
    for run_id in old if not dry_run else ():
        instance.delete_run(run_id)
    return len(old)


def _newest_makers(instance: dg.DagsterInstance, assets: Sequence[dg.AssetKey], day: str) -> set[str]:
    """The runs whose materializations of a day are the newest of their assets."""
    filters = [dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day]) for key in assets]
    return {record.run_id for one in filters for record in instance.fetch_materializations(one, limit=1).records}
