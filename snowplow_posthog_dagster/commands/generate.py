"""`generate`: realistic enriched events in any amount, with the truth about them.

    options --> GeneratorSettings --> objects below DESTINATION, truth.json and uuids.txt.gz in TRUTH

The same command gives the same bytes. DESTINATION is where the layout's folders begin, so what it writes is read with
an archive entry of that prefix and layout.
"""

import calendar
import contextlib
import datetime as dt
import re
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snowplow_posthog_dagster.commands.terminal import err, friendly_errors, out
from snowplow_posthog_dagster.errors import SettingsError, StorageUnavailableError
from snowplow_posthog_dagster.generator import FolderSink, GeneratorSettings, Naming, Profile, S3Sink, Sink, generate
from snowplow_posthog_dagster.generator.truth import Truth
from snowplow_posthog_dagster.storage.s3 import Connection, connect

_S3 = re.compile(r"s3://([^/]+)/?(.*)")
_ADDRESS = re.compile(r"\w+://")


class Period(StrEnum):
    """How long the generated archive is."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


def generate_(  # noqa: PLR0913, PLR0917 - a command has its options
    destination: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix/ (keys from AWS's variables).")],
    start: Annotated[str, typer.Option(help="First hour of arrival, UTC; a day or a month begins at 00:00.")],
    period: Annotated[Period, typer.Option("--for", help="How much time.")] = Period.HOUR,
    events: Annotated[int, typer.Option(min=1, help="New events in all; repeats come on top.")] = 100_000,
    per_object: Annotated[int, typer.Option(min=1, help="Records an object.")] = 2_000,
    profile: Annotated[Profile, typer.Option(help="gitlab: 1.2 KB a line; wide: 3.3 KB, 70 columns.")] = Profile.GITLAB,
    truth: Annotated[Path, typer.Option(help="Folder for the truth; not below DESTINATION.")] = Path("truth"),
    seed: Annotated[int, typer.Option(help="Another seed gives other events.")] = 1,
    layout: Annotated[str, typer.Option(help="Folders below DESTINATION.")] = "{yyyy}/{MM}/{dd}/{HH}/",
    naming: Annotated[Naming, typer.Option(help="Whose names the objects have.")] = Naming.FIREHOSE,
    repeats: Annotated[float, typer.Option(help="Share of records that come twice.")] = 0.005,
    late: Annotated[float, typer.Option(help="Share sent hours to days after they happened.")] = 0.01,
    broken: Annotated[float, typer.Option(help="Share that no parser can accept.")] = 0.001,
    oversized: Annotated[float, typer.Option(help="Share of 1.2 MB, more than PostHog takes.")] = 0.0,
    users: Annotated[int, typer.Option(help="Different users.")] = 20_000,
    pages: Annotated[int, typer.Option(help="Different pages.")] = 2_000,
    user_agents: Annotated[int, typer.Option(help="Different user agents.")] = 500,
    app_id: Annotated[str, typer.Option(help="The column app_id.")] = "gitlab",
    tag: Annotated[str, typer.Option(help="The column etl_tags, to find these events again.")] = "",
) -> None:
    """Write an hour, a day or a month of realistic enriched events, and what must arrive of them."""
    with friendly_errors():
        sink, prefix = sink_of(destination)
        if isinstance(sink, FolderSink) and truth.resolve().is_relative_to(sink.folder.resolve()):
            raise SettingsError(f"--truth {truth} lies below {destination}, where it would pass for data")
        begin, hours = _span(start, period)
        settings = _settings(
            start=begin, hours=hours, events=events, records_per_object=per_object, profile=profile, seed=seed,
            layout=layout, naming=naming, repeats=repeats, late=late, broken=broken, oversized=oversized, users=users,
            pages=pages, user_agents=user_agents, app_id=app_id, tag=tag, prefix=prefix,
        )  # fmt: skip
        began = time.process_time()
        with _named(destination):
            made = generate_with_progress(settings, sink, truth)
        _report(made, destination, truth, time.process_time() - began)


def sink_of(destination: str) -> tuple[Sink, str]:
    """Where objects go, and what stands before the layout in their keys. Raises SettingsError."""
    place = _S3.fullmatch(destination)
    if place is None and _ADDRESS.match(destination):
        raise SettingsError(f"{destination} is no place to write to; expected a folder or s3://bucket/prefix/")
    if place is None:
        return FolderSink(Path(destination)), ""
    prefix = place[2] if not place[2] or place[2].endswith("/") else f"{place[2]}/"
    return S3Sink(connect(Connection()), place[1]), prefix


def generate_with_progress(settings: GeneratorSettings, sink: Sink, truth: Path) -> Truth:
    """Generate under a progress bar."""
    columns = (TextColumn("records"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task("records", total=settings.events)
        return generate(settings, sink, truth, progress=lambda one: bars.advance(bar, one.records - one.repeats))


@contextlib.contextmanager
def _named(destination: str) -> Iterator[None]:
    """S3's errors name no place."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise StorageUnavailableError(f"cannot write {destination}: {error}") from None


def _span(start: str, period: Period) -> tuple[dt.datetime, int]:
    """The first hour and the number of hours."""
    try:
        first = dt.datetime.fromisoformat(start)
    except ValueError:
        raise typer.BadParameter(f"--start {start!r} is no time; expected 2022-06-06T04 or 2022-06-06") from None
    if first.tzinfo is not None:
        first = first.astimezone(dt.UTC)
    if period is Period.HOUR:
        return first, 1
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.DAY:
        return midnight, 24
    return midnight.replace(day=1), 24 * calendar.monthrange(first.year, first.month)[1]


def _settings(**given: Any) -> GeneratorSettings:
    try:
        return GeneratorSettings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingsError(f"{'.'.join(map(str, first['loc'])) or 'shares'}: {first['msg']}") from None


def _report(made: Truth, destination: str, truth: Path, cpu_seconds: float) -> None:
    sums = made.sums
    out.print(
        f"{sums['objects']:,} objects with {sums['records']:,} records ({sums['raw_bytes'] / 1e6:,.1f} MB raw,"
        f" {sums['stored_bytes'] / 1e6:,.1f} MB stored) in {destination}"
    )
    out.print(
        f"records {sums['records']:,} = must arrive {sums['must_arrive']:,} ({sums['late']:,} of them late)"
        f" + broken {sums['broken']:,} + oversized {sums['oversized']:,} + repeats {sums['repeats']:,}"
    )
    out.print(f"truth: {truth}/truth.json, the uuids in {truth}/uuids.txt.gz")
    err.print(f"{sums['records'] / max(cpu_seconds, 1e-9):,.0f} records per CPU-second")
