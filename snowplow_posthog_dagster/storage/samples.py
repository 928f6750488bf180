"""Samples: the events, as they were sent, that reconciliation looks for in PostHog.

A file of JSON lines for each result of an archive object, named `<object-id>-<first batch-id>.jsonl.gz`, so that two
writers of one result write one key and the sample of another result lies beside it.
"""

import datetime as dt
import gzip
from collections.abc import Sequence

from snowplow_posthog_dagster.errors import GoneObjectError
from snowplow_posthog_dagster.storage.entries import BatchNote
from snowplow_posthog_dagster.storage.workspace import Workspace

SMALL_OBJECT_EVENTS = 200
"""An object of at most so many events is sampled whole; of others 1 in 4,096, by the end of the uuid."""

SMALL_OBJECT_BYTES = 4 * 1024 * 1024
"""So much of such an object is kept: 200 events of 900 KB would be 180 MB in a worker that may have 100."""

SAMPLED_UUID_END = "000"


class Sample:
    """Chooses the sample of one object while its events pass by."""

    def __init__(self) -> None:
        self._first: list[bytes] = []
        self._first_bytes = 0
        self._seen = 0
        self._chosen: list[bytes] = []

    def add(self, event: bytes, uuid: str) -> None:
        """Look at one event."""
        if uuid.endswith(SAMPLED_UUID_END):
            self._chosen.append(event)
        self._seen += 1
        if self._seen > SMALL_OBJECT_EVENTS:
            self._first.clear()
        elif self._first_bytes < SMALL_OBJECT_BYTES:
            self._first.append(event)
            self._first_bytes += len(event)

    def write(self, workspace: Workspace, day: dt.date, object_id: str, notes: Sequence[BatchNote]) -> None:
        """Store the sample of a result with these batches, unless it is empty."""
        events = self._first if self._seen <= SMALL_OBJECT_EVENTS else self._chosen
        if events:
            data = gzip.compress(b"\n".join(events) + b"\n", compresslevel=1, mtime=0)
            workspace.bucket.put(sample_key(workspace, day, object_id, notes[0].id), data)


def sample_key(workspace: Workspace, day: dt.date, object_id: str, first_batch: str) -> str:
    """The key of one sample."""
    return workspace.key("samples", day, f"{object_id}-{first_batch}.jsonl.gz")


def read_sample(workspace: Workspace, day: dt.date, object_id: str, first_batch: str) -> list[bytes] | None:
    """The events of a sample, None when there is no such file (nothing was chosen, or it was purged)."""
    try:
        return workspace.read_lines(sample_key(workspace, day, object_id, first_batch))
    except GoneObjectError:
        return None
