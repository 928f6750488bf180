"""`status`: what every day and target has come to, from the logs and manifests of the workspace alone.

It works while Dagster is down and after its database is lost. `--evidence` writes the same for PostHog's support:
requests by status, times and sizes, without keys, buckets, ids or content.
"""

import datetime as dt
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from snowplow_posthog_dagster import __version__
from snowplow_posthog_dagster.commands.days import logged_days, the_workspace
from snowplow_posthog_dagster.commands.terminal import counts_table, friendly_errors, out, plain, settings
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import Posted
from snowplow_posthog_dagster.storage.manifests import untouched
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.target import current_pause, targets_in
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

_PERSONAL = re.compile(r"\S+@\S+|ph[cx]_\w+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d{6,}")
_WORDS = 160


def status(
    start: Annotated[str | None, typer.Option("--from", help="First day.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last day.")] = None,
    all_targets: Annotated[bool, typer.Option("--all-targets", help="Every target of the workspace.")] = False,
    evidence: Annotated[
        Path | None,
        typer.Option(help="Write requests by status, times and sizes here, redacted, for PostHog's support."),
    ] = None,
) -> None:
    """Show objects, the counting equation, and what is pending or broken, per day; from the workspace alone."""
    current = settings()
    with friendly_errors():
        workspace = the_workspace(current)
        names = targets_in(workspace.bucket, workspace.prefix) if all_targets else [workspace.target]
        places = [Workspace(workspace.bucket, workspace.prefix, name) for name in names]
        found, apps = _read(places, start, end)
        for place in places:
            _show(place, found[place.target])
        if all_targets:
            _show_untaken(apps.untaken())
        if evidence:
            evidence.write_text(json.dumps(evidence_of(current, found), indent=2) + "\n")
            out.print(f"Written for PostHog's support, without keys, ids and content: {evidence}")


@dataclass(frozen=True)
class DayStatus:
    """What is told of a day. Its state is not kept: 100 MB for 22,000 objects, 3 GB for a month of them."""

    day: dt.date
    counts: Counts
    last_run: str
    reconciled: str
    exceptions: list[str]
    evidence: dict[str, Any] | None


def _read(
    places: list[Workspace], start: str | None, end: str | None
) -> tuple[dict[str, list[DayStatus]], "AppsOfTargets"]:
    """Every day of every target, one day after the other."""
    days = {
        place.target: {*logged_days(place, start, end), *logged_days(place, start, end, kind="manifests")}
        for place in places
    }
    found: dict[str, list[DayStatus]] = {place.target: [] for place in places}
    apps = AppsOfTargets()
    for day in sorted(set().union(*days.values())):
        states = {place.target: DayLog(place, day).state() for place in places if day in days[place.target]}
        apps.add(states)
        for place in places:
            if day in days[place.target]:
                found[place.target].append(_day_status(place, day, states[place.target]))
    return found, apps


def _day_status(workspace: Workspace, day: dt.date, state: DayState) -> DayStatus:
    return DayStatus(
        day=day,
        counts=state.counts() + _waiting(workspace, day, state),
        last_run=state.last_run(),
        reconciled=state.reconciled[-1].result if state.reconciled else "not checked",
        exceptions=list(_exceptions(day, state)),
        evidence=_day_evidence(day, state) if state.posted else None,
    )


def _show(workspace: Workspace, days: list[DayStatus]) -> None:
    paused = current_pause(workspace)
    if paused:
        until = f" until {paused.until}" if paused.until else ""
        out.print(f"[bold yellow]{workspace.target} is paused[/] by {paused.by}{until}: {plain(paused.reason)}")
    total = Counts.total(one.counts for one in days)
    rows = [(f"{one.day}", one.counts) for one in days]
    out.print(counts_table([*rows, ("all", total)], f"Target {workspace.target}"))
    out.print(_objects_table(days, total))
    for one in days:
        for line in one.exceptions:
            out.print(line)


def _waiting(workspace: Workspace, day: dt.date, state: DayState) -> Counts:
    """What a manifest names and no run has transformed: the run was killed, narrowed, or left Glacier alone."""
    waiting = len(untouched(workspace, day, state))
    return Counts(objects=waiting, objects_pending=waiting)


def _objects_table(days: list[DayStatus], total: Counts) -> Table:
    table = Table(title="Archive objects, by what became of them", title_justify="left", header_style="bold")
    table.add_column("day")
    for name in ("objects", "done", "pending", "broken", "skipped", "gone", "superseded", "sent twice"):
        table.add_column(name, justify="right")
    table.add_column("last run")
    table.add_column("reconciled")
    rows = [(f"{one.day}", one.counts, one.last_run, one.reconciled) for one in days]
    for name, counts, last, checked in [*rows, ("all", total, "", "")]:
        numbers = (
            counts.objects, counts.objects_done, counts.objects_pending, counts.objects_broken, counts.objects_skipped,
            counts.objects_gone, counts.objects_superseded, counts.resent,
        )  # fmt: skip
        table.add_row(name, *(f"{number:,}" for number in numbers), last, checked)
    return table


def _exceptions(day: dt.date, state: DayState) -> Iterator[str]:
    for problem in state.problems():
        yield f"[bold red]{day} does not add up[/]: {plain(problem)}"
    for entry in state.acknowledged_checks:
        yield f"{day} check {entry.check} accepted by {entry.by} until {entry.until}: {plain(entry.reason)}"
    if state.reconciled and state.reconciled[-1].cause:
        yield f"{day} reconciliation: {plain(state.reconciled[-1].cause)}"
    for known in state.objects.values():
        if known.status in {"broken", "skipped", "gone", "superseded"}:
            more = f", attempt {known.attempts}, next try {known.next_try}" if known.status == "broken" else ""
            yield f"{day} {known.status}: {plain(known.key)} {plain(known.reason)}{more}"


class AppsOfTargets:
    """The app_ids of days, by what the targets made of their records.

    Targets of one archive read the same objects, so a record that two of them filtered is counted once.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._filtered: Counter[str] = Counter()
        self._readers: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, states: Mapping[str, DayState]) -> None:
        """Add a day, of all targets at once: an object lies in one day."""
        most: dict[tuple[str, str], int] = {}
        for target, state in states.items():
            for done in (known.done for known in state.objects.values() if known.done):
                for app, (kept, filtered) in done.apps.items():
                    if kept:
                        self._taken.add(app)
                    most[app, done.object] = max(most.get((app, done.object), 0), filtered)
                    self._readers[app].add(target)
        for (app, _), filtered in most.items():
            self._filtered[app] += filtered

    def untaken(self) -> dict[str, tuple[int, list[str]]]:
        """The app_ids of which no target took a record: how many records, and the targets that filtered them."""
        apps = sorted(self._filtered.keys() - self._taken)
        return {app: (self._filtered[app], sorted(self._readers[app])) for app in apps}


def _show_untaken(apps: dict[str, tuple[int, list[str]]]) -> None:
    if not apps:
        out.print("Every app_id in these days is taken by a target.")
        return
    table = Table(title="app_ids that no target takes", title_justify="left", header_style="bold")
    for name in ("app_id", "records", "filtered by (a target not named has not read them)"):
        table.add_column(name, justify="right" if name == "records" else "left")
    for app, (count, readers) in apps.items():
        table.add_row(plain(app) or "(none)", f"{count:,}", ", ".join(readers))
    out.print(table)


def evidence_of(current: Settings, found: dict[str, list[DayStatus]]) -> dict[str, Any]:
    """What PostHog's support may see: per target and day the requests, sizes and counts; no key, id or content."""
    return {
        "program": f"snowplow-posthog-dagster {__version__}",
        "written": timestamp_text(),
        "host": current.host,
        "project_id": current.environment.posthog_project_id or "",
        "targets": {name: [one.evidence for one in days if one.evidence is not None] for name, days in found.items()},
    }


def _day_evidence(day: dt.date, state: DayState) -> dict[str, Any]:
    counts = state.counts()
    totals: dict[str, int] = {}
    for entry in state.posted:
        for answered, number in entry.statuses.items():
            totals[answered] = totals.get(answered, 0) + number
    return {
        "archive_day": f"{day}",
        "requests": sum(entry.posts for entry in state.posted),
        "requests_by_status": totals,
        "bytes_sent": sum(entry.bytes for entry in state.posted),
        "events_acknowledged": counts.acknowledged,
        "events_refused": counts.delivery_dead_letters,
        "events_sent_twice": counts.resent,
        "reconciliation": [
            {"at": entry.at, "result": entry.result, "sampled": entry.sampled, "found": entry.found}
            for entry in state.reconciled
        ],
        "deliveries": [_delivery_evidence(entry) for entry in state.posted],
    }


def _delivery_evidence(entry: Posted) -> dict[str, Any]:
    return {
        "started": entry.started,
        "ended": entry.ended,
        "requests": entry.posts,
        "requests_by_status": entry.statuses,
        "retries": entry.retries,
        "bytes_sent": entry.bytes,
        "events_acknowledged": entry.events,
        "events_refused": entry.refused,
        "last_answer_that_was_not_ok": _PERSONAL.sub("<redacted>", entry.last_words)[:_WORDS],
    }
