"""Dead letters: records that did not become events, and events that PostHog refused.

Each lies as one JSON line with its reason and its place (file, line, byte offset), in Hive-style paths that
DuckDB, ClickHouse and Athena read. A file is written once, before the log entry that counts it, and never
marked: replaying is recorded in the log.
"""

import datetime as dt
import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

from snowplow_posthog_dagster.storage.workspace import Workspace, digest

TRANSFORM = "transform"
DELIVERY = "delivery"
# Lines are compressed as they come, so that an object of nothing but dead letters stays in bounded memory.
_COMPRESSION_LEVEL = 6


class DeadLetterFile:
    """Collects the dead letters of one object; `write` stores them, if there are any."""

    def __init__(self, workspace: Workspace, day: dt.date, stage: str, object_id: str) -> None:
        self._workspace = workspace
        self._day = day
        self._stage = stage
        self._object_id = object_id
        self._buffer = io.BytesIO()
        self._gzip = gzip.GzipFile(fileobj=self._buffer, mode="wb", compresslevel=_COMPRESSION_LEVEL, mtime=0)
        self.count = 0

    def add(self, letter: dict[str, Any]) -> None:
        """Take one dead letter."""
        self._gzip.write(json.dumps(letter, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace") + b"\n")
        self.count += 1

    def write(self) -> str | None:
        """Store the file; returns its name within the day, or None when there was no dead letter."""
        if not self.count:
            return None
        self._gzip.close()
        data = self._buffer.getvalue()
        name = f"{self._object_id}-{digest(data)[:32]}.jsonl.gz"
        self._workspace.bucket.put(dead_letter_key(self._workspace, self._day, self._stage, name), data)
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
