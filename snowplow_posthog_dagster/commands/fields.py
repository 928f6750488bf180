"""`fields`: every column and entity that leaves, with its rule; `--diff`: what other settings do to real records."""

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from snowplow_posthog_dagster.commands.preview import records_at
from snowplow_posthog_dagster.commands.terminal import err, forgotten_people, friendly_errors, out, plain, settings
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping import table as mapping_table
from snowplow_posthog_dagster.mapping.difference import Difference, compare
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.settings import Settings, load_file
from snowplow_posthog_dagster.snowplow.record import Record

_EXAMPLE_LENGTH = 60


def fields(
    place: Annotated[
        str | None, typer.Argument(help="With --diff: a file, s3://bucket/prefix, or a key of the archive bucket.")
    ] = None,
    diff: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Another settings file to compare the mapping with."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="With --diff: read at most so many records.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per field, for a review by program.")] = False,
) -> None:
    """List what leaves, under which name and by which rule, for a security review; sends nothing."""
    current = settings()
    with friendly_errors():
        if diff is None:
            _list(current, as_json=as_json)
            return
        if place is None:
            raise SettingsError("--diff compares real records: name a file, an s3:// prefix or a key of the archive")
        _show(_difference(current, diff, place, limit), diff)


def _list(current: Settings, *, as_json: bool) -> None:
    rows = mapping_table.fields(current.file.mapping)
    if as_json:
        for row in rows:
            typer.echo(orjson.dumps(row._asdict()))
        return
    table = Table(title="What leaves; `-` does not", title_justify="left", header_style="bold")
    for name in ("source", "in PostHog", "rule"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    out.print(table)


def _difference(current: Settings, other: Path, place: str, limit: int) -> Difference:
    secret, forgotten = current.privacy_secret, forgotten_people(current)
    old = Mapper(current.file.mapping, privacy_secret=secret, forgotten=forgotten)
    new = Mapper(load_file(other).mapping, privacy_secret=secret, forgotten=forgotten)
    records = (record for _, record in records_at(current, place) if isinstance(record, Record))
    found = compare(old, new, itertools.islice(records, limit))
    if old.identity_version != new.identity_version:
        err.print(
            "[bold yellow]The identity version differs[/]: a remap of loaded days would make twins in PostHog and is"
            " refused; use a new project."
        )
    elif old.mapping_version != new.mapping_version:
        err.print("The mapping version differs and the identity does not: a remap replaces loaded events in place.")
    return found


def _show(found: Difference, other: Path) -> None:
    out.print(
        f"{found.records:,} records under the settings and under {plain(str(other))}: {found.same:,} the same,"
        f" {found.twins:,} with another identity"
    )
    for words, number in found.outcomes.most_common():
        out.print(f"  {words}: {number:,}")
    table = Table(title="What differs", title_justify="left", header_style="bold")
    for name in ("part", "events", "for example, now", "then"):
        table.add_column(name, justify="right" if name == "events" else "left", overflow="fold")
    for part, number in found.parts.most_common():
        old, new = found.examples[part][0]
        table.add_row(plain(part), f"{number:,}", _example(old), _example(new))
    if found.parts:
        out.print(table)
    err.print("Nothing was sent.")


def _example(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain(text if len(text) <= _EXAMPLE_LENGTH else text[:_EXAMPLE_LENGTH] + "...")
