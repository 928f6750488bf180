"""How an operator's command works on a day outside of Dagster: its lease, its load, its delivery."""

import contextlib
import datetime as dt
import getpass
import os
import re
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer

from snowplow_posthog_dagster.commands.terminal import err
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.day import DayLoad, writer_name
from snowplow_posthog_dagster.loading.delivery import OpenBatch
from snowplow_posthog_dagster.loading.pacing_leases import LIVE_WEIGHT, shared_pace
from snowplow_posthog_dagster.loading.reports import StepReport
from snowplow_posthog_dagster.loading.setup import (
    archive_of,
    capture_client_of,
    connection_of,
    delivery_options_of,
    may_send,
    workspace_of,
)
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.leases import DayLease
from snowplow_posthog_dagster.storage.workspace import Workspace

Day = Annotated[str, typer.Argument(help="The archive day, YYYY-MM-DD.")]
From = Annotated[str, typer.Option("--from", help="First archive day, YYYY-MM-DD.")]
To = Annotated[str, typer.Option("--to", help="Last archive day, YYYY-MM-DD.")]
Now = Annotated[bool, typer.Option("--now", help="Do not wait for another run of the same day.")]
Yes = Annotated[bool, typer.Option("--yes", help="Go on although the target is marked production.")]

_DAY = re.compile(r"dt=(\d{4}-\d\d-\d\d)/")


def a_day(text: str) -> dt.date:
    """A day given on the command line. Raises typer.BadParameter."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; expected YYYY-MM-DD") from None


def bounds(start: str | None, end: str | None) -> tuple[dt.date, dt.date]:
    """The first and the last day of a range that may be open at either end. Raises typer.BadParameter."""
    first, last = a_day(start) if start else dt.date.min, a_day(end) if end else dt.date.max
    if last < first:
        raise typer.BadParameter(f"--to {last} lies before --from {first}")
    return first, last


def days_between(start: str, end: str) -> list[dt.date]:
    """Every day from start to end, both inclusive. Raises typer.BadParameter."""
    first, last = bounds(start, end)
    return [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]


def refuse_other_days(current: Settings, days: list[dt.date]) -> None:
    """Raise SettingsError for a day that is no partition: before the first day, after the last, or in the future."""
    first, last = current.first_day, current.last_day
    if min(days) < first:
        raise SettingsError(f"{min(days)} lies before {first}, the first day; POSTHOG_BACKFILL_START_DATE sets it")
    if max(days) > last:
        ends = current.environment.posthog_backfill_end_date == last
        cure = "POSTHOG_BACKFILL_END_DATE sets it" if ends else "that is today in UTC, and no later day has events"
        raise SettingsError(f"{max(days)} lies after {last}, the last day; {cure}")


def logged_days(
    workspace: Workspace, start: str | None = None, end: str | None = None, *, kind: str = "log"
) -> list[dt.date]:
    """The days that have a log (or another kind of thing), oldest first, within bounds that may be open.

    One LIST a day: what lies within a day is skipped, since a live one has hundreds of manifests.
    """
    first, last = bounds(start, end)
    folder, days = workspace.folder(kind), list[dt.date]()
    after = workspace.folder(kind, first) if start else ""
    while (listed := next(iter(workspace.bucket.listing(folder, start_after=after)), None)) is not None:
        found = _DAY.search(listed.key)
        if found is None:
            after = listed.key
            continue
        day = dt.date.fromisoformat(found.group(1))
        if day > last:
            break
        days.append(day)
        after = workspace.folder(kind, day) + "~"  # after every name of the day
    return days


def the_workspace(current: Settings) -> Workspace:
    """The target's workspace."""
    return workspace_of(current, connection_of(current))


def me() -> str:
    """Who gives the command, for the log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        err.print("(no user name found; written as `unknown`)")
        return "unknown"


@contextlib.contextmanager
def operated_day(
    current: Settings, day: dt.date, what: str, *, now: bool = False, reads_only: bool = False
) -> Iterator[DayLoad]:
    """The work on one day with its lease held; waits for another run of the day and says for whom.

    What only reads takes no lease and waits for nobody.
    """
    connection = connection_of(current)
    sender = f"{what}-{uuid.uuid4()}"
    load = DayLoad(
        archive=archive_of(current, connection),
        workspace=workspace_of(current, connection),
        day=day,
        writer=writer_name(sender),
    )
    if reads_only:
        yield load
        return
    lease = DayLease(
        load.workspace,
        day,
        sender=sender,
        who=f"`{what}` on {socket.gethostname()}, process {os.getpid()}",
        wait=not now,
        on_wait=lambda who: err.print(f"{day} is being worked on by {who}; waiting for it (--now does not)"),
        stop=load.stop,
    )
    with lease:
        yield load


def deliver(load: DayLoad, current: Settings, chosen: list[OpenBatch] | None = None) -> StepReport:
    """Send the open events of a day, or the chosen ones, as a run of Dagster would.

    Chosen ones may be refused as often as it takes: somebody asked for them.
    """
    may_send(current, load.workspace)
    options = delivery_options_of(current)
    client = capture_client_of(current)
    try:
        with shared_pace(load.workspace, current.events_per_second, sender=load.writer, weight=LIVE_WEIGHT) as pacer:
            return load.deliver(
                client,
                api_key=current.project_api_key,
                pacer=pacer,
                options=options if chosen is None else replace(options, max_refused_share=1.0),
                chosen=chosen,
            )
    finally:
        client.close()
