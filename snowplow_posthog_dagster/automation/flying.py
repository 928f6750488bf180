"""Which runs of a day are queued or under way, and how the last ones ended: from Dagster's own run records.

Runs count whoever started them: the sensor, a backfill, the UI, or the CLI with the same DAGSTER_HOME. What runs
outside this instance is known by the day lease in the workspace.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

import dagster as dg

UNFINISHED = frozenset(
    {
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    }
)
_LAST_RUNS = 12
_CLI_START = dt.timedelta(minutes=2)
"""A run in a terminal that was killed stays "started" for ever, so after two minutes only its day lease counts."""


@dataclass(frozen=True)
class Flying:
    """The runs of a day: the unfinished ones, when the last began, and how many failed since one succeeded."""

    unfinished: tuple[str, ...]
    last_began: dt.datetime | None
    failures: int


def runs_of_day(
    instance: dg.DagsterInstance,
    day: dt.date,
    *,
    assets: Collection[dg.AssetKey],
    job: str,
    now: dt.datetime,
) -> Flying:
    """The last runs of a day that concern these assets."""
    records = instance.get_run_records(dg.RunsFilter(tags={"dagster/partition": f"{day}"}), limit=_LAST_RUNS)
    ours = [record for record in records if _concerns(record.dagster_run, assets, job)]
    finished = [record.dagster_run.status for record in ours if record.dagster_run.status not in UNFINISHED]
    failures = next(
        (place for place, status in enumerate(finished) if status == dg.DagsterRunStatus.SUCCESS), len(finished)
    )
    return Flying(
        unfinished=tuple(record.dagster_run.run_id for record in ours if _in_flight(record, now)),
        last_began=max((_began(record) for record in ours), default=None),
        failures=failures,
    )


def _concerns(run: dg.DagsterRun, assets: Collection[dg.AssetKey], job: str) -> bool:
    """Whether a run is about these assets; another code location may have partitions of the same name."""
    if run.asset_selection:
        return not run.asset_selection.isdisjoint(assets)
    return run.job_name == job


def _in_flight(record: dg.RunRecord, now: dt.datetime) -> bool:
    if record.dagster_run.status not in UNFINISHED:
        return False
    in_a_terminal = record.dagster_run.remote_job_origin is None
    return not in_a_terminal or now - _began(record) < _CLI_START


def _began(record: dg.RunRecord) -> dt.datetime:
    if record.start_time is not None:
        return dt.datetime.fromtimestamp(record.start_time, dt.UTC)
    created = record.create_timestamp
    return created if created.tzinfo else created.replace(tzinfo=dt.UTC)
