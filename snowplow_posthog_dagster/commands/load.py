"""`load`: a materialization of one day in the terminal, with a progress bar.

It is a Dagster run like any other (it shows in the UI when DAGSTER_HOME is the same), executed in this
process, so it starts in two seconds.
"""

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snowplow_posthog_dagster import errors
from snowplow_posthog_dagster.commands.days import a_day, refuse_other_days
from snowplow_posthog_dagster.commands.terminal import (
    announce_sending,
    counts_table,
    err,
    friendly_errors,
    out,
    plain,
    settings,
)
from snowplow_posthog_dagster.loading.setup import connection_of, workspace_of
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.day_log import DayLog

if TYPE_CHECKING:
    from dagster import DagsterInstance

_OURS = {name for name, found in vars(errors).items() if isinstance(found, type)}
ASSETS = ("snowplow_manifest", "posthog_batches", "posthog_events")


def load(
    day: Annotated[str, typer.Argument(help="The UTC day of the archive path, YYYY-MM-DD.")],
    hour: Annotated[list[int] | None, typer.Option("--hour", min=0, max=23, help="Only this hour; repeatable.")] = None,
    max_events: Annotated[int | None, typer.Option(min=1, help="Send at most so many events.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for another run of the same day.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go on although the target is marked production.")] = False,
) -> None:
    """Load one day of the archive into PostHog; only what is not done yet."""
    current = settings()
    with friendly_errors():
        chosen = a_day(day)
        refuse_other_days(current, [chosen])
        narrowed = f"hours {sorted(hour)} of " if hour else ""
        limit = f"at most {max_events:,} events of " if max_events else ""
        announce_sending(current, f"{limit}{narrowed}{chosen}", yes=yes)
        config = {"hours": sorted(hour) if hour else None, "max_events": max_events, "now": now}
        with instance() as dagster_instance, progress_bar():
            result = materialize(current, chosen, dagster_instance, config)
        for line in result.errors:
            err.print(f"[bold red]failed[/]: {plain(line)}")
        out.print(f"{chosen}: {result.words}")
        show_day(current, chosen)
    if result.errors:
        raise typer.Exit(1)


class MaterializeResult:
    """What a run in this process did: per asset its metadata, and the errors of failed steps."""

    def __init__(self, metadata: dict[str, dict[str, Any]], errors: list[str]) -> None:
        self.metadata = metadata
        self.errors = errors

    @property
    def words(self) -> str:
        """What came of the day in one line; an archive that is looked for in the wrong place is not `nothing new`."""
        sent = self.metadata.get(ASSETS[-1])
        if sent is None:
            return "failed"
        if not self.metadata.get(ASSETS[0], {}).get("objects"):
            return "no file in the archive there; `archive` in the settings file says where it is looked for"
        return ", left: ".join(filter(None, [sent.get("summary", ""), sent.get("left", "")]))


def materialize(
    current: Settings,
    day: dt.date,
    dagster_instance: "DagsterInstance",
    config: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> MaterializeResult:
    """Materialize the three assets of a day in this process.

    `config` is the run config of every asset (hours, max_events, now), `tags` are the run's.
    """
    from snowplow_posthog_dagster.definitions import build_definitions

    given = {name: value for name, value in (config or {}).items() if value is not None}
    definitions = build_definitions(current)
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        partition_key=day.isoformat(),
        instance=dagster_instance,
        raise_on_error=False,
        tags=tags,
        run_config={
            "ops": {node.name: {"config": given} for node in job.graph.nodes},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
    )
    metadata = {
        event.asset_key.path[-1]: {
            name: getattr(value, "value", None)
            for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    causes = [_cause(event.step_failure_data.error) for event in result.get_step_failure_events()]
    if not result.success and not causes:
        # Dagster itself failed, between steps: a full disk, a home that cannot be written.
        causes.append(_cause(result.get_run_failure_event().job_failure_data.error))
    return MaterializeResult(metadata, causes)


def _cause(error: Any) -> str:
    """The words of the first error of ours, which name the thing; of the innermost when none of them is ours."""
    while error and error.cause and (error.cls_name or "").rsplit(".", 1)[-1] not in _OURS:
        error = error.cause
    return str(error.message).strip() if error else "unknown"


@contextlib.contextmanager
def instance() -> "Iterator[DagsterInstance]":
    """The instance of DAGSTER_HOME, or one that leaves no history."""
    from dagster import DagsterInstance

    if os.environ.get("DAGSTER_HOME"):
        with _instance_of_home() as found:
            yield found
    else:
        err.print("DAGSTER_HOME is not set: the run leaves no history in Dagster (the day log remembers it anyway).")
        with DagsterInstance.ephemeral() as found:
            yield found


def _instance_of_home() -> "DagsterInstance":
    """The instance of DAGSTER_HOME. Raises SettingsError for a home that Dagster does not take."""
    from dagster import DagsterError, DagsterInstance

    try:
        return DagsterInstance.get()
    except DagsterError as error:
        raise errors.SettingsError(f"DAGSTER_HOME: {error}") from None


@contextlib.contextmanager
def progress_bar() -> Iterator[None]:
    """Show the steps of in-process runs as bars."""
    from snowplow_posthog_dagster.assets.run import observed_by

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def observe(unit: str, done: int, total: int) -> None:
            if unit not in tasks:
                tasks[unit] = bars.add_task(unit, total=total)
            bars.update(tasks[unit], completed=done, total=total)

        with observed_by(observe):
            yield


def show_day(current: Settings, day: dt.date) -> None:
    """Print the counting equation of a day, from its log."""
    workspace = workspace_of(current, connection_of(current))
    out.print(counts_table([(f"{day}", DayLog(workspace, day).state().counts())], "The counting equation"))
