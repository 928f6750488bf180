"""The state of a day: what the union of its log entries means.

    entries (a set) --by object--> highest revision --winner--> ObjectState --sum--> Counts

No clock and no order decides anything, so any two writers, any repetition and any compaction give the same
state (tests/storage/test_state.py shuffles them). Per object the highest revision counts; within it an
operator's `skip`, then `done`, then `broken`. Among several `done`, one with acknowledgements wins, then the
one with the smallest digest: PostHog keeps what it acknowledged, so that result is the true one. What was
acknowledged of a losing result is shown as re-sent and never added.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.entries import (
    BatchNote,
    Broken,
    CheckAcknowledged,
    Delivered,
    Done,
    Entry,
    Gone,
    Posted,
    Purged,
    Reconciled,
    Replayed,
    Skip,
    Superseded,
    Unskip,
    digest_of,
    line_of,
)
from snowplow_posthog_dagster.storage.ranges import Ranges
from snowplow_posthog_dagster.storage.uncollected import uncollected

ACKNOWLEDGED = "acknowledged"
REFUSED = "refused"

_OVER_A_RESULT = (Skip, Unskip, Superseded, Gone, Purged)

BATCHES, SAMPLES, DEAD_LETTERS = "batches", "samples", "dead_letters"
"""What a `purged` entry can say was deleted."""


@dataclass(frozen=True)
class BatchState:
    """A batch of the winning result, and what PostHog said about its events."""

    note: BatchNote
    acknowledged: Ranges
    refused: Ranges

    @cached_property
    def open(self) -> Ranges:
        """The positions that PostHog has neither acknowledged nor refused."""
        if self.acknowledged.intervals == [(0, self.note.events)]:
            return Ranges()
        settled = Ranges([*self.acknowledged.intervals, *self.refused.intervals])
        return settled.missing(self.note.events)


@dataclass(frozen=True)
class ObjectState:
    """What the log says about one archive object.

    `status` is one of done, broken, skipped, gone, superseded, pending; `done` is the winning result.
    """

    object_id: str
    revision: int
    status: str
    key: str = ""
    hour: int | None = None
    done: Done | None = None
    batches: dict[str, BatchState] = field(default_factory=dict)
    replayed: tuple[Replayed, ...] = ()
    attempts: int = 0
    next_try: str = ""
    reason: str = ""
    skipped: bool = False
    superseded: bool = False
    gone: bool = False
    resent: int = 0
    purged: frozenset[str] = frozenset()

    @property
    def replayed_records(self) -> frozenset[int]:
        """The record numbers of the dead letters that a replay settled."""
        return frozenset(number for entry in self.replayed for number in entry.records)

    @property
    def withdrawn(self) -> bool:
        """Whether what was not sent of it is not to be sent: an operator skipped it, or its key holds other bytes."""
        return self.skipped or self.superseded

    @property
    def deliverable(self) -> list[BatchState]:
        """The batches with open events, in the order in which they were made."""
        if self.done is None or self.withdrawn:
            return []
        return [batch for batch in self.batches.values() if batch.open]

    def counts(self) -> Counts:
        """The counting equation of this object."""
        return self._counts

    @cached_property
    def _counts(self) -> Counts:
        status: dict[str, Any] = {f"objects_{self.status}": 1}
        if self.done is None:
            return Counts(objects=1, resent=self.resent, **status)
        settled = self.done.carried + sum(len(batch.acknowledged) for batch in self.batches.values())
        refused = sum(len(batch.refused) for batch in self.batches.values())
        unsent = sum(len(batch.open) for batch in self.batches.values())
        filtered, mapped, repeats = Counter(self.done.filtered), self.done.mapped, self.done.repeats
        made = {note.id for note in self.done.batches}
        for entry in self.replayed:
            filtered.update(entry.filtered)
            repeats += entry.repeats
            if entry.batch and entry.batch.id in made:
                # Two replays at once made the same events of different records: sent once, so the others are repeats.
                repeats += entry.batch.events
            elif entry.batch:
                made.add(entry.batch.id)
                mapped += entry.batch.events
        return Counts(
            objects=1,
            lines=self.done.lines,
            glued=self.done.glued,
            records=self.done.records,
            mapped=mapped,
            dead_letters=self.done.dead_letters - len(self.replayed_records),
            filtered=filtered.total(),
            repeats=repeats,
            acknowledged=settled,
            delivery_dead_letters=refused,
            pending=0 if self.withdrawn else unsent,
            withdrawn=unsent if self.withdrawn else 0,
            withdrawn_by_reason=Counter({self.status: unsent}) if self.withdrawn and unsent else Counter(),
            resent=self.resent,
            bytes=self.done.bytes,
            raw_bytes=self.done.raw_bytes,
            filtered_by_rule=filtered,
            notes=Counter(self.done.notes) if self.done.notes else Counter(),
            **status,
        )


AGREE = "agree"
"""The result of a `Reconciled` entry that found in PostHog what the log says."""


@dataclass(frozen=True)
class DayState:
    """The state of a day for one target."""

    objects: Mapping[str, ObjectState]
    reconciled: tuple[Reconciled, ...] = ()
    acknowledged_checks: tuple[CheckAcknowledged, ...] = ()
    posted: tuple[Posted, ...] = ()

    def counts(self) -> Counts:
        """The counting equation of the day, over what the log knows."""
        return self._counts

    @cached_property
    @uncollected()
    def _counts(self) -> Counts:
        return Counts.total(state.counts() for state in self.objects.values())

    def acknowledged_check(self, check: str, today: str) -> CheckAcknowledged | None:
        """The latest operator's entry that accepts a failing check, if it has not expired (dates as text)."""
        found = [entry for entry in self.acknowledged_checks if entry.check == check and entry.until >= today]
        return max(found, key=lambda entry: entry.at, default=None)

    def last_run(self) -> str:
        """When anything last worked on the day, as UTC text; for people."""
        transformed = [known.done.at for known in self.objects.values() if known.done]
        return max([*transformed, *(entry.ended for entry in self.posted)], default="")

    @property
    def agreed(self) -> bool:
        """Whether PostHog agreed with the log, and nothing has worked on the day since."""
        last = self.reconciled[-1] if self.reconciled else None
        return last is not None and last.result == AGREE and last.at >= self.last_run()

    def problems(self) -> list[str]:
        """The sums that do not add up, object by object."""
        return [
            f"{state.key or state.object_id}: {problem}"
            for state in self.objects.values()
            for problem in state.counts().problems()
        ]


def fold(entries: Iterable[Entry]) -> DayState:
    """The state that a set of log entries means. Order and repetition do not matter."""
    distinct = {line_of(entry): entry for entry in entries}
    by_object: defaultdict[str, list[Entry]] = defaultdict(list)
    reconciled: list[Reconciled] = []
    checks: list[CheckAcknowledged] = []
    posted: list[Posted] = []
    for line in sorted(distinct):
        entry = distinct[line]
        if isinstance(entry, Reconciled):
            reconciled.append(entry)
        elif isinstance(entry, CheckAcknowledged):
            checks.append(entry)
        elif isinstance(entry, Posted):
            posted.append(entry)
        else:
            by_object[entry.object].append(entry)
    objects = {name: _object_state(name, by_object[name]) for name in sorted(by_object)}
    return DayState(
        objects=objects,
        reconciled=tuple(sorted(reconciled, key=lambda entry: entry.at)),
        acknowledged_checks=tuple(checks),
        posted=tuple(sorted(posted, key=lambda entry: entry.ended)),
    )


def _object_state(name: str, entries: list[Entry]) -> ObjectState:
    return _ordinary_state(name, entries) or _any_state(name, entries)


def _ordinary_state(name: str, entries: list[Entry]) -> ObjectState | None:
    """What `_any_state` says of an object with one result, and nothing beside it but what PostHog said of its batches.

    None for any other. Nearly all objects are such ones, and 22,000 of them take half a second this way instead of two.
    """
    results = [entry for entry in entries if isinstance(entry, Done)]
    delivered = [entry for entry in entries if isinstance(entry, Delivered)]
    if len(results) != 1 or len(delivered) + 1 != len(entries):
        return None
    (done,) = results
    known = {note.id for note in done.batches}
    if any(entry.revision != done.revision or entry.batch not in known for entry in delivered):
        return None
    batches = _batches(done.revision, done, [], delivered)
    return ObjectState(name, done.revision, "done", done.key, done.hour, done, batches)


def _any_state(name: str, entries: list[Entry]) -> ObjectState:
    highest = max(_revision(entry) for entry in entries)
    revision = _result_revision(entries)
    current = [entry for entry in entries if _revision(entry) == revision]
    delivered = [entry for entry in entries if isinstance(entry, Delivered)]
    done = _winner([entry for entry in current if isinstance(entry, Done)], delivered)
    replayed = _accepted([entry for entry in current if isinstance(entry, Replayed)], delivered) if done else []
    batches = _batches(revision, done, replayed, delivered)
    skip = _first(entry for entry in entries if isinstance(entry, Skip) and entry.revision == highest)
    broken = sorted((entry for entry in current if isinstance(entry, Broken)), key=lambda entry: entry.next_try)
    # A replacement counts until the object is listed again, which is written as a higher revision.
    superseded = any(isinstance(entry, Superseded) and entry.revision == highest for entry in entries)
    gone = any(isinstance(entry, Gone) and entry.revision == highest for entry in entries)
    return ObjectState(
        object_id=name,
        revision=highest,
        status=_status(skip, done, broken, superseded=superseded, gone=gone),
        key=next((key for entry in entries if (key := getattr(entry, "key", ""))), ""),
        hour=next((hour for entry in entries if (hour := getattr(entry, "hour", None)) is not None), None),
        done=done,
        batches=batches,
        replayed=tuple(replayed),
        attempts=len(broken),
        next_try=broken[-1].next_try if broken else "",
        reason=skip.reason if skip else (broken[-1].reason if broken else ""),
        skipped=skip is not None,
        superseded=superseded,
        gone=gone,
        resent=max(0, _resent(revision, batches, delivered) - (done.carried if done else 0)),
        purged=frozenset(entry.what for entry in current if isinstance(entry, Purged)),
    )


def _result_revision(entries: list[Entry]) -> int:
    """The revision whose results count: the highest one.

    A skip, an unskip, and what becomes of the object in the archive lie over a finished result without replacing
    it, so that what was acknowledged before stays counted and an unskip goes on where the skip stopped.
    """
    revisions = sorted({_revision(entry) for entry in entries}, reverse=True)
    if len(revisions) == 1:
        return revisions[0]
    for revision in revisions:
        current = [entry for entry in entries if _revision(entry) == revision]
        if any(isinstance(entry, Done) for entry in current):
            return revision
        if not all(isinstance(entry, _OVER_A_RESULT) for entry in current):
            break
    return revisions[0]


def _first(entries: Iterable[Skip]) -> Skip | None:
    return min(entries, key=digest_of, default=None)


def _revision(entry: Entry) -> int:
    revision: int = getattr(entry, "revision", 0)  # a Union in isinstance would take four times as long
    return revision


def _status(skip: Skip | None, done: Done | None, broken: list[Broken], *, superseded: bool, gone: bool) -> str:
    if skip:
        return "skipped"
    if superseded:
        return "superseded"
    if done:
        return "done"
    if gone:
        return "gone"
    return "broken" if broken else "pending"


def _winner(results: list[Done], delivered: list[Delivered]) -> Done | None:
    """Of several results of one revision: one with acknowledgements, then the smallest digest."""
    if len(results) < 2:
        return results[0] if results else None
    taken = _taken(delivered)
    return min(
        results,
        key=lambda result: (not any(note.id in taken for note in result.batches), digest_of(result)),
        default=None,
    )


def _accepted(replays: list[Replayed], delivered: list[Delivered]) -> list[Replayed]:
    """The replays that count: no record twice; those with acknowledgements first, then the smallest digest."""
    taken = _taken(delivered)
    accepted: list[Replayed] = []
    seen: set[int] = set()
    for entry in sorted(replays, key=lambda entry: (not (entry.batch and entry.batch.id in taken), digest_of(entry))):
        if seen.isdisjoint(entry.records):
            accepted.append(entry)
            seen.update(entry.records)
    return accepted


def _taken(delivered: list[Delivered]) -> set[str]:
    """The batches of which PostHog acknowledged anything."""
    return {entry.batch for entry in delivered if entry.status == ACKNOWLEDGED}


def _batches(
    revision: int, done: Done | None, replayed: list[Replayed], delivered: list[Delivered]
) -> dict[str, BatchState]:
    if done is None:
        return {}
    acknowledged: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    refused: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for entry in delivered:
        if entry.revision == revision:
            place = acknowledged if entry.status == ACKNOWLEDGED else refused
            place[entry.batch].append((entry.first, entry.first + entry.events))
    notes = [*done.batches, *(entry.batch for entry in replayed if entry.batch)]
    states = {}
    for note in notes:
        taken = Ranges(acknowledged[note.id])
        states[note.id] = BatchState(note, taken, Ranges(refused[note.id]).without(taken))
    return states


def _resent(revision: int, batches: Mapping[str, BatchState], delivered: list[Delivered]) -> int:
    """Acknowledged events of results that lost or that an operator replaced: PostHog saw them once more."""
    lost: defaultdict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    for entry in delivered:
        counted = entry.revision == revision and entry.batch in batches
        if entry.status == ACKNOWLEDGED and not counted:
            lost[entry.revision, entry.batch].append((entry.first, entry.first + entry.events))
    return sum(len(Ranges(intervals)) for intervals in lost.values())


def next_revision(state: ObjectState | None) -> int:
    """The revision that an operator's entry writes: one above the highest seen."""
    return (state.revision if state else 0) + 1
