"""One archive object to its batches: one plain function, one streaming pass, bounded memory.

    S3 GET --chunks--> inflate --> records --> repeats? --> event --> BatchBuilder --> S3 PUT
                                      │                       │
                                      └── dead letters        └── filtered

Batches, the sample and the dead letters are written first; the result that counts them is returned last and
becomes the log entry. A crash in between leaves files that nothing lists, which the next run overwrites with
the same content or housekeeping removes after a day.
"""

import contextlib
import datetime as dt
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from snowplow_posthog_dagster.errors import (
    BrokenObjectError,
    GoneObjectError,
    ObjectError,
    SupersededObjectError,
)
from snowplow_posthog_dagster.loading.sources import Source
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.posthog.batches import Batch, BatchBuilder
from snowplow_posthog_dagster.snowplow.bad_rows import bad_row
from snowplow_posthog_dagster.snowplow.record import Rejected
from snowplow_posthog_dagster.snowplow.timestamps import to_epoch_ms
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveObject
from snowplow_posthog_dagster.storage.dead_letters import TRANSFORM, DeadLetterFile
from snowplow_posthog_dagster.storage.entries import BatchNote, Broken, Done, Gone, Superseded
from snowplow_posthog_dagster.storage.samples import Sample
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

DEFAULT_REPEAT_WINDOW = 20_000
"""Records of an object among which an exact copy is found."""

_UPLOADS_IN_FLIGHT = 3
_FIRST_RETRY_MINUTES = 5
_LAST_RETRY_MINUTES = 24 * 60


@dataclass(frozen=True)
class TransformOptions:
    """What decides how an object is transformed, apart from the mapping."""

    codec: str = "isal"
    level: int = 1
    max_object_bytes: int | None = None
    repeat_window: int = DEFAULT_REPEAT_WINDOW
    strict_dead_letters: bool = False


class RepeatWindow:
    """Knows whether these very bytes stood in the object among its last `size` records.

    A 64-bit hash a record is kept, about 100 bytes. Two different lines with one hash within 20,000 records
    are to be expected once in 4 x 10^14 records, which is 24,000 years of 45 million a day.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._marks: set[int] = set()
        self._order: deque[int] = deque()

    def seen(self, raw: bytes) -> bool:
        """Whether the record is an exact copy; a new one is remembered."""
        mark = hash(raw)
        if mark in self._marks:
            return True
        if self._size:
            self._marks.add(mark)
            self._order.append(mark)
            if len(self._order) > self._size:
                self._marks.discard(self._order.popleft())
        return False


@dataclass
class _Tally:
    """Counts of one object while it is read."""

    records: int = 0
    mapped: int = 0
    repeats: int = 0
    raw_bytes: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    oldest: str = ""
    newest: str = ""


@dataclass(frozen=True)
class TransformJob:
    """Where the objects of a day come from and go to. `versions` are identity and mapping version."""

    archive: Archive
    workspace: Workspace
    day: dt.date
    versions: tuple[str, str]
    options: TransformOptions
    writer: str


def transform_object(found: ArchiveObject, source: Source, job: TransformJob, *, revision: int = 0) -> Done:
    """Transform one archive object and store its batches; returns the result for the day log.

    Raises BrokenObjectError, SupersededObjectError or GoneObjectError for the object alone, and the errors of
    `Bucket` for the workspace.
    """
    workspace, day, options = job.workspace, job.day, job.options
    tally = _Tally()
    sample = Sample()
    chunks = job.archive.read(found, max_bytes=options.max_object_bytes)
    dead_letters = DeadLetterFile(workspace, day, TRANSFORM, found.object_id)
    with contextlib.closing(dead_letters) as letters, _Uploads(workspace, day, found.object_id) as uploads:
        builder = BatchBuilder(codec=options.codec, level=options.level)
        repeats = RepeatWindow(options.repeat_window)
        for record in source.records(chunks):
            tally.records += 1
            tally.raw_bytes += len(record.raw) + 1
            if isinstance(record, Rejected):
                letters.add(_letter(record, found, job, tally))
                continue
            if repeats.seen(record.raw):
                tally.repeats += 1
                continue
            app, arrival = source.origin(record)
            outcome = source.event(record)
            if isinstance(outcome, Mapped):
                batch = builder.add(outcome.event, outcome.timestamp)
                if batch is not None:
                    uploads.put(batch)
                sample.add(outcome.event, outcome.uuid)
                _count_mapped(tally, outcome, app, arrival)
            elif isinstance(outcome, Filtered):
                tally.filtered[outcome.rule] += 1
                tally.dropped[app] += 1
            else:
                letters.add(_letter(outcome, found, job, tally))
        last = builder.finish()
        if last is not None:
            uploads.put(last, here=True)
        sample.write(workspace, day, found.object_id, uploads.notes)
        return _result(found, source, tally, letters, uploads, job, revision)


def _count_mapped(tally: _Tally, outcome: Mapped, app: str, arrival: str) -> None:
    tally.mapped += 1
    tally.taken[app] += 1
    if outcome.notes:
        tally.notes.update(outcome.notes)
    if not tally.oldest or arrival < tally.oldest:
        tally.oldest = arrival
    tally.newest = max(tally.newest, arrival)


def _letter(rejected: Rejected, found: ArchiveObject, job: TransformJob, tally: _Tally) -> dict[str, object]:
    letter = bad_row(
        rejected,
        bucket=found.bucket,
        key=found.key,
        object_id=found.object_id,
        day=job.day,
        payload=not job.options.strict_dead_letters,
    )
    tally.reasons[short_reason(str(letter["reason"]))] += 1
    return letter


def short_reason(reason: str) -> str:
    """The kind of a dead letter and the first wrong column, `RowDecodingError: txn_id`: few enough to be labels."""
    kind, _, words = reason.partition(": ")
    column = words.partition(":")[0]
    return f"{kind}: {column}" if column.isidentifier() else kind


def note_of(batch: Batch) -> BatchNote:
    """What the day log says about a batch."""
    run = batch.run
    return BatchNote(
        id=batch.batch_id,
        events=run.events,
        raw=run.raw_bytes,
        stored=len(batch.data),
        first=run.min_timestamp,
        last=run.max_timestamp,
    )


class _Uploads:
    """Writes batches while the next one is made; leaving the block waits for all of them."""

    def __init__(self, workspace: Workspace, day: dt.date, object_id: str) -> None:
        self._workspace = workspace
        self._day = day
        self._object_id = object_id
        self._pool = ThreadPoolExecutor(_UPLOADS_IN_FLIGHT, thread_name_prefix="upload")
        self._futures: list[Future[None]] = []
        self.notes: list[BatchNote] = []
        self.repeated_events = 0

    def __enter__(self) -> Self:
        return self

    def put(self, batch: Batch, *, here: bool = False) -> None:
        """Store a batch. One whose events an earlier batch of the object holds already is all repeats.

        With `here` it is stored in this thread: an object of one batch then needs no other.
        """
        if any(note.id == batch.batch_id for note in self.notes):
            self.repeated_events += batch.run.events
            return
        while len(self._futures) >= _UPLOADS_IN_FLIGHT:
            self._futures.pop(0).result()
        key = self._workspace.batch_key(self._day, self._object_id, batch.batch_id)
        if here:
            self._workspace.bucket.put(key, batch.data)
        else:
            self._futures.append(self._pool.submit(self._workspace.bucket.put, key, batch.data))
        self.notes.append(note_of(batch))

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            for future in self._futures:
                future.result()


def _result(
    found: ArchiveObject,
    source: Source,
    tally: _Tally,
    letters: DeadLetterFile,
    uploads: _Uploads,
    job: TransformJob,
    revision: int,
) -> Done:
    apps = sorted({*tally.taken, *tally.dropped})
    return Done(
        object=found.object_id,
        revision=revision,
        key=found.key,
        etag=found.etag,
        bytes=found.size,
        hour=found.hour,
        lines=source.lines.physical,
        glued=source.lines.glued,
        records=tally.records,
        mapped=tally.mapped - uploads.repeated_events,
        dead_letters=letters.count,
        filtered=dict(sorted(tally.filtered.items())),
        repeats=tally.repeats + uploads.repeated_events,
        batches=uploads.notes,
        dead_letter_file=letters.write(),
        apps={app: [tally.taken[app], tally.dropped[app]] for app in apps},
        notes=dict(sorted(tally.notes.items())),
        reasons=dict(sorted(tally.reasons.items())),
        raw_bytes=tally.raw_bytes,
        oldest_arrival=to_epoch_ms(tally.oldest) if tally.oldest else None,
        newest_arrival=to_epoch_ms(tally.newest) if tally.newest else None,
        identity_version=job.versions[0],
        mapping_version=job.versions[1],
        writer=job.writer,
        at=timestamp_text(),
    )


def failure_entry(
    found: ArchiveObject, error: ObjectError, *, revision: int, attempts: int, writer: str, doubtful: bool = False
) -> Broken | Superseded | Gone:
    """The log entry for an object that could not be transformed; a broken one is tried again later.

    `doubtful`: perhaps something else was at fault, so that the first time the next run tries it at once.
    """
    now = dt.datetime.now(dt.UTC)
    if isinstance(error, SupersededObjectError | GoneObjectError):
        kind = Superseded if isinstance(error, SupersededObjectError) else Gone
        return kind(object=found.object_id, revision=revision, key=found.key, hour=found.hour, at=timestamp_text(now))
    if not isinstance(error, BrokenObjectError):
        raise error
    minutes = 0 if doubtful and not attempts else min(_FIRST_RETRY_MINUTES * 4**attempts, _LAST_RETRY_MINUTES)
    return Broken(
        object=found.object_id,
        revision=revision,
        key=found.key,
        etag=found.etag,
        hour=found.hour,
        reason=str(error),
        next_try=timestamp_text(now + dt.timedelta(minutes=minutes)),
        writer=writer,
        at=timestamp_text(now),
    )
