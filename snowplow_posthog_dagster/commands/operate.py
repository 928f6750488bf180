"""`status`, `skip`, `unskip`, `pause`, `resume` and `target accept-key`: an operator's commands.

They read and write the workspace alone, so they work while Dagster is down and after its database is lost.
"""

import datetime as dt
import getpass
import re
from collections.abc import Callable
from typing import Annotated

import typer

from snowplow_posthog_dagster.commands.terminal import counts_table, err, friendly_errors, out, settings
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, workspace_of
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage import target
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import Entry, Skip, Unskip
from snowplow_posthog_dagster.storage.state import ObjectState, next_revision
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

Day = Annotated[str, typer.Argument(help="The archive day, YYYY-MM-DD.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the entry.")]

_DAY = re.compile(r"dt=(\d{4}-\d\d-\d\d)/")

target_app = typer.Typer(help="What a target's name stands for.", no_args_is_help=True)


def status(
    start: Annotated[str | None, typer.Option("--from", help="First day.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last day.")] = None,
) -> None:
    """The counting equation per day, from the logs alone."""
    current = settings()
    with friendly_errors():
        workspace = _workspace(current)
        days = [
            day
            for day in logged_days(workspace)
            if (start is None or f"{day}" >= start) and (end is None or f"{day}" <= end)
        ]
        states = [(day, DayLog(workspace, day).state()) for day in days]
        rows = [(f"{day}", state.counts()) for day, state in states]
        pause_now = target.current_pause(workspace)
    if pause_now:
        out.print(f"[bold yellow]paused[/] by {pause_now.by}: {pause_now.reason} {pause_now.until}")
    out.print(counts_table([*rows, ("all", Counts.total(counts for _, counts in rows))], f"Target {workspace.target}"))
    for day, state in states:
        for problem in state.problems():
            out.print(f"[bold red]{day} does not add up[/]: {problem}")
        for known in state.objects.values():
            if known.status in {"broken", "skipped", "gone", "superseded"}:
                out.print(f"{day} {known.status}: {known.key} {known.reason}")


def logged_days(workspace: Workspace) -> list[dt.date]:
    """The days that have a log, oldest first."""
    found = {
        match.group(1)
        for listed in workspace.bucket.listing(workspace.folder("log"))
        if (match := _DAY.search(listed.key))
    }
    return [dt.date.fromisoformat(day) for day in sorted(found)]


def skip(day: Day, key: Annotated[str, typer.Argument(help="The object's key or id.")], reason: Reason) -> None:
    """Give up on an archive object: it no longer keeps the day open, and what was not sent is withdrawn."""

    def entry(found: ObjectState) -> Entry:
        return Skip(object=found.object_id, revision=next_revision(found), reason=reason, by=_me(), at=timestamp_text())

    _write(day, key, entry)


def unskip(day: Day, key: Annotated[str, typer.Argument(help="The object's key or id.")]) -> None:
    """Take a skip back: the object is transformed and sent by the next run."""

    def entry(found: ObjectState) -> Entry:
        return Unskip(object=found.object_id, revision=next_revision(found), by=_me(), at=timestamp_text())

    _write(day, key, entry)


def _write(day: str, key: str, make: Callable[[ObjectState], Entry]) -> None:
    current = settings()
    with friendly_errors():
        log = DayLog(_workspace(current), dt.date.fromisoformat(day))
        known = _find(current, log, key)
        entry = make(known)
        log.write([entry], writer="operator")
        out.print(f"{type(entry).__name__.lower()} written for {known.key or known.object_id}")


def _find(current: Settings, log: DayLog, key: str) -> ObjectState:
    state = log.state()
    for known in state.objects.values():
        if key in {known.object_id, known.key}:
            return known
    for found in archive_of(current, connection_of(current)).list_day(log.day):
        if key in {found.object_id, found.key}:
            return ObjectState(object_id=found.object_id, revision=0, status="pending", key=found.key)
    raise SettingsError(f"{key!r} is no object of {log.day}; `snowplow-posthog status` and the manifests name them")


def pause(
    reason: Reason, until: Annotated[str, typer.Option(help="UTC time, such as 2022-06-07T06:00:00Z.")] = ""
) -> None:
    """Stop deliveries to the target; transforms go on."""
    current = settings()
    with friendly_errors():
        target.pause(_workspace(current), reason=reason, until=until, by=_me())
    out.print("Paused. `snowplow-posthog resume` lets deliveries go on.")


def resume() -> None:
    """Let deliveries to the target go on."""
    current = settings()
    with friendly_errors():
        target.resume(_workspace(current), by=_me())
    out.print("Resumed. Materialize the days that are pending; only what is not acknowledged is sent.")


@target_app.command("accept-key")
def accept_key() -> None:
    """Let the target's name stand for the host, project and key of the settings from now on."""
    current = settings()
    with friendly_errors():
        identity = current.target_identity
        target.accept_identity(_workspace(current), identity, by=_me())
    out.print(f"{current.environment.posthog_target} now stands for {identity.host}, key {identity.key_fingerprint}.")


def _workspace(current: Settings) -> Workspace:
    return workspace_of(current, connection_of(current))


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        err.print("(no user name found; written as `unknown`)")
        return "unknown"
