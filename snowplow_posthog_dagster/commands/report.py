"""`report`: the last days as a picture, hour by hour: arrived, delivered, missing, broken.

From the day logs and the archive's listing, so it is right while Dagster is down. In the terminal it is drawn with
letters, which is also what a message can hold; a file gets what its name ends in.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from snowplow_posthog_dagster.commands.days import a_day
from snowplow_posthog_dagster.commands.terminal import USAGE, err, friendly_errors, out, settings
from snowplow_posthog_dagster.loading.load_report import Fate, LoadReport, as_text, report_of
from snowplow_posthog_dagster.loading.picture import page, png, svg
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, workspace_of

_STYLES = {Fate.DELIVERED: "green", Fate.ARRIVED: "yellow", Fate.MISSING: "bright_black", Fate.BROKEN: "bold red"}
_WRITERS: dict[str, Callable[[LoadReport], bytes]] = {
    ".svg": lambda found: svg(found).encode(),
    ".png": png,
    ".html": lambda found: page(found).encode(),
    ".txt": lambda found: f"{as_text(found)}\n".encode(),
}


def report(
    days: Annotated[int, typer.Option(min=1, max=400, help="So many days.")] = 30,
    to: Annotated[
        str | None, typer.Option("--to", help="The last of them; today, unless nothing was loaded lately.")
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write a picture or page here: .svg, .png, .html or .txt.")
    ] = None,
    listing: Annotated[
        bool, typer.Option(help="Ask the archive what arrived (24 LISTs a day), or take the logs' word.")
    ] = True,
) -> None:
    """Show the last days hour by hour: arrived, delivered, missing, broken."""
    if out_file and out_file.suffix not in _WRITERS:
        err.print(f"{out_file} ends in none of {', '.join(_WRITERS)}")
        raise typer.Exit(USAGE)
    current = settings()
    with friendly_errors():
        connection = connection_of(current)
        found = report_of(
            workspace_of(current, connection),
            archive_of(current, connection) if listing else None,
            now=dt.datetime.now(dt.UTC),
            days=days,
            last=a_day(to) if to else None,
            grace_minutes=current.file.checks.hour_grace_minutes,
        )
    if out_file:
        with friendly_errors():
            out_file.write_bytes(_WRITERS[out_file.suffix](found))
        out.print(f"{found.summary()}\nWritten: {out_file}")
        return
    shown = Text(as_text(found))
    for fate, style in _STYLES.items():
        shown.highlight_regex(f"{fate.sign}+" if fate is not Fate.MISSING else r"·+", style)
    out.print(shown)
