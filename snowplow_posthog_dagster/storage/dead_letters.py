"""Dead letters: records that did not become events, and events that PostHog refused.

Each lies as one JSON line with its reason and its place (file, line, byte offset), in Hive-style paths that
DuckDB, ClickHouse and Athena read. A file is written once, before the log entry that counts it, and never
marked: replaying is recorded in the log.
"""

import contextlib
import datetime as dt
import gzip
import hashlib
import itertools
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from snowplow_posthog_dagster.errors import GoneObjectError
from snowplow_posthog_dagster.storage.state import DayState, ObjectState
from snowplow_posthog_dagster.storage.workspace import Workspace

TRANSFORM = "transform"
DELIVERY = "delivery"
# Lines are compressed as they come, and beyond so many bytes on disk: an object of a gigabyte of nothing but dead
# letters stays in bounded memory.
_COMPRESSION_LEVEL = 6
_MEMORY_BYTES = 4 * 1024 * 1024
_READERS = 16


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter that the log counts.

    `number` is the record's ordinal in its object (stage transform), or the event's position in `batch_id`
    (stage delivery); `content` is the stored line.
    """

    day: dt.date
    stage: str
    object_id: str
    key: str
    number: int
    reason: str
    content: dict[str, Any]
    batch_id: str = ""


class DeadLetterFile:
    """Collects the dead letters of one object; `write` stores them, if there are any, and `close` forgets them."""

    def __init__(self, workspace: Workspace, day: dt.date, stage: str, object_id: str) -> None:
        self._workspace = workspace
        self._day = day
        self._stage = stage
        self._object_id = object_id
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - `write` ends it
        self._gzip = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=_COMPRESSION_LEVEL, mtime=0)
        self.count = 0

    def add(self, letter: dict[str, Any]) -> None:
        """Take one dead letter."""
        self._gzip.write(json.dumps(letter, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace") + b"\n")
        self.count += 1

    def close(self) -> None:
        """Give back what they take; nothing happens after `write`."""
        with contextlib.suppress(OSError):  # a full disk, which has been told already
            self._gzip.close()
        self._file.close()

    def write(self) -> str | None:
        """Store the file and end it; returns its name within the day, or None when there was no dead letter."""
        with self._file as file:
            self._gzip.close()
            if not self.count:
                return None
            file.seek(0)
            name = f"{self._object_id}-{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}.jsonl.gz"
            file.seek(0)
            self._workspace.bucket.put_file(dead_letter_key(self._workspace, self._day, self._stage, name), file)
        return name


def dead_letter_folder(workspace: Workspace, day: dt.date, stage: str) -> str:
    """The prefix of a day's dead letters of one stage."""
    return f"{workspace.root}dead_letters/stage={stage}/dt={day:%Y-%m-%d}/"


def dead_letter_key(workspace: Workspace, day: dt.date, stage: str, name: str) -> str:
    """The key of one dead-letter file."""
    return dead_letter_folder(workspace, day, stage) + name


def read_dead_letters(workspace: Workspace, day: dt.date, stage: str, name: str) -> Iterator[dict[str, Any]]:
    """The dead letters of one file. Raises GoneObjectError when it was purged."""
    for line in workspace.read_lines(dead_letter_key(workspace, day, stage, name)):
        yield json.loads(line)


def dead_letter_files(workspace: Workspace, day: dt.date, stage: str) -> list[str]:
    """The names of the files that lie there for a day, listed or not by the log."""
    folder = dead_letter_folder(workspace, day, stage)
    return sorted(listed.key[len(folder) :] for listed in workspace.bucket.listing(folder))


def counted_letters(
    workspace: Workspace, day: dt.date, state: DayState, *, stage: str | None = None, reason: str = ""
) -> Iterator[DeadLetter]:
    """The dead letters of a day that count: those of the winning results that no replay has settled yet.

    `reason` is a part of the reason's words, in any case. Files of lost results and purged ones are passed over.
    """
    wanted = reason.casefold()
    for found_stage, read in ((TRANSFORM, _of_transform), (DELIVERY, _of_delivery)):
        if stage in {None, found_stage}:
            for letter in read(workspace, day, state):
                if wanted in letter.reason.casefold():
                    yield letter


def _of_transform(workspace: Workspace, day: dt.date, state: DayState) -> Iterator[DeadLetter]:
    files = [(known, known.done.dead_letter_file) for known in state.objects.values() if known.done]
    written = ((known, name) for known, name in files if name is not None)
    with ThreadPoolExecutor(_READERS) as pool:
        # A handful at a time: a day of 22,000 objects has as many files, and whoever shows five letters wants no more.
        while some := list(itertools.islice(written, _READERS)):
            contents = pool.map(lambda one: _present(workspace, day, TRANSFORM, one[1]), some)
            for (known, _), letters in zip(some, contents, strict=True):
                yield from _unsettled(day, known, letters)


def _unsettled(day: dt.date, known: ObjectState, letters: list[dict[str, Any]]) -> Iterator[DeadLetter]:
    settled = known.replayed_records
    for content in letters:
        number = content["place"]["ordinal"]
        if number not in settled:
            yield DeadLetter(day, TRANSFORM, known.object_id, known.key, number, content["reason"], content)


def _of_delivery(workspace: Workspace, day: dt.date, state: DayState) -> Iterator[DeadLetter]:
    refused = {
        known.object_id: known
        for known in state.objects.values()
        if any(known.batches[name].refused for name in known.batches)
    }
    seen: set[tuple[str, str, int]] = set()
    for name in dead_letter_files(workspace, day, DELIVERY) if refused else ():
        known = refused.get(name.partition("-")[0])
        for content in _present(workspace, day, DELIVERY, name) if known else ():
            batch_id, number = content["batch"], content["position"]
            mark = (content["object"], batch_id, number)
            if known and mark not in seen and _is_refused(known, batch_id, number):
                seen.add(mark)
                yield DeadLetter(
                    day, DELIVERY, known.object_id, known.key, number, content["reason"], content, batch_id
                )


def _is_refused(known: ObjectState, batch_id: str, position: int) -> bool:
    batch = known.batches.get(batch_id)
    return batch is not None and position in batch.refused.positions()


def _present(workspace: Workspace, day: dt.date, stage: str, name: str) -> list[dict[str, Any]]:
    """The letters of a file, none when it was purged: what is left of it then is its count in the log."""
    try:
        return list(read_dead_letters(workspace, day, stage, name))
    except GoneObjectError:
        return []
