"""Writers, readers and compaction of a day's log meet without losing or doubling anything."""

import datetime as dt
import gzip
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snowplow_posthog_dagster.errors import GoneObjectError, StorageUnavailableError, WorkspaceError
from snowplow_posthog_dagster.storage.day_log import COMPACT_ABOVE, DayLog, LogWriter, state_digest
from snowplow_posthog_dagster.storage.entries import Delivered, Entry
from snowplow_posthog_dagster.storage.s3 import Bucket, Listed
from snowplow_posthog_dagster.storage.state import fold
from snowplow_posthog_dagster.storage.workspace import Workspace

DAY = dt.date(2022, 6, 6)


class MemoryBucket(Bucket):
    """A bucket in memory for property tests, where a server would cost a second an example.

    The same operations run against real servers in tests/integration.
    """

    def __init__(self) -> None:
        super().__init__(client=None, name="memory")
        object.__setattr__(self, "content", {})

    def listing(self, prefix: str, *, start_after: str = "") -> Iterator[Listed]:
        for key in sorted(self.content):  # type: ignore[attr-defined]
            if key.startswith(prefix) and key > start_after:
                yield Listed(key, "etag", len(self.content[key]), 0.0, "STANDARD")  # type: ignore[attr-defined]

    def get(self, key: str) -> bytes:
        try:
            return bytes(self.content[key])  # type: ignore[attr-defined]
        except KeyError:
            raise GoneObjectError(key) from None

    def put(self, key: str, data: bytes) -> None:
        self.content[key] = data  # type: ignore[attr-defined]

    def delete(self, keys: Any) -> None:
        for key in keys:
            self.content.pop(key, None)  # type: ignore[attr-defined]


def day_log() -> DayLog:
    return DayLog(Workspace(MemoryBucket(), "", "test"), DAY)


def entry(number: int) -> Delivered:
    return Delivered(f"object-{number % 3}", 0, f"batch-{number % 5}", number, 1, "acknowledged")


operations = st.lists(
    st.tuples(
        st.sampled_from(["write", "compact", "slow-compact", "read"]), st.integers(0, 1), st.lists(st.integers(0, 30))
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(operations)
def test_any_interleaving_of_two_writers_and_of_compaction_gives_the_same_state(
    steps: list[tuple[str, int, list[int]]],
) -> None:
    log = day_log()
    readers = [log, DayLog(log.workspace, DAY)]
    written: set[Entry] = set()
    stalled: list[list[str]] = []
    for number, (operation, who, numbers) in enumerate(steps):
        if operation == "write":
            readers[who].write([entry(value) for value in numbers], writer=f"writer-{who}", number=number)
            written |= {entry(value) for value in numbers}
        elif operation == "compact":
            readers[who].compact(above=1)
        elif operation == "slow-compact":
            stalled.append(readers[who].segment_names())
        else:
            assert set(readers[who].entries()) == written
    # Compactions that stopped after their read and go on now delete only what they have read.
    for names in stalled:
        finish_compaction(log, names)
    assert set(DayLog(log.workspace, DAY).entries()) == written
    assert log.state() == fold(written)


def finish_compaction(log: DayLog, names: list[str]) -> None:
    """What `compact` does after a pause between its reading and its writing."""
    try:
        read = [log.workspace.read_lines(name) for name in names]
    except GoneObjectError:
        return
    lines = sorted({line for segment in read for line in segment})
    key = log.workspace.key("log", DAY, f"compacted-late-{len(lines)}-{hash(tuple(lines))}.jsonl.gz")
    log.workspace.write_lines(key, lines)
    log.workspace.bucket.delete([name for name in names if name != key])


def test_compaction_runs_only_above_sixteen_segments_and_leaves_one() -> None:
    log = day_log()
    for number in range(COMPACT_ABOVE):
        log.write([entry(number)], writer="w", number=number)
    assert not log.compact()
    log.write([entry(99)], writer="w", number=99)
    assert log.compact()
    assert len(log.segment_names()) == 1
    assert set(log.entries()) == {entry(number) for number in [*range(COMPACT_ABOVE), 99]}


def test_two_compactions_of_the_same_segments_write_the_same_name() -> None:
    names = []
    for _ in range(2):
        log = day_log()
        for number in (3, 1, 2):
            log.write([entry(number)], writer=f"w{time.monotonic_ns()}", number=number)
        log.compact(above=1)
        names.append(log.segment_names())
    assert names[0] == names[1]


def test_a_segment_that_vanishes_between_list_and_read_is_read_from_its_successor() -> None:
    log = day_log()
    for number in range(4):
        log.write([entry(number)], writer="w", number=number)
    reader = DayLog(log.workspace, DAY)
    listed, interrupted = reader.segment_names, itertools.count()

    def compacted_meanwhile() -> list[str]:
        names = listed()
        if next(interrupted) == 0:
            log.compact(above=1)
        return names

    reader.segment_names = compacted_meanwhile  # type: ignore[method-assign]
    assert set(reader.entries()) == {entry(number) for number in range(4)}


def test_a_finished_day_is_known_by_listing_and_segments_alone() -> None:
    base = state_digest(["b", "a"], ["log/x", "log/y"])
    assert base == state_digest(["a", "b"], ["other/y", "other/x"])
    assert base != state_digest(["a", "b", "c"], ["x", "y"])
    assert base != state_digest(["a", "b"], ["x", "y", "z"])


def test_an_entry_of_an_unknown_kind_stops_the_reader() -> None:
    log = day_log()
    log.workspace.bucket.put(log.workspace.key("log", DAY, "x.jsonl.gz"), gzip.compress(b'{"kind":"future"}\n'))
    with pytest.raises(WorkspaceError, match="does not understand"):
        log.entries()


def test_a_writer_flushes_within_its_interval_and_at_the_end() -> None:
    log = day_log()
    with LogWriter(log, "w", flush_seconds=0.05) as writer:
        writer.append(entry(1))
        deadline = time.monotonic() + 5
        while not log.segment_names() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert set(log.entries()) == {entry(1)}
        writer.append(entry(2))
    assert set(log.entries()) == {entry(1), entry(2)}


class FailingBucket(MemoryBucket):
    failing = True

    def put(self, key: str, data: bytes) -> None:
        if self.failing:
            raise StorageUnavailableError("the bucket is away")
        super().put(key, data)


def test_sending_waits_while_the_log_cannot_be_written_and_nothing_is_lost() -> None:
    bucket = FailingBucket()
    log = DayLog(Workspace(bucket, "", "test"), DAY)
    clock = itertools.count(0.0, 3.0)
    with LogWriter(log, "w", clock=lambda: next(clock), flush_seconds=0.01) as writer:
        writer.append(*(entry(number) for number in range(600)))
        assert not writer.wait_until_logged(timeout=12.0)
        FailingBucket.failing = False
    FailingBucket.failing = True
    assert len(log.entries()) == 600


class DefectiveBucket(MemoryBucket):
    def put(self, key: str, data: bytes) -> None:
        raise ZeroDivisionError("a defect")


def test_a_log_whose_writing_ends_by_an_unforeseen_error_says_so_when_it_is_left() -> None:
    log = DayLog(Workspace(DefectiveBucket(), "", "test"), DAY)
    with pytest.raises(ZeroDivisionError, match="a defect"), LogWriter(log, "w", flush_seconds=0.01) as writer:
        writer.append(entry(1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_entries_that_still_wait_when_the_log_is_left_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(day_log(), "w")
    monkeypatch.setattr(writer, "flush", sys.exit)
    with pytest.raises(StorageUnavailableError, match="1 entries of the log could not be written"), writer:
        writer.append(entry(1))


def append_many(writer: LogWriter, start: int) -> None:
    for number in range(300):
        writer.append(entry(start + number))


def test_threads_append_without_losing_entries() -> None:
    log = day_log()
    with LogWriter(log, "w", flush_seconds=0.01) as writer:
        threads = [threading.Thread(target=append_many, args=(writer, start)) for start in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(log.entries()) == 900
