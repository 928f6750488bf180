"""`housekeeping`: what closed days no longer need, said by default and deleted with `--yes`.

The same as the nightly job's last step, for those who want to see it first, or who have no daemon: batches and samples
of closed and reconciled days, dead letters past their retention, orphans a day old, the sensor's old runs.
"""

import datetime as dt
from typing import Annotated

import typer
from rich.table import Table

from snowplow_posthog_dagster.commands.days import bounds, operated_day, the_workspace
from snowplow_posthog_dagster.commands.terminal import friendly_errors, out, settings
from snowplow_posthog_dagster.settings import Settings

Delete = Annotated[bool, typer.Option("--yes/--dry-run", help="Delete; without it nothing is deleted.")]


def housekeeping(
    start: Annotated[str | None, typer.Option("--from", help="First archive day, YYYY-MM-DD.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last archive day, YYYY-MM-DD.")] = None,
    yes: Delete = False,
) -> None:
    """Say what closed days no longer need; with --yes delete it. Log entries are never deleted."""
    from snowplow_posthog_dagster.automation.housekeeping import Housekeeping, keep_house, stored_days

    current, sums = settings(), Housekeeping()
    first, last = bounds(start, end)
    table = Table(title="Deleted" if yes else "Would be deleted (--yes deletes it)", title_justify="left")
    table.add_column("day")
    table.add_column("files")
    with friendly_errors():
        retention = current.file.workspace.dead_letter_retention_days
        for day in stored_days(the_workspace(current)):
            if first <= day <= last and day < dt.datetime.now(dt.UTC).date():
                with operated_day(current, day, "housekeeping", reads_only=not yes) as load:
                    found = keep_house(load, dry_run=not yes, retention_days=retention)
                sums.add(found)
                if found.files:
                    table.add_row(f"{day}", found.summary())
    if table.row_count:
        out.print(table)
    with friendly_errors():
        runs = _old_runs(current, dry_run=not yes)
    out.print(f"{'Deleted' if yes else 'Would delete'} {sums.summary()}, and {runs:,} old runs of the sensor.")


def _old_runs(current: Settings, *, dry_run: bool) -> int:
    """Finished runs of the sensor in the Dagster of DAGSTER_HOME; 0 without one."""
    from snowplow_posthog_dagster.assets.graph import Graph
    from snowplow_posthog_dagster.automation.job import asset_keys
    from snowplow_posthog_dagster.automation.old_runs import delete_old_runs
    from snowplow_posthog_dagster.commands.load import instance

    with instance() as dagster_instance:
        graph, now = Graph(current), dt.datetime.now(dt.UTC)
        sensor = graph.name("new_snowplow_files")
        return delete_old_runs(dagster_instance, sensor, asset_keys(graph), now, dry_run=dry_run)
