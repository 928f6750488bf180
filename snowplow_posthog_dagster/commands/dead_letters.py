"""`dead-letters list | show | replay`: what could not be sent, why, and sending it after all."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.json import JSON
from rich.table import Table

from snowplow_posthog_dagster.commands.days import (
    Day,
    Now,
    Yes,
    a_day,
    deliver,
    logged_days,
    operated_day,
    the_workspace,
)
from snowplow_posthog_dagster.commands.terminal import announce_sending, friendly_errors, out, plain, settings
from snowplow_posthog_dagster.loading.replay import Replay, batches_to_send
from snowplow_posthog_dagster.loading.setup import mapper_of, may_send
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.dead_letters import DELIVERY, TRANSFORM, DeadLetter, counted_letters
from snowplow_posthog_dagster.storage.state import ObjectState
from snowplow_posthog_dagster.storage.workspace import Workspace

# Not a stage of a letter: what could not be read as a whole (broken gzip, a decompression bomb) has no records yet, and
# to count it as settled would lose those that it may hold.
_OBJECT = "object"
Stage = Annotated[
    str | None,
    typer.Option(
        help=f"`{TRANSFORM}` (not a usable record), `{DELIVERY}` (PostHog refused the event) or `{_OBJECT}` (an object"
        " that could not be read as a whole)."
    ),
]
Reason = Annotated[str, typer.Option(help="Only letters whose reason holds these words.")]

_LONG = 160

app = typer.Typer(help="Records that did not become events, and events that PostHog refused.", no_args_is_help=True)


@app.command("list")
def list_(
    start: Annotated[str | None, typer.Option("--from", help="First day.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last day.")] = None,
    stage: Stage = None,
    reason: Reason = "",
) -> None:
    """Count the dead letters by day, stage and reason."""
    current = settings()
    with friendly_errors():
        workspace = the_workspace(current)
        table = Table(title=f"Dead letters of target {workspace.target}", title_justify="left", header_style="bold")
        for name in ("day", "stage", "letters", "reason"):
            table.add_column(name, justify="right" if name == "letters" else "left", overflow="fold")
        counts: Counter[tuple[str, str, str]] = Counter()
        for day in logged_days(workspace, start, end):
            found = _found(workspace, f"{day}", stage, reason)
            counts.update((f"{day}", letter.stage, letter.reason) for letter in found.letters)
            counts.update((f"{day}", _OBJECT, known.reason) for known in found.objects)
    for (name, found_stage, words), number in sorted(counts.items(), key=lambda item: (item[0][:2], -item[1])):
        unit = " objects" if found_stage == _OBJECT else ""
        table.add_row(name, found_stage, f"{number:,}{unit}", plain(words[:_LONG]))
    out.print(table if counts else "No dead letters.")


@app.command()
def show(
    day: Day,
    stage: Stage = None,
    reason: Reason = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 5,
) -> None:
    """Show dead letters of a day: the record or event, its reason and its place in the archive."""
    current = settings()
    with friendly_errors():
        found = _found(the_workspace(current), day, stage, reason)
        for known in found.objects[:limit]:
            out.rule(f"{plain(known.key)} as a whole")
            out.print(f"{plain(known.reason)}; tried {known.attempts} times, again from {known.next_try} on")
        for letter in itertools.islice(found.letters, limit):
            out.rule(f"{plain(letter.key)} {'record' if letter.stage == TRANSFORM else 'event'} {letter.number}")
            out.print(plain(letter.reason))
            out.print(JSON.from_data(letter.content))


@app.command()
def replay(day: Day, stage: Stage = None, reason: Reason = "", now: Now = False, yes: Yes = False) -> None:
    """Map a day's dead letters again, and send what is no longer offending; asked twice, it sends once."""
    if stage == _OBJECT:
        raise typer.BadParameter("an object as a whole is read again by its day's next run, or given up by `skip KEY`")
    current = settings()
    with friendly_errors():
        chosen_day = a_day(day)
        announce_sending(current, f"dead letters of {chosen_day}", yes=yes)
        with operated_day(current, chosen_day, "dead-letters replay", now=now) as load:
            may_send(current, load.workspace)
            section = current.file.transform
            replaying = Replay(
                load,
                mapper_of(current, load.workspace),
                max_record_bytes=section.max_record_bytes,
                max_object_bytes=section.max_object_bytes,
            )
            report = replaying.settle(_letters(load.workspace, day, stage, reason))
            letters = list(_letters(load.workspace, day, DELIVERY, reason)) if stage != TRANSFORM else []
            sent = deliver(load, current, batches_to_send(load, letters))
    out.print(report.summary())
    for words, number in report.still_dead.most_common(10):
        out.print(f"  still dead, {number:,}: {plain(words)}")
    for key, why in report.unreadable.items():
        out.print(f"  [bold yellow]cannot be read any more[/]: {plain(key)}: {plain(why)}")
    closed = "closed" if sent.closed else "open"
    out.print(f"{sent.events:,} events acknowledged in {sent.posts:,} posts; the day is {closed}.")


@dataclass(frozen=True)
class _Found:
    """What did not become events of a day: letters, and objects that nobody could read."""

    letters: Iterator[DeadLetter]
    objects: list[ObjectState]


def _found(workspace: Workspace, day: str, stage: str | None, reason: str) -> _Found:
    if stage not in {None, TRANSFORM, DELIVERY, _OBJECT}:
        raise typer.BadParameter(f"--stage is {TRANSFORM}, {DELIVERY} or {_OBJECT}, not {stage!r}")
    chosen = a_day(day)
    state = DayLog(workspace, chosen).state()
    broken = [
        known
        for known in state.objects.values()
        if known.status == "broken" and stage in {None, _OBJECT} and reason.casefold() in known.reason.casefold()
    ]
    return _Found(counted_letters(workspace, chosen, state, stage=stage, reason=reason), broken)


def _letters(workspace: Workspace, day: str, stage: str | None, reason: str) -> Iterator[DeadLetter]:
    return _found(workspace, day, stage, reason).letters
