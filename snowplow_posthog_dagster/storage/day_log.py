"""The log of a day: immutable segments of JSON lines whose union is the state.

    append(entry) --within 2 s or 500 entries--> segment --union of all segments--> entries

A segment is written once under a unique name and never changed. Compaction copies the lines of many segments
verbatim into one, drops duplicates by bytes and never interprets them; it deletes exactly the segments that
it read, after the new one is written. Reading is cheap because a process keeps parsed segments by name.
"""

import datetime as dt
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from snowplow_posthog_dagster.errors import GoneObjectError, StorageUnavailableError
from snowplow_posthog_dagster.storage.entries import Delivered, Entry, entry_of, line_of
from snowplow_posthog_dagster.storage.state import DayState, fold
from snowplow_posthog_dagster.storage.uncollected import uncollected
from snowplow_posthog_dagster.storage.workspace import Workspace, digest, packed, timestamp_name

COMPACT_ABOVE = 16
# A crash sends again what was acknowledged and not logged. Half a second of two is left to S3 for the writing, and at
# 20,000 events that wait an interval is cut short: at 20,000 events/s a crash would cost more than it needs to.
FLUSH_SECONDS = 1.5
FLUSH_ENTRIES = 500
FLUSH_EVENTS = 20_000
LAST_WORD_SECONDS = 3.0
BACK_PRESSURE_SECONDS = 5.0
_READERS = 16
_LIST_TRIES = 5


class DayLog:
    """Reads, writes and compacts the log of one day of one target."""

    def __init__(self, workspace: Workspace, day: dt.date) -> None:
        self.workspace = workspace
        self.day = day
        self._parsed: dict[str, list[tuple[bytes, Entry]]] = {}
        self._folded: tuple[list[str], DayState] = ([], DayState({}))
        # A running delivery looks at the log from a thread of its own.
        self._reading = threading.Lock()

    def segment_names(self) -> list[str]:
        """The keys of the day's segments, sorted: one LIST."""
        return sorted(listed.key for listed in self.workspace.bucket.listing(self.workspace.folder("log", self.day)))

    def snapshot(self) -> tuple[list[str], list[Entry]]:
        """The names of all segments and the union of their entries.

        Only names not seen before are fetched, 16 at a time. A segment that was listed and is gone was
        compacted meanwhile: the listing is taken again.
        """
        for _ in range(_LIST_TRIES):
            names = self.segment_names()
            try:
                with self._reading:
                    return names, self._union(names)
            except GoneObjectError:
                continue
        raise StorageUnavailableError(
            f"the log of {self.day} changes faster than it can be read; try again when fewer runs work on this day"
        )

    @uncollected()
    def _union(self, names: Sequence[str]) -> list[Entry]:
        self._fetch([name for name in names if name not in self._parsed])
        self._parsed = {name: self._parsed[name] for name in names}
        return list({line: entry for name in names for line, entry in self._parsed[name]}.values())

    def entries(self) -> list[Entry]:
        """The union of all segments."""
        return self.snapshot()[1]

    def state(self) -> DayState:
        """The state of the day."""
        return self.state_of(*self.snapshot())

    @uncollected()
    def state_of(self, names: list[str], entries: Iterable[Entry]) -> DayState:
        """The state that a snapshot means; as long as no segment comes or goes it is not worked out again."""
        known, state = self._folded
        if names != known:
            state = fold(entries)
            self._folded = (names, state)
        return state

    def _fetch(self, names: Sequence[str]) -> None:
        if not names:
            return
        with ThreadPoolExecutor(_READERS) as pool:
            for name, lines in zip(names, pool.map(self.workspace.read_lines, names), strict=True):
                self._parsed[name] = [(line, entry_of(line)) for line in lines]

    def write(self, entries: Iterable[Entry], *, writer: str, number: int = 0) -> None:
        """Write entries as one new segment."""
        name = f"{timestamp_name()}-{writer}-{number}-{uuid.uuid4().hex[:8]}.jsonl.gz"
        self.workspace.write_lines(self.workspace.key("log", self.day, name), [line_of(entry) for entry in entries])

    def compact(self, *, above: int = COMPACT_ABOVE) -> bool:
        """Copy all segments into one when there are more than `above`; returns whether it did.

        The lines are sorted, so that two compactions of the same segments write the same name and bytes.
        """
        names = self.segment_names()
        if len(names) <= above:
            return False
        try:
            with ThreadPoolExecutor(_READERS) as pool:
                read = list(pool.map(self._lines, names))
        except GoneObjectError:
            return False
        lines = sorted({line for segment in read for line in segment})
        data = b"".join(line + b"\n" for line in lines)
        key = self.workspace.key("log", self.day, f"compacted-{digest(data)[:32]}.jsonl.gz")
        self.workspace.bucket.put(key, packed(data))
        self.workspace.bucket.delete([name for name in names if name != key])
        self._know(key, lines, names)
        return True

    def _lines(self, name: str) -> list[bytes]:
        """The lines of a segment: those that were read before, or the segment's."""
        known = self._parsed.get(name)
        return self.workspace.read_lines(name) if known is None else [line for line, _ in known]

    def _know(self, key: str, lines: Sequence[bytes], names: Sequence[str]) -> None:
        """Keep what is known of the segments as what their union is known by: it need not be read, nor folded again."""
        with self._reading:
            if all(name in self._parsed for name in names):
                entries = {line: entry for name in names for line, entry in self._parsed[name]}
                self._parsed[key] = [(line, entries[line]) for line in lines]
            known, state = self._folded
            if known == names:
                self._folded = ([key], state)


def state_digest(object_ids: Iterable[str], segment_names: Iterable[str]) -> str:
    """Digest of a day's listing and of its segments' names: what a finished day is known by."""
    parts = [*sorted(object_ids), "", *sorted(name.rsplit("/", 1)[-1] for name in segment_names)]
    return digest("\n".join(parts).encode())[:32]


class LogWriter:
    """Collects entries of one process and writes them as segments, so that they are in S3 within two seconds.

    Used as a context manager; leaving it writes what is left. Raises from `wait_until_logged`, or on leaving,
    what kept the log from being written: whatever was not logged will be sent again. Leaving because of another
    error takes at most three seconds, so that an interrupted step ends while S3 hangs.
    """

    def __init__(
        self,
        log: DayLog,
        writer: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._log = log
        self._writer = writer
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._lock = threading.Condition()
        self._writing = threading.Lock()
        self._waiting: list[tuple[float, Entry]] = []
        self._acknowledged = 0
        self._number = 0
        self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"day-log-{log.day}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._thread.join(None if error is None else LAST_WORD_SECONDS)
        if self._waiting and self._failure is None:
            self._failure = StorageUnavailableError(f"{len(self._waiting)} entries of the log could not be written")
        if self._failure is not None and error is None:
            raise self._failure
        if self._failure is not None and error is not None:
            error.add_note(f"and the log of {self._log.day} was not written to its end: {self._failure}")

    def append(self, *entries: Entry) -> None:
        """Take entries; they are in S3 within the flush interval."""
        with self._lock:
            now = self._clock()
            self._waiting += [(now, entry) for entry in entries]
            self._acknowledged += sum(entry.events for entry in entries if isinstance(entry, Delivered))
            if self._full():
                self._lock.notify_all()

    def _full(self) -> bool:
        return len(self._waiting) >= FLUSH_ENTRIES or self._acknowledged >= FLUSH_EVENTS

    def unlogged_seconds(self) -> float:
        """Age of the oldest entry that is not in S3 yet: delivery pauses when it exceeds 5 seconds."""
        with self._lock:
            return self._clock() - self._waiting[0][0] if self._waiting else 0.0

    def flush(self) -> None:
        """Write what waits, now. Entries leave the waiting list only after S3 took them."""
        with self._writing:
            with self._lock:
                taken = list(self._waiting)
                self._acknowledged = 0
            if not taken:
                return
            self._log.write([entry for _, entry in taken], writer=self._writer, number=self._number)
            self._number += 1
            with self._lock:
                del self._waiting[: len(taken)]
                self._lock.notify_all()

    def wait_until_logged(self, timeout: float, stop: threading.Event | None = None) -> bool:
        """Wait until the back-pressure is over; False when it still holds after `timeout` seconds.

        Raises what ended the writing for good (a permission, a vanished bucket). True as well when `stop` was set.
        """
        deadline = self._clock() + timeout
        while self.unlogged_seconds() > BACK_PRESSURE_SECONDS and not (stop and stop.is_set()):
            if self._clock() >= deadline:
                return False
            with self._lock:
                self._lock.wait(0.1)
            if self._failure is not None:
                break
        if self._failure is not None:
            raise self._failure
        return True

    def _run(self) -> None:
        """Flush now and then until the writer is closed, and once more then."""
        while self._failure is None:
            with self._lock:
                if not self._closed and not self._full():
                    self._lock.wait_for(lambda: self._closed or self._full(), self._flush_seconds)
                closed = self._closed
            try:
                self.flush()
            except StorageUnavailableError as error:
                # The entries stay in the list and are tried again; `wait_until_logged` stops the sending.
                if closed:
                    self._failure = error
                else:
                    time.sleep(min(1.0, self._flush_seconds))
            except Exception as error:  # noqa: BLE001 - a thread that died would take the entries with it in silence
                self._failure = error
            if closed:
                return
