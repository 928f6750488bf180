"""`reconcile DAY`: fetch the day's sample back from PostHog and compare it with what was sent."""

from typing import Annotated

import typer

from snowplow_posthog_dagster.commands.days import Day, a_day, refuse_other_days
from snowplow_posthog_dagster.commands.terminal import err, friendly_errors, out, settings
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.day import DayLoad, writer_name
from snowplow_posthog_dagster.loading.reconcile import WAIT_SECONDS, Reconciliation
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, query_client_of, workspace_of
from snowplow_posthog_dagster.storage.state import AGREE

DISAGREES = 1


def reconcile(
    day: Day,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for ingestion before a missing event is a gap.")
    ] = WAIT_SECONDS,
) -> None:
    """Compare a day's sample with what PostHog has; exit code 1 unless it agrees. Sends nothing."""
    current = settings()
    with friendly_errors():
        chosen, connection = a_day(day), connection_of(current)
        refuse_other_days(current, [chosen])
        query = query_client_of(current)
        if query is None:
            raise SettingsError("not checked: set POSTHOG_PERSONAL_API_KEY and POSTHOG_PROJECT_ID to ask PostHog")
        load = DayLoad(
            archive=archive_of(current, connection),
            workspace=workspace_of(current, connection),
            day=chosen,
            writer=writer_name("reconcile"),
        )
        report = Reconciliation(load, query, api_key=current.project_api_key, wait_seconds=wait).run()
    colour = "green" if report.result == AGREE else "bold red"
    out.print(f"{chosen} [{colour}]{report.result}[/] {report.summary().partition(': ')[2]}")
    for example in report.examples:
        out.print(f"  {example}")
    err.print(f"{report.queries:,} queries in {report.seconds:.1f} s")
    if report.result != AGREE:
        raise typer.Exit(DISAGREES)
