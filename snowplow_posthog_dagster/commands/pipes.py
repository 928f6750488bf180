"""`parse` and `map`: archive bytes in, JSON lines out, for pipes and for looking closely.

Nothing is sent and nothing is written to a bucket; `map` reads the workspace's list of forgotten people, if there is
a workspace, so that it gives what a load would send. Counts go to standard error, so that standard output is data only.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
import typer

from snowplow_posthog_dagster.commands.terminal import err, forgotten_people, friendly_errors, plain, settings
from snowplow_posthog_dagster.errors import BrokenObjectError
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.snowplow.bad_rows import bad_row
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.parse import parse as parse_record
from snowplow_posthog_dagster.snowplow.parse import to_json
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from snowplow_posthog_dagster.storage.inflate import CHUNK_BYTES, inflate

File = Annotated[str, typer.Argument(help="A file of enriched events, gzip'd or not; - reads standard input.")]
DeadLetters = Annotated[
    Path | None, typer.Option("--dead-letters", help="Write what cannot be used here, as Snowplow bad rows.")
]

# What one record becomes: a line of output, a filter's name, or a dead letter.
Step = Callable[[Record], bytes | Filtered | Rejected]


def chunks_of(source: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a file in pieces."""
    while chunk := source.read(CHUNK_BYTES):
        yield chunk


def parse(file: File, dead_letters: DeadLetters = None) -> None:
    """One JSON line per record, in the shape of Snowplow's analytics SDKs."""

    def step(record: Record) -> bytes | Filtered | Rejected:
        outcome = parse_record(record)
        return outcome if isinstance(outcome, Rejected) else to_json(outcome.event)

    _pipe(file, dead_letters, step)


def map_(
    file: File,
    dead_letters: DeadLetters = None,
    day: Annotated[str, typer.Option(help="The archive day to write into the events.")] = "preview",
) -> None:
    """One JSON line per PostHog event, as it would be sent under the settings, without forgotten people."""
    current = settings()
    with friendly_errors():
        mapper = Mapper(
            current.file.mapping, privacy_secret=current.privacy_secret, forgotten=forgotten_people(current)
        )
        to_event = mapper.for_object(object_id="preview", archive_day=day)

    def step(record: Record) -> bytes | Filtered | Rejected:
        outcome = to_event(record)
        return outcome.event if isinstance(outcome, Mapped) else outcome

    _pipe(file, dead_letters, step)


def _pipe(file: str, dead_letters: Path | None, step: Step) -> None:
    """Run every record of a file through `step`, and say on standard error what became of them."""
    counts = {"records": 0, "good": 0, "filtered": 0, "dead letters": 0}
    broken = ""
    with friendly_errors():
        letters = dead_letters.open("wb") if dead_letters else None
    try:
        with _opened(file) as source:
            for record in records(inflate(chunks_of(source))):
                counts["records"] += 1
                outcome = record if isinstance(record, Rejected) else step(record)
                _put(outcome, file, counts, letters)
    except BrokenObjectError as error:
        broken = f"; broken: {plain(str(error))}"
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(0) from None
    finally:
        if letters:
            letters.close()
    err.print(", ".join(f"{number:,} {name}" for name, number in counts.items()) + broken)
    if broken:
        raise typer.Exit(1)


def _put(outcome: bytes | Filtered | Rejected, file: str, counts: dict[str, int], letters: IO[bytes] | None) -> None:
    if isinstance(outcome, bytes):
        counts["good"] += 1
        sys.stdout.buffer.write(outcome + b"\n")
    elif isinstance(outcome, Filtered):
        counts["filtered"] += 1
    else:
        counts["dead letters"] += 1
        if letters:
            row = bad_row(outcome, bucket="", key=file, object_id="", day="")
            letters.write(orjson.dumps(row) + b"\n")


def _opened(file: str) -> Any:
    if file == "-":
        return sys.stdin.buffer
    try:
        return Path(file).open("rb")
    except OSError as error:
        err.print(f"{plain(file)}: {error.strerror}")
        raise typer.Exit(2) from None
