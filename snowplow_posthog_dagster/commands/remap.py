"""`remap --from --to`: do days again under the settings of today, after saying what PostHog will make of it."""

from typing import Annotated

import typer
from rich.table import Table

from snowplow_posthog_dagster.commands.days import From, Now, To, Yes, days_between, me, operated_day
from snowplow_posthog_dagster.commands.terminal import announce_sending, friendly_errors, out, plain, settings
from snowplow_posthog_dagster.loading import remap as remapping
from snowplow_posthog_dagster.loading.remap import RemapPlan
from snowplow_posthog_dagster.loading.setup import mapper_of

Row = tuple[str, RemapPlan]


def remap(
    start: From,
    end: To,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count only; change nothing.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also what these very settings made: PostHog lost what it acknowledged.")
    ] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Only objects with unsent batches that are missing or damaged.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Remap although PostHog keeps old and new events.")] = False,
    now: Now = False,
    yes: Yes = False,
) -> None:
    """Ask for days to be done again under the current settings; the next run of each day sends it again."""
    current = settings()
    with friendly_errors():
        days = days_between(start, end)
        if not dry_run:
            announce_sending(current, f"{days[0]} to {days[-1]} once more", yes=yes)
        rows: list[Row] = []
        for day in days:
            with operated_day(current, day, "remap", now=now, reads_only=dry_run) as load:
                mapper = mapper_of(current, load.workspace)
                made = remapping.plan(load, mapper, again=again, damaged=damaged)
                if dry_run:
                    section = current.file.transform
                    remapping.measure(
                        load,
                        mapper,
                        made,
                        max_record_bytes=section.max_record_bytes,
                        repeat_window=section.repeat_window,
                        max_object_bytes=section.max_object_bytes,
                    )
                else:
                    remapping.remap(load, made, by=me(), force=force)
            rows.append((f"{day}", made))
    out.print(_table(rows, dry_run=dry_run))
    for name, made in rows:
        for key in made.missing:
            out.print(f"[bold red]{name} cannot be remapped[/]: the archive no longer has {plain(key)}")
        if dry_run and made.staying_unknown:
            out.print(f"{name}: the batches of {made.staying_unknown:,} events are purged; how many stay is not known")
    if dry_run:
        out.print("Nothing was changed. Without --dry-run the days become pending.")
    else:
        out.print("Materialize the days that are pending: they are transformed and sent again.")


def _table(rows: list[Row], *, dry_run: bool) -> Table:
    table = Table(title="Remap", title_justify="left", header_style="bold")
    names = ["day", "outcome", "objects to do again", "unchanged", "events in PostHog"]
    names += ["billed again", "filtered now", "staying in PostHog as they are"] if dry_run else []
    for name in names:
        words = name in {"day", "outcome"}
        table.add_column(name, justify="left" if words else "right", no_wrap=words)
    for day, made in rows:
        numbers = [len(made.chosen), made.objects[remapping.UNCHANGED], made.acknowledged]
        numbers += [made.billed_again, made.filtered.total(), made.staying] if dry_run else []
        table.add_row(day, made.outcome, *(f"{number:,}" for number in numbers))
    return table
