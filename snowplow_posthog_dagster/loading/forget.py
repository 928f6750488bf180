"""People taken out of everything that the workspace holds of a day: batches, samples, dead letters.

    suppression list first (storage/suppressed.py), then for each day, under its lease:

    object with unsent events or dead letters --> its result once more, without the people, as a new revision
    object that PostHog has whole             --> its batches purged
    samples, leftovers of crashes             --> rewritten without the people, or deleted

The new result is made from the object's own batches: nothing is read from the archive and nothing mapped again, so
it does not matter whether the settings have changed or the archive object still exists, and no other event changes
its identity. What PostHog has acknowledged is carried over as a number; the rest is what the new batches hold.
Files are written first, the log entries that list them second, and old files deleted last: a crash in between leaves
files that the next `forget` finds and deletes.
"""

import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from snowplow_posthog_dagster.errors import GoneObjectError, WorkspaceError
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.people import People
from snowplow_posthog_dagster.loading.presence import remap_command
from snowplow_posthog_dagster.loading.transform import note_of
from snowplow_posthog_dagster.mapping.filters import FORGOTTEN
from snowplow_posthog_dagster.posthog.batches import Batch, BatchBuilder, events_of, run_of
from snowplow_posthog_dagster.storage.dead_letters import (
    DELIVERY,
    TRANSFORM,
    DeadLetter,
    DeadLetterFile,
    counted_letters,
    dead_letter_files,
    dead_letter_key,
    read_dead_letters,
)
from snowplow_posthog_dagster.storage.entries import (
    BatchNote,
    Delivered,
    Done,
    Entry,
    Forget,
    Gone,
    Purged,
    Skip,
    Superseded,
)
from snowplow_posthog_dagster.storage.samples import read_sample, sample_key
from snowplow_posthog_dagster.storage.state import BATCHES, REFUSED, BatchState, DayState, ObjectState, next_revision
from snowplow_posthog_dagster.storage.workspace import timestamp_text

_READERS = 16


@dataclass
class ForgetReport:
    """What was taken out. `unsent` events will not be sent; `in_posthog` were sent before, as `distinct_ids`."""

    objects_rewritten: int = 0
    objects_purged: int = 0
    unsent: int = 0
    in_posthog: int = 0
    dead_letters: int = 0
    sampled: int = 0
    leftovers: int = 0
    distinct_ids: set[str] = field(default_factory=set)

    def add(self, other: "ForgetReport") -> None:
        """Add another day's report."""
        for name, number in vars(other).items():
            if isinstance(number, int):
                setattr(self, name, getattr(self, name) + number)
        self.distinct_ids |= other.distinct_ids


@dataclass
class _Kept:
    """What is left of an object's batches: events by what PostHog said, and counts of what is not kept.

    `lost` events are not settled, and neither their batch nor a dead letter holds them any more.
    """

    refused: list[tuple[bytes, DeadLetter | None]] = field(default_factory=list)
    open: list[bytes] = field(default_factory=list)
    theirs_unsent: int = 0
    theirs_sent: int = 0
    lost: int = 0


class Forgetting:
    """Takes people out of one day. The caller holds the day lease and has written the suppression list."""

    def __init__(self, load: DayLoad, people: People, *, by: str) -> None:
        self._load = load
        self._workspace = load.workspace
        self._day = load.day
        self._people = people
        self._by = by
        self._report = ForgetReport()
        self._incomplete: list[str] = []

    def run(self) -> ForgetReport:
        """Purge the day, and close it again if it is complete.

        Raises what the workspace raises, and WorkspaceError at the end for objects of which a batch is missing that
        is still needed: a result without it would count events that are nowhere.
        """
        state = self._load.log.state()
        files = self._batch_files()
        holding = self._holding([key for keys in files.values() for key in keys])
        letters = self._letters_by_object(state)
        self._rewrite_samples()
        for known in state.objects.values():
            mine = files.get(known.object_id, [])
            written = letters[known.object_id]
            is_concerned = not holding.isdisjoint(mine) or any(self._people.in_letter(one.content) for one in written)
            if known.done is not None and is_concerned:
                self._forget_object(known, known.done, mine, written)
        self._delete_leftovers(holding)
        if self._load.archive.holds(self._day):
            self._load.close(self._load.archive.list_day(self._day))
        if self._incomplete:
            raise WorkspaceError(
                f"people were not taken out of {len(self._incomplete)} objects of {self._day}, whose batches with"
                f" unsettled events are missing: {'; '.join(self._incomplete[:3])}. `{remap_command(self._day)}` makes"
                " again, without these people, what is still to be sent; other batches come back from a copy of the"
                " bucket. Then run forget once more"
            )
        return self._report

    def _batch_files(self) -> dict[str, list[str]]:
        """Keys of the batches that lie there, by object."""
        folder = self._workspace.folder("batches", self._day)
        found: defaultdict[str, list[str]] = defaultdict(list)
        for listed in self._workspace.bucket.listing(folder):
            found[listed.key[len(folder) :].partition("/")[0]].append(listed.key)
        return found

    def _letters_by_object(self, state: DayState) -> defaultdict[str, list[DeadLetter]]:
        found: defaultdict[str, list[DeadLetter]] = defaultdict(list)
        for letter in counted_letters(self._workspace, self._day, state):
            found[letter.object_id].append(letter)
        return found

    # -- one object ---------------------------------------------------------------------------------------

    def _forget_object(
        self, known: ObjectState, done: Done, files: Sequence[str], letters: Sequence[DeadLetter]
    ) -> None:
        theirs = [letter for letter in letters if self._people.in_letter(letter.content)]
        kept = self._sort_out(known, files, letters)
        rewrites = kept.theirs_unsent or theirs or (kept.theirs_sent and (kept.open or kept.refused))
        if rewrites and kept.lost:
            self._incomplete.append(f"{known.key} ({kept.lost:,} events)")
        elif rewrites:
            self._rewrite(known, done, kept, letters, theirs, files)
        elif kept.theirs_sent:
            self._purge(known, done, files)
        self._report.in_posthog += kept.theirs_sent

    def _sort_out(self, known: ObjectState, files: Sequence[str], letters: Sequence[DeadLetter]) -> _Kept:
        """Read the batches of the object's result and part what is theirs from what is kept."""
        reasons = {(letter.batch_id, letter.number): letter for letter in letters if letter.stage == DELIVERY}
        kept = _Kept()
        for batch in known.batches.values():
            key = self._workspace.batch_key(self._day, known.object_id, batch.note.id)
            if key not in files:
                self._sort_out_missing(batch, reasons, kept)
                continue
            acknowledged = set(batch.acknowledged.positions())
            refused = set(batch.refused.positions())
            for position, event in enumerate(events_of(run_of(self._workspace.bucket.get(key), name=key))):
                is_theirs = self._people.in_line(event)
                if position in acknowledged:
                    kept.theirs_sent += is_theirs
                    if is_theirs:
                        self._report.distinct_ids.add(json.loads(event)["distinct_id"])
                elif is_theirs:
                    kept.theirs_unsent += 1
                elif position in refused:
                    kept.refused.append((event, reasons.get((batch.note.id, position))))
                else:
                    kept.open.append(event)
        return kept

    def _sort_out_missing(self, batch: BatchState, letters: Mapping[tuple[str, int], DeadLetter], kept: _Kept) -> None:
        """A batch that was purged, or that a lifecycle rule took: its refused events lie in their dead letters."""
        kept.lost += len(batch.open)
        for position in batch.refused.positions():
            letter = letters.get((batch.note.id, position))
            event = letter.content.get("event") if letter else None
            if event is None:
                kept.lost += 1
                continue
            raw = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
            if self._people.in_line(raw):
                kept.theirs_unsent += 1
            else:
                kept.refused.append((raw, letter))

    def _purge(self, known: ObjectState, done: Done, files: Sequence[str]) -> None:
        """PostHog has the whole object: its batches are of no more use."""
        entry = Purged(object=known.object_id, revision=done.revision, what=BATCHES, at=timestamp_text())
        self._load.log.write([entry], writer=f"{self._load.writer}-forget")
        self._workspace.bucket.delete(list(files))
        self._report.objects_purged += 1

    def _rewrite(
        self,
        known: ObjectState,
        done: Done,
        kept: _Kept,
        letters: Sequence[DeadLetter],
        theirs: Sequence[DeadLetter],
        files: Sequence[str],
    ) -> None:
        """Write the object's result once more without the people, then delete the files of the old one."""
        revision, counts, at = next_revision(known), known.counts(), timestamp_text()
        notes, places = self._write_batches(known, kept)
        their_records = sum(letter.stage == TRANSFORM for letter in theirs)
        filtered = Counter(counts.filtered_by_rule)
        filtered[FORGOTTEN] += kept.theirs_unsent + their_records
        result = msgspec.structs.replace(
            done,
            revision=revision,
            mapped=counts.mapped - kept.theirs_unsent,
            dead_letters=counts.dead_letters - their_records,
            filtered=dict(sorted((+filtered).items())),
            repeats=counts.repeats,
            carried=counts.acknowledged,
            batches=notes,
            dead_letter_file=self._write_letters(known, letters, theirs),
            writer=self._load.writer,
            at=at,
        )
        self._write_refused_letters(known, kept, places)
        forget = Forget(
            object=known.object_id,
            revision=revision,
            key=known.key,
            events=kept.theirs_unsent,
            dead_letters=len(theirs),
            by=self._by,
            at=at,
        )
        refused = [
            Delivered(known.object_id, revision, batch, position, 1, REFUSED)
            for batch, position in places[: len(kept.refused)]
        ]
        entries: list[Entry] = [forget, result, *refused, *self._still_withdrawn(known, revision, at)]
        self._move_sample(known, done, notes)
        self._load.log.write(entries, writer=f"{self._load.writer}-forget")
        new = {self._workspace.batch_key(self._day, known.object_id, note.id) for note in notes}
        self._workspace.bucket.delete([key for key in files if key not in new])
        self._report.objects_rewritten += 1
        self._report.unsent += kept.theirs_unsent
        self._report.dead_letters += len(theirs)

    def _write_batches(self, known: ObjectState, kept: _Kept) -> tuple[list[BatchNote], list[tuple[str, int]]]:
        """Store the kept events, refused ones first; returns the batches and the place of every event."""
        builder = BatchBuilder()
        made: list[Batch] = []
        for event in [*(event for event, _ in kept.refused), *kept.open]:
            batch = builder.add(event, _timestamp_of(event))
            if batch is not None:
                made.append(batch)
        last = builder.finish()
        made += [last] if last else []
        for batch in made:
            key = self._workspace.batch_key(self._day, known.object_id, batch.batch_id)
            self._workspace.bucket.put(key, batch.data)
        places = [(batch.batch_id, position) for batch in made for position in range(batch.run.events)]
        return [note_of(batch) for batch in made], places

    def _write_letters(
        self, known: ObjectState, letters: Sequence[DeadLetter], theirs: Sequence[DeadLetter]
    ) -> str | None:
        """The object's dead letters of the transform without theirs; the name of the file, if any is left."""
        gone = {letter.number for letter in theirs if letter.stage == TRANSFORM}
        file = DeadLetterFile(self._workspace, self._day, TRANSFORM, known.object_id)
        for letter in letters:
            if letter.stage == TRANSFORM and letter.number not in gone:
                file.add(letter.content)
        return file.write()

    def _write_refused_letters(self, known: ObjectState, kept: _Kept, places: Sequence[tuple[str, int]]) -> None:
        """The dead letters of the refused events, which have new places."""
        file = DeadLetterFile(self._workspace, self._day, DELIVERY, known.object_id)
        for (_, letter), (batch, position) in zip(kept.refused, places, strict=False):
            if letter is not None:
                file.add({**letter.content, "batch": batch, "position": position})
        file.write()

    def _still_withdrawn(self, known: ObjectState, revision: int, at: str) -> Iterator[Entry]:
        """What an operator skipped stays skipped, what was replaced stays replaced, and what was deleted gone."""
        if known.skipped:
            yield Skip(
                object=known.object_id, revision=revision, key=known.key, reason=known.reason, by=self._by, at=at
            )
        if known.superseded:
            yield Superseded(object=known.object_id, revision=revision, key=known.key, at=at)
        if known.gone:
            yield Gone(object=known.object_id, revision=revision, key=known.key, at=at)

    # -- samples and leftovers ----------------------------------------------------------------------------

    def _rewrite_samples(self) -> None:
        keys = [listed.key for listed in self._workspace.bucket.listing(self._workspace.folder("samples", self._day))]
        with ThreadPoolExecutor(_READERS) as pool:
            self._report.sampled += sum(pool.map(self._rewrite_sample, keys))

    def _rewrite_sample(self, key: str) -> int:
        lines = self._workspace.read_lines(key)
        kept = [line for line in lines if not self._people.in_line(line)]
        if not kept:
            self._workspace.bucket.delete([key])
        elif len(kept) < len(lines):
            self._workspace.write_lines(key, kept)
        return len(lines) - len(kept)

    def _move_sample(self, known: ObjectState, done: Done, notes: Sequence[BatchNote]) -> None:
        """A sample is found by the first batch of its result."""
        firsts = [note.id for note in done.batches[:1]] + [entry.batch.id for entry in known.replayed if entry.batch]
        lines = [
            line for first in firsts for line in read_sample(self._workspace, self._day, known.object_id, first) or ()
        ]
        if notes and lines:
            self._workspace.write_lines(sample_key(self._workspace, self._day, known.object_id, notes[0].id), lines)

    def _delete_leftovers(self, holding: set[str]) -> None:
        """What holds them and no result counts: of crashes, lost results, earlier revisions, replays."""
        state = self._load.log.state()
        listed = {
            self._workspace.batch_key(self._day, known.object_id, name)
            for known in state.objects.values()
            for name in known.batches
        }
        present = {key for keys in self._batch_files().values() for key in keys}
        gone = sorted((holding & present) - listed)
        for stage in (TRANSFORM, DELIVERY):
            current = {known.done.dead_letter_file: known for known in state.objects.values() if known.done}
            counted = {
                json.dumps(letter.content, sort_keys=True)
                for letter in counted_letters(self._workspace, self._day, state, stage=stage)
            }
            for name in dead_letter_files(self._workspace, self._day, stage):
                if name not in current:
                    gone += self._letter_file_to_delete(stage, name, counted)
                elif current[name].replayed:
                    self._take_out_settled(stage, name, counted)
        self._workspace.bucket.delete(gone)
        self._report.leftovers += len(gone)

    def _holding(self, keys: Sequence[str]) -> set[str]:
        """The batches in which one of their events lies."""
        with ThreadPoolExecutor(_READERS) as pool:
            return {key for key, holds in zip(keys, pool.map(self._holds_them, keys), strict=True) if holds}

    def _holds_them(self, key: str) -> bool:
        try:
            events = events_of(run_of(self._workspace.bucket.get(key), name=key))
        except GoneObjectError:
            return False
        return any(map(self._people.in_line, events))

    def _take_out_settled(self, stage: str, name: str, counted: set[str]) -> None:
        """Their letters that a replay has settled lie in the file of a result as before, and count no more."""
        key = dead_letter_key(self._workspace, self._day, stage, name)
        lines = self._workspace.read_lines(key)
        settled = (line for line in lines if json.dumps(json.loads(line), sort_keys=True) not in counted)
        theirs = {line for line in settled if self._people.in_letter(json.loads(line))}
        kept = [line for line in lines if line not in theirs]
        if not kept:
            self._workspace.bucket.delete([key])
        elif len(kept) < len(lines):
            self._workspace.write_lines(key, kept)
        self._report.dead_letters += len(lines) - len(kept)

    def _letter_file_to_delete(self, stage: str, name: str, counted: set[str]) -> Iterable[str]:
        """The file's key if it holds them; letters in it that count are kept in a file of their own."""
        letters = list(read_dead_letters(self._workspace, self._day, stage, name))
        if not any(map(self._people.in_letter, letters)):
            return
        kept = DeadLetterFile(self._workspace, self._day, stage, name.partition("-")[0])
        for letter in letters:
            if not self._people.in_letter(letter) and json.dumps(letter, sort_keys=True) in counted:
                kept.add(letter)
        kept.write()
        yield dead_letter_key(self._workspace, self._day, stage, name)


def _timestamp_of(event: bytes) -> int:
    moment = dt.datetime.fromisoformat(json.loads(event)["timestamp"])
    return round(moment.timestamp() * 1000)
