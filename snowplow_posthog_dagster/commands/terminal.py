"""What the commands share: consoles, settings with friendly errors, the line before anything is sent."""

import contextlib
import sys
import unicodedata
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snowplow_posthog_dagster.errors import SnowplowPostHogError
from snowplow_posthog_dagster.loading.setup import connection_of, forgotten_of
from snowplow_posthog_dagster.settings import Settings, load
from snowplow_posthog_dagster.storage.counts import Counts

# Without a terminal rich assumes 80 columns, which no table of counts fits into. A closed output (`>&-`) is None.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout and sys.stdout.isatty() else 132)
err = Console(stderr=True, highlight=False, soft_wrap=True)

# Control characters (escape sequences begin with one) and invisible ones, which can turn the direction of writing.
_STEERING = frozenset({"Cc", "Cf"})

FAILED = 1
USAGE = 2


@contextlib.contextmanager
def friendly_errors() -> Iterator[None]:
    """End a command with the error's own words instead of a traceback; of a file, with its name."""
    try:
        yield
    except SnowplowPostHogError as error:
        err.print(f"[bold red]{type(error).__name__}[/]: {plain(str(error))}")
        raise typer.Exit(FAILED) from None
    except BrokenPipeError:
        raise  # whoever reads the output has gone, as `head` does
    except OSError as error:
        place = f"{plain(str(error.filename))}: " if error.filename else ""
        err.print(f"{place}{plain(error.strerror or str(error))}")
        raise typer.Exit(FAILED) from None


def plain(text: str) -> str:
    """Text of a key, a record or a server: a bracket is no markup, and what would steer the terminal is spelled out.

    Whoever may write to the archive chooses its names. Line breaks stay, because errors have several lines.
    """
    return escape(unsteered(text))


def unsteered(text: str) -> str:
    """The same without minding markup, for what is not read as such."""
    return "".join(_spelled(one) if unicodedata.category(one) in _STEERING else one for one in text)


def _spelled(character: str) -> str:
    return character if character in "\n\t" else character.encode("unicode_escape").decode()


def settings() -> Settings:
    """The settings of the environment, or the end of the command with what is wrong."""
    with friendly_errors():
        return load()


def forgotten_people(current: Settings) -> frozenset[str]:
    """The people whom a load would leave out; says so when there is no workspace that could tell.

    Raises StorageUnavailableError, SettingsError: a list that cannot be read is not taken for an empty one.
    """
    found = forgotten_of(current, connection_of(current))
    if found is None:
        err.print("SNOWPLOW_POSTHOG_WORKSPACE is not set: the list of forgotten people is not applied.")
    return found or frozenset()


def announce_sending(current: Settings, what: str, *, yes: bool) -> None:
    """Say where events will go before any of them goes; a production target needs `--yes`."""
    identity = current.target_identity
    production = current.file.delivery.production
    out.print(
        f"Sending {what} to [bold]{identity.host}[/], project {identity.project_id or '(id not set)'},"
        f" target {current.environment.posthog_target}{' [bold red](production)[/]' if production else ''}."
    )
    if production and not yes:
        err.print("This target is marked `production: true`. PostHog cannot delete selectively; add --yes to go on.")
        raise typer.Exit(USAGE)


def counts_table(rows: list[tuple[str, Counts]], title: str) -> Table:
    """The counting equation, a row each."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("day")
    for name in ("records", "= mapped", "+ dead letters", "+ filtered", "+ repeats"):
        table.add_column(name, justify="right")
    for name in ("mapped", "= acknowledged", "+ refused", "+ pending", "+ withdrawn"):
        table.add_column(name, justify="right", style="cyan")
    for day, counts in rows:
        table.add_row(day, *(f"{number:,}" for number in _numbers(counts)))
    return table


def _numbers(counts: Counts) -> tuple[int, ...]:
    return (
        counts.records, counts.mapped, counts.dead_letters, counts.filtered, counts.repeats,
        counts.mapped, counts.acknowledged, counts.delivery_dead_letters, counts.pending, counts.withdrawn,
    )  # fmt: skip
