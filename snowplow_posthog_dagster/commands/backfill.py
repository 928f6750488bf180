"""`backfill --from --to`: a range of days, each a Dagster run of its own, one after another in this process.

It needs no daemon and no UI, shows up in both when DAGSTER_HOME is theirs, and goes on where it stopped when it is
started again: a finished day costs two listings. Days side by side are what Dagster's own backfills do.
"""

import time
import uuid
from typing import Annotated

import typer

from snowplow_posthog_dagster.commands.days import From, Now, To, Yes, days_between, refuse_other_days
from snowplow_posthog_dagster.commands.load import instance, materialize, progress_bar
from snowplow_posthog_dagster.commands.terminal import announce_sending, err, friendly_errors, out, plain, settings

BACKFILL_TAG = "snowplow_posthog/backfill"
"""On every run of a range; deliveries of such runs leave the larger share of the pace to live loads.

Not Dagster's own tag: the list of runs hides runs that belong to a backfill, and Dagster knows of none here.
"""


def backfill(
    start: From,
    end: To,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Begin with the last day.")] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Go on with the next day when one fails.")] = False,
    now: Now = False,
    yes: Yes = False,
) -> None:
    """Load a range of days, each in a run of its own; start it again to go on where it stopped."""
    current = settings()
    failed = []
    with friendly_errors():
        days = days_between(start, end)
        refuse_other_days(current, days)
        ordered = days[::-1] if newest_first else days
        announce_sending(current, f"{len(days)} days, {days[0]} to {days[-1]}", yes=yes)
        tags = {BACKFILL_TAG: f"{days[0]}..{days[-1]}-{uuid.uuid4().hex[:8]}"}
        with instance() as dagster_instance, progress_bar():
            for number, day in enumerate(ordered, start=1):
                began = time.monotonic()
                result = materialize(current, day, dagster_instance, {"now": now}, tags=tags)
                out.print(f"{number} of {len(days)}  {day}  {result.words}  ({time.monotonic() - began:.1f} s)")
                if result.errors:
                    failed.append(f"{day}")
                    err.print(f"[bold red]{day} failed[/]: {plain('; '.join(result.errors))}")
                    if not keep_going:
                        break
    if failed:
        err.print(f"Failed: {', '.join(failed)}. The same command goes on where this one stopped.")
        raise typer.Exit(1)
