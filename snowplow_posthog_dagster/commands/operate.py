"""`skip`, `unskip`, `pause`, `resume`, `check acknowledge` and `target accept-key`: an operator's commands.

They read and write the workspace alone, so they work while Dagster is down and after its database is lost.
"""

import datetime as dt
from collections.abc import Callable
from typing import Annotated

import typer

from snowplow_posthog_dagster.commands.days import Day, a_day, me, refuse_other_days, the_workspace
from snowplow_posthog_dagster.commands.terminal import friendly_errors, out, plain, settings
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage import target
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import CheckAcknowledged, Entry, Skip, Unskip
from snowplow_posthog_dagster.storage.state import ObjectState, next_revision
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

ObjectName = Annotated[
    list[str], typer.Argument(metavar="[DAY] OBJECT", help="The object's key, or its day and its key or id.")
]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the entry.")]
Target = Annotated[str | None, typer.Option("--target", help="Another target than that of POSTHOG_TARGET.")]

ACCOUNTING = "records_accounted_for"

target_app = typer.Typer(help="What a target's name stands for.", no_args_is_help=True)
check_app = typer.Typer(help="Asset checks that fail.", no_args_is_help=True)


def skip(names: ObjectName, reason: Reason) -> None:
    """Give up on an archive object: it no longer keeps the day open, and what was not sent is withdrawn."""

    def entry(found: ObjectState) -> Entry:
        return Skip(
            object=found.object_id,
            revision=next_revision(found),
            key=found.key,
            hour=found.hour,
            reason=reason,
            by=me(),
            at=timestamp_text(),
        )

    _write(names, entry)


def unskip(names: ObjectName) -> None:
    """Take a skip back: the object is transformed and sent by the next run."""

    def entry(found: ObjectState) -> Entry:
        return Unskip(
            object=found.object_id,
            revision=next_revision(found),
            key=found.key,
            hour=found.hour,
            by=me(),
            at=timestamp_text(),
        )

    _write(names, entry)


def _write(names: list[str], make: Callable[[ObjectState], Entry]) -> None:
    current = settings()
    with friendly_errors():
        day, key = _day_and_key(current, names)
        log = DayLog(the_workspace(current), day)
        known = _find(current, log, key)
        entry = make(known)
        log.write([entry], writer="operator")
        out.print(f"{type(entry).__name__.lower()} written for {plain(known.key or known.object_id)}")


def _day_and_key(current: Settings, names: list[str]) -> tuple[dt.date, str]:
    if len(names) > 2:
        raise typer.BadParameter("one object at a time: its key, or its day and its key or id")
    *days, key = names
    if days:
        return a_day(days[0]), key
    day = archive_of(current, connection_of(current)).day_of(key)
    if day is None:
        raise SettingsError(f"{key!r} is no key of the archive's layout; an id needs its day before it")
    return day, key


def _find(current: Settings, log: DayLog, key: str) -> ObjectState:
    state = log.state()
    found = [known for known in state.objects.values() if key in {known.object_id, known.key}]
    listed = archive_of(current, connection_of(current)).list_day(log.day)
    found += [
        ObjectState(object_id=item.object_id, revision=0, status="pending", key=item.key, hour=item.hour)
        for item in listed
        if key in {item.object_id, item.key} and item.object_id not in state.objects
    ]
    if not found:
        raise SettingsError(f"{key!r} is no object of {log.day}; `snowplow-posthog status` and the manifests name them")
    if len(found) > 1:
        ids = ", ".join(f"{known.object_id} ({known.status})" for known in found)
        raise SettingsError(f"{key!r} has held several objects; name one by its id: {ids}")
    return found[0]


def pause(
    reason: Reason,
    until: Annotated[str, typer.Option(help="A time with its zone, such as 2022-06-07T06:00:00Z.")] = "",
    name: Target = None,
) -> None:
    """Stop deliveries to the target after the body in hand; transforms go on."""
    current = settings()
    with friendly_errors():
        place = _target(current, name)
        target.pause(place, reason=reason, until=until, by=me())
    out.print(f"Paused {place.target}. `snowplow-posthog resume` lets deliveries go on.")


def resume(name: Target = None) -> None:
    """Let deliveries to the target go on."""
    current = settings()
    with friendly_errors():
        place = _target(current, name)
        target.resume(place, by=me())
    out.print(f"Resumed {place.target}. Materialize the days that are pending; only what is not acknowledged is sent.")


def _target(current: Settings, name: str | None) -> Workspace:
    """The workspace of the target, of another one by name if it was ever used. Raises SettingsError."""
    place = the_workspace(current)
    if name is None or name == place.target:
        return place
    if name not in target.targets_in(place.bucket, place.prefix):
        raise SettingsError(f"the workspace has no target {name!r}")
    return Workspace(place.bucket, place.prefix, name)


@check_app.command("acknowledge")
def acknowledge_check(
    day: Day,
    reason: Reason,
    until: Annotated[str, typer.Option(help="The last day on which it is accepted, YYYY-MM-DD.")],
    check: Annotated[str, typer.Option(help="The name of the check, as the UI shows it.")] = ACCOUNTING,
) -> None:
    """Accept a failing check of a day until a date: it then warns instead of blocking, and shows who and why."""
    current = settings()
    with friendly_errors():
        known = _checks()
        if check not in known:
            raise SettingsError(f"--check {check!r} does not exist; expected one of {', '.join(known)}")
        chosen, last = a_day(day), a_day(until)
        refuse_other_days(current, [chosen])
        if last < dt.datetime.now(dt.UTC).date():
            raise SettingsError(f"--until {last} has passed")
        entry = CheckAcknowledged(check=check, reason=reason, until=f"{last}", by=me(), at=timestamp_text())
        DayLog(the_workspace(current), chosen).write([entry], writer="operator")
    out.print(f"{check} of {chosen} is accepted until {last}: {plain(reason)}")


def _checks() -> list[str]:
    """The names of all checks. Dagster is loaded here and not at the start, which takes it a second."""
    from snowplow_posthog_dagster.assets.checks import DESCRIPTIONS
    from snowplow_posthog_dagster.assets.events import COMPLETE

    return [ACCOUNTING, COMPLETE, *DESCRIPTIONS]


@target_app.command("accept-key")
def accept_key() -> None:
    """Let the target's name stand for the host, project and key of the settings from now on."""
    current = settings()
    with friendly_errors():
        identity = current.target_identity
        target.accept_identity(the_workspace(current), identity, by=me())
    out.print(f"{current.environment.posthog_target} now stands for {identity.host}, key {identity.key_fingerprint}.")
