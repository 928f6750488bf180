"""Dead letters that are none any more: made into events and sent, by the same path and with the same identities.

    stage transform:  dead letter --reread, or the archive--> record --mapping of today--> batch --> log, delivery
    stage delivery:   refused event --its batch--> delivery

A release that reads more, or other settings, may take what was refused before. What is settled is written into the
log by record number, so a replay that is asked for twice sends once; a crash between the log and the delivery leaves
an open batch, which the next replay or the next run sends. What is still offending stays a dead letter.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from snowplow_posthog_dagster.errors import GoneObjectError, ObjectError
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.delivery import OpenBatch
from snowplow_posthog_dagster.loading.sources import Source, source_for
from snowplow_posthog_dagster.loading.transform import note_of
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.posthog.batches import Batch, BatchBuilder, run_from
from snowplow_posthog_dagster.posthog.compression import compressor_factory
from snowplow_posthog_dagster.snowplow.bad_rows import reread
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.dead_letters import DELIVERY, TRANSFORM, DeadLetter
from snowplow_posthog_dagster.storage.entries import BatchNote, Replayed
from snowplow_posthog_dagster.storage.ranges import Ranges
from snowplow_posthog_dagster.storage.samples import Sample
from snowplow_posthog_dagster.storage.state import BatchState, ObjectState
from snowplow_posthog_dagster.storage.workspace import timestamp_text


@dataclass
class ReplayReport:
    """What became of the dead letters of a replay, in records and events.

    `still_dead` counts by reason, `unreadable` names objects whose records can no longer be read, with why.
    """

    asked: int = 0
    mapped: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    still_dead: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    refused_before: int = 0

    def summary(self) -> str:
        """One line for people."""
        parts = [
            f"{self.mapped:,} became events",
            f"{self.filtered.total():,} are filtered now" if self.filtered else "",
            f"{self.repeats:,} are repeats" if self.repeats else "",
            f"{self.refused_before:,} refused events are sent again" if self.refused_before else "",
            f"{self.still_dead.total():,} are still dead letters",
        ]
        return f"{self.asked:,} dead letters: " + ", ".join(part for part in parts if part)


class Replay:
    """Settles dead letters of one day; the caller holds the day lease and delivers afterwards.

    `max_record_bytes` and `max_object_bytes` are those of the settings of today.
    """

    def __init__(self, load: DayLoad, mapper: Mapper, *, max_record_bytes: int, max_object_bytes: int) -> None:
        self._load = load
        self._mapper = mapper
        self._max_record_bytes = max_record_bytes
        self._max_object_bytes = max_object_bytes

    def settle(self, letters: Iterable[DeadLetter]) -> ReplayReport:
        """Map the transform-stage letters again and log what is settled; batches are written before the log.

        Raises what the workspace raises. Objects whose records cannot be read any more are named in the report.
        """
        report = ReplayReport()
        state = self._load.log.state()
        for (stage, name), group in groupby(letters, key=attrgetter("stage", "object_id")):
            mine = list(group)
            report.asked += len(mine)
            if stage == TRANSFORM:
                self._settle_object(state.objects[name], mine, report)
            else:
                report.refused_before += len(mine)
        return report

    def _settle_object(self, known: ObjectState, letters: Sequence[DeadLetter], report: ReplayReport) -> None:
        settled = known.replayed_records
        fresh = [letter for letter in letters if letter.number not in settled]
        source = self._source(known)
        try:
            records = self._records(known, fresh, source)
        except ObjectError as error:
            report.unreadable[known.key] = str(error)
            return
        entries = _Entries(known, self._upload)
        for letter in fresh:
            record = records.get(letter.number)
            outcome = source.event(record) if isinstance(record, Record) else record
            if isinstance(outcome, Mapped):
                entries.add_event(letter.number, outcome)
            elif isinstance(outcome, Filtered):
                entries.add_filtered(letter.number, outcome.rule)
            else:
                report.still_dead[letter.reason] += 1
        self._store(known, entries, report)

    def _source(self, known: ObjectState) -> Source:
        name = self._load.archive.entry_for(self._load.day).source
        return source_for(name, self._mapper, known.object_id, f"{self._load.day}", self._max_record_bytes)

    def _records(
        self, known: ObjectState, letters: Sequence[DeadLetter], source: Source
    ) -> dict[int, Record | Rejected]:
        """The records by number: from the letters, and those that they do not hold whole from the archive."""
        found: dict[int, Record | Rejected] = {}
        missing: set[int] = set()
        for letter in letters:
            record = reread(letter.content)
            if record is None:
                missing.add(letter.number)
            else:
                found[letter.number] = record
        if missing:
            chunks = self._load.archive.read(self._archive_object(known), max_bytes=self._max_object_bytes)
            found.update((record.ordinal, record) for record in source.records(chunks) if record.ordinal in missing)
        return found

    def _archive_object(self, known: ObjectState) -> ArchiveObject:
        done = known.done
        if done is None:
            raise GoneObjectError(f"{known.key} has no result")
        bucket = self._load.archive.bucket.name
        return ArchiveObject(known.object_id, bucket, done.key, done.etag, done.bytes, 0.0, "STANDARD", done.hour)

    def _upload(self, known: ObjectState, batch: Batch) -> None:
        workspace = self._load.workspace
        workspace.bucket.put(workspace.batch_key(self._load.day, known.object_id, batch.batch_id), batch.data)

    def _store(self, known: ObjectState, entries: "_Entries", report: ReplayReport) -> None:
        made = entries.finish()
        notes = [entry.batch for entry in made if entry.batch]
        if notes:
            entries.sample.write(self._load.workspace, self._load.day, known.object_id, notes)
        if made:
            self._load.log.write(made, writer=f"{self._load.writer}-replay")
        for entry in made:
            report.mapped += entry.batch.events if entry.batch else 0
            report.filtered.update(entry.filtered)
            report.repeats += entry.repeats


class _Entries:
    """The log entries of one object's replay: one for each batch, one for what is filtered."""

    def __init__(self, known: ObjectState, upload: Callable[[ObjectState, Batch], None]) -> None:
        self._known = known
        self._upload = upload
        self._builder = BatchBuilder()
        self._numbers: list[int] = []
        self._filtered: dict[int, str] = {}
        self._seen: set[int] = set()
        self._repeats: list[int] = []
        self._made: list[Replayed] = []
        self.sample = Sample()

    def add_event(self, number: int, outcome: Mapped) -> None:
        """A record became an event; an exact copy of another one here is a repeat."""
        mark = hash(outcome.event)
        if mark in self._seen:
            self._repeats.append(number)
            return
        self._seen.add(mark)
        self.sample.add(outcome.event, outcome.uuid)
        self._take(self._builder.add(outcome.event, outcome.timestamp))
        self._numbers.append(number)

    def add_filtered(self, number: int, rule: str) -> None:
        """A rule of the settings filters the record."""
        self._filtered[number] = rule

    def _take(self, batch: Batch | None) -> None:
        if batch is None:
            return
        numbers, self._numbers = self._numbers, []
        if batch.batch_id in self._known.batches:
            # These very events are a batch of the object already: counted once more, sent once.
            self._repeats += numbers
            return
        self._upload(self._known, batch)
        self._made.append(self._entry(numbers, batch=note_of(batch)))

    def finish(self) -> list[Replayed]:
        """All entries, after the last record."""
        self._take(self._builder.finish())
        if self._filtered or self._repeats:
            rules = dict(sorted(Counter(self._filtered.values()).items()))
            numbers = [*self._filtered, *self._repeats]
            self._made.append(self._entry(numbers, filtered=rules, repeats=len(self._repeats)))
        return self._made

    def _entry(
        self,
        numbers: Iterable[int],
        *,
        batch: BatchNote | None = None,
        filtered: dict[str, int] | None = None,
        repeats: int = 0,
    ) -> Replayed:
        known = self._known
        return Replayed(
            object=known.object_id,
            revision=known.done.revision if known.done else known.revision,
            records=sorted(numbers),
            batch=batch,
            filtered=filtered or {},
            repeats=repeats,
            at=timestamp_text(),
        )


def batches_to_send(load: DayLoad, letters: Iterable[DeadLetter]) -> list[OpenBatch]:
    """What a replay sends: every open batch that a replay made, and the refused events of delivery-stage letters.

    Raises GoneObjectError when the batch of a refused event is gone and its letter does not hold the event.
    """
    refused: defaultdict[tuple[str, str], dict[int, DeadLetter]] = defaultdict(dict)
    for letter in letters:
        if letter.stage == DELIVERY:
            refused[letter.object_id, letter.batch_id][letter.number] = letter
    found = []
    for known in load.log.state().objects.values():
        if known.done is None or known.withdrawn:
            continue
        made = {entry.batch.id for entry in known.replayed if entry.batch}
        for batch in known.batches.values():
            again = refused.get((known.object_id, batch.note.id), {})
            if again:
                found.append(_refused_once_more(load, known, batch, again))
            elif batch.note.id in made and batch.open:
                found.append(OpenBatch(known.object_id, known.done.revision, batch.note, batch.open))
    return found


def _refused_once_more(
    load: DayLoad, known: ObjectState, batch: BatchState, letters: dict[int, DeadLetter]
) -> OpenBatch:
    """Refused events as an open batch: an acknowledgement beats the refusal of the same event.

    Housekeeping keeps the batch for this, and a lifecycle rule of the bucket does not: the letters hold the events too.
    """
    numbers = sorted(letters)
    wanted = Ranges((number, number + 1) for number in numbers)
    run = None
    key = load.workspace.batch_key(load.day, known.object_id, batch.note.id)
    if load.workspace.bucket.modified(key) is None:
        events = [letters[number].content.get("event") for number in numbers]
        if None in events:
            raise GoneObjectError(f"{known.key}: the batch of its refused events is gone; remap the object instead")
        raw = [json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() for event in events]
        run = run_from(raw, batch.note.first, batch.note.last, compressor_factory("isal", 1))
    revision = known.done.revision if known.done else known.revision
    return OpenBatch(known.object_id, revision, batch.note, wanted, run)
