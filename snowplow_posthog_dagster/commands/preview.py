"""`preview`: records beside the PostHog events that they become. Nothing is sent."""

import datetime as dt
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.columns import Columns
from rich.highlighter import JSONHighlighter
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from snowplow_posthog_dagster.commands.pipes import chunks_of
from snowplow_posthog_dagster.commands.profile import show_profile
from snowplow_posthog_dagster.commands.terminal import (
    err,
    forgotten_people,
    friendly_errors,
    out,
    plain,
    settings,
    unsteered,
)
from snowplow_posthog_dagster.errors import ObjectError, SettingsError
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.snowplow.columns import COLUMNS
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from snowplow_posthog_dagster.storage.archive import ArchiveObject, is_data
from snowplow_posthog_dagster.storage.inflate import CHUNK_BYTES, inflate
from snowplow_posthog_dagster.storage.s3 import Bucket, Listed, connect

_LONG = 120
_MOMENT = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)(?:[T ](?P<hour>\d\d))?")


def preview(
    place: Annotated[
        str,
        typer.Argument(
            help="A file, s3://bucket/prefix, a key of the archive, a day or an hour of it (2022-06-06T04)."
        ),
    ],
    line: Annotated[int | None, typer.Option(min=1, help="Only the records of this physical line.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many records.")] = 5,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show what an analyst would get of all of them, and what it would cost.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="With --profile: read at most so many records.")] = 200_000,
) -> None:
    """Show records beside the PostHog events they become; sends nothing, writes nothing."""
    current = settings()
    if profile:
        with friendly_errors():
            show_profile(current, records_at(current, place), most)
        return
    with friendly_errors():
        mapper = Mapper(
            current.file.mapping, privacy_secret=current.privacy_secret, forgotten=forgotten_people(current)
        )
        to_event = mapper.for_object(object_id="preview", archive_day="preview")
        chosen = ((name, record) for name, record in records_at(current, place) if line is None or record.line == line)
        shown = 0
        for name, record in itertools.islice(chosen, limit):
            outcome = record if isinstance(record, Rejected) else to_event(record)
            show(name, record, outcome)
            shown += 1
    err.print(f"{shown} records shown; nothing was sent.")


def records_at(current: Settings, place: str) -> Iterator[tuple[str, Record | Rejected]]:
    """The records of a place, with the name of the object in which each lies.

    A place is a file, everything below an s3:// prefix or a key of the archive bucket, or a day or an hour of the
    archive. An object that cannot be read to its end is named, and its neighbours are read, as when a day is loaded.
    Raises SettingsError when nothing lies there.
    """
    if Path(place).exists():
        with Path(place).open("rb") as source:
            for record in records(inflate(chunks_of(source))):
                yield place, record
        return
    found = False
    for bucket, listed in _listed_at(current, place):
        found = True
        name = f"s3://{bucket.name}/{listed.key}"
        try:
            _, chunks = bucket.stream(listed.key, etag=listed.etag, chunk_bytes=CHUNK_BYTES)
            for record in records(inflate(chunks)):
                yield name, record
        except ObjectError as error:
            err.print(f"{plain(name)} is not read to its end: {type(error).__name__}: {plain(str(error))}")
    if not found:
        raise SettingsError(f"nothing lies at {place!r}: no file, and no data in the archive or below such a prefix")


def _listed_at(current: Settings, place: str) -> Iterator[tuple[Bucket, Listed | ArchiveObject]]:
    client = connect(connection_of(current))
    moment = _MOMENT.fullmatch(place)
    if moment:
        archive = archive_of(current, connection_of(current))
        hours = None if moment["hour"] is None else [int(moment["hour"])]
        for found in archive.list_day(_day(moment["day"]), hours):
            yield archive.bucket, found
        return
    name, _, prefix = place.removeprefix("s3://").partition("/")
    bucket = Bucket(client, name) if place.startswith("s3://") else Bucket(client, current.archive_bucket)
    for listed in bucket.listing(prefix if place.startswith("s3://") else place):
        if is_data(listed):
            yield bucket, listed


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{text} is no day: {error}") from None


def show(
    name: str, record: Record | Rejected, outcome: Mapped | Filtered | Rejected, *, whole_entities: bool = True
) -> None:
    """Print one record and what it becomes; entities in one line each unless `whole_entities`."""
    left = _fields(record) if isinstance(record, Record) else f"{len(record.raw):,} bytes that are no record"
    if isinstance(outcome, Mapped):
        right: Text | str
        right, title = _highlighted(_shortened(outcome.event, whole_entities=whole_entities)), "PostHog event"
    elif isinstance(outcome, Filtered):
        right, title = f"filtered by the rule {outcome.rule}", "filtered"
    else:
        lines = [f"{error.column or 'line'}: {error.message} (found {error.value[:60]!r})" for error in outcome.errors]
        right, title = plain("\n".join(lines)), "dead letter"
    out.rule(f"{plain(name)}, line {record.line}, byte {record.offset}")
    width = max(40, (out.width - 4) // 2)
    out.print(Columns([Panel(left, title="Snowplow record", width=width), Panel(right, title=title, width=width)]))


def _fields(record: Record) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for column, value in zip(COLUMNS, record.fields, strict=True):
        if value:
            table.add_row(f"[dim]{column.name}[/]", plain(_cut(value)))
    return table


def _cut(value: str) -> str:
    return value if len(value) <= _LONG else f"{value[:_LONG]}... ({len(value):,} characters)"


def _shortened(event: bytes, *, whole_entities: bool) -> str:
    content = json.loads(event)
    content["properties"] = {
        name: _readable(value, whole_entities=whole_entities) for name, value in content["properties"].items()
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _highlighted(content: str) -> Text:
    """JSON in colours, wrapped where it is wider than its half of the terminal."""
    text = Text(unsteered(content), no_wrap=False, overflow="fold")
    JSONHighlighter().highlight(text)
    return text


def _readable(value: object, *, whole_entities: bool) -> object:
    if isinstance(value, list | dict) and not whole_entities:
        return _cut(json.dumps(value))
    return _cut(value) if isinstance(value, str) else value
