"""Which runs of a day are queued or under way, and how the last ones ended: from Dagster's own run records.

Runs count whoever started them: the sensor, a backfill, the UI, or the CLI with the same DAGSTER_HOME. What runs
outside this instance is known by the day lease in the workspace.
"""

import datetime as dt
import itertools
from collections.abc import Collection, Iterable, Iterator
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
_FINISHED = frozenset(dg.DagsterRunStatus) - UNFINISHED
_LAST_RUNS = 12
_PAGE = 50
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
    """The unfinished runs of a day that concern these assets, and the last finished ones.

    A partition of another code location may have the same name and any number of runs, so ours are looked for page by
    page. The unfinished ones come first: a run that ends in between is seen twice and not missed.
    """

    def ours(statuses: Iterable[dg.DagsterRunStatus]) -> Iterator[dg.RunRecord]:
        wanted = dg.RunsFilter(tags={"dagster/partition": f"{day}"}, statuses=list(statuses))
        return (record for record in _paged(instance, wanted) if _concerns(record.dagster_run, assets, job))

    unfinished = list(ours(UNFINISHED))
    finished = list(itertools.islice(ours(_FINISHED), _LAST_RUNS))
    statuses = [record.dagster_run.status for record in finished]
    failures = next(
        (place for place, status in enumerate(statuses) if status == dg.DagsterRunStatus.SUCCESS), len(statuses)
    )
    return Flying(
        unfinished=tuple(record.dagster_run.run_id for record in unfinished if _in_flight(record, now)),
        last_began=max((_began(record) for record in [*unfinished, *finished]), default=None),
        failures=failures,
    )


def _paged(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> Iterator[dg.RunRecord]:
    """Every record of the filter, newest first."""
    cursor: str | None = None
    while page := instance.get_run_records(wanted, limit=_PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _concerns(run: dg.DagsterRun, assets: Collection[dg.AssetKey], job: str) -> bool:
    """Whether a run is about these assets; another code location may have partitions of the same name."""
    if run.asset_selection:
        return not run.asset_selection.isdisjoint(assets)
    return run.job_name == job


def _in_flight(record: dg.RunRecord, now: dt.datetime) -> bool:
    in_a_terminal = record.dagster_run.remote_job_origin is None
    return not in_a_terminal or now - _began(record) < _CLI_START


def _began(record: dg.RunRecord) -> dt.datetime:
    if record.start_time is not None:
        return dt.datetime.fromtimestamp(record.start_time, dt.UTC)
    created = record.create_timestamp
    return created if created.tzinfo else created.replace(tzinfo=dt.UTC)
