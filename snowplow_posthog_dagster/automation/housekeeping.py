"""What a closed day no longer needs: its batches and samples; dead letters past retention; orphans. Knows no Dagster.

    closed and agreed on by PostHog since the last work ──> `purged` entries ──> deletion of batches and samples
    older than the retention ──> `purged` entries ──> deletion of dead letters
    in no log entry and a day old ──> deletion (left by a crash between a batch and its entry)
    files of earlier endings of the day ──> deletion, a day later; the newest one stays

The entry comes first and the deletion second: a crash in between leaves files that the log calls purged, which the
next night deletes; the other order would lose files that the log promises. Log entries are never deleted. Batches of
an object with events that PostHog refused stay, because a replay needs them, and those of one that was skipped or
overwritten before all was sent, because that can be taken back. The caller holds the day lease.
"""

import datetime as dt
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.storage.dead_letters import DELIVERY, TRANSFORM, dead_letter_folder
from snowplow_posthog_dagster.storage.entries import Done, Entry, Purged, Replayed
from snowplow_posthog_dagster.storage.s3 import Listed
from snowplow_posthog_dagster.storage.state import BATCHES, DEAD_LETTERS, SAMPLES, DayState, ObjectState, fold
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

ORPHAN_SECONDS = 86_400.0
_DAY = re.compile(r"dt=(\d{4}-\d\d-\d\d)/")


@dataclass
class Housekeeping:
    """What was deleted, or in a dry run would be: files and bytes by kind."""

    files: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, found: Iterable[Listed]) -> None:
        """Count files of a kind."""
        for listed in found:
            self.files[kind] = self.files.get(kind, 0) + 1
            self.bytes[kind] = self.bytes.get(kind, 0) + listed.size

    def add(self, other: "Housekeeping") -> None:
        """Count another day's too."""
        for kind, number in other.files.items():
            self.files[kind] = self.files.get(kind, 0) + number
            self.bytes[kind] = self.bytes.get(kind, 0) + other.bytes[kind]

    def summary(self) -> str:
        """In words."""
        parts = [f"{number:,} {kind} ({self.bytes[kind]:,} bytes)" for kind, number in sorted(self.files.items())]
        return ", ".join(parts) or "nothing"


def stored_days(workspace: Workspace) -> list[dt.date]:
    """The days of which anything is stored that can be deleted, oldest first: one LIST a day and kind."""
    folders = [workspace.folder(kind) for kind in (BATCHES, SAMPLES)]
    folders += [workspace.key(DEAD_LETTERS, None, f"stage={stage}") + "/" for stage in (TRANSFORM, DELIVERY)]
    return sorted({day for folder in folders for day in _days_in(workspace, folder)})


def _days_in(workspace: Workspace, folder: str) -> Iterator[dt.date]:
    """The days of the keys `dt=<day>/...` in a folder, jumping from each to the next; other keys are not ours."""
    after = ""
    while listed := next(iter(workspace.bucket.listing(folder, start_after=after)), None):
        found = _DAY.match(listed.key, len(folder))
        if found:
            yield dt.date.fromisoformat(found.group(1))
        # The character after the slash: behind every key of the day.
        after = f"{folder}{found.group()[:-1]}0" if found else listed.key


def keep_house(load: DayLoad, *, dry_run: bool, retention_days: int, now: float | None = None) -> Housekeeping:
    """Delete what a day no longer needs. `now` is in seconds since 1970, held against S3's LastModified."""
    moment = time.time() if now is None else now
    report = Housekeeping()
    entries = load.log.entries()
    state = fold(entries)
    # Without a listing nobody can tell whether the day is finished: then only what is orphaned or too old goes.
    finished = load.archive.holds(load.day) and load.is_finished(load.archive.list_day(load.day))
    if finished and state.agreed:
        _purge(load, state, report, dry_run=dry_run)
    oldest = moment - retention_days * 86_400
    _purge_dead_letters(load, state, report, oldest=oldest, dry_run=dry_run)
    _delete_orphans(load, entries, report, oldest=moment - ORPHAN_SECONDS, dry_run=dry_run)
    if finished and not dry_run:
        # A `purged` entry is a new segment, which reopens a finished day.
        load.close(load.archive.list_day(load.day))
    _delete_superseded(load, report, oldest=moment - ORPHAN_SECONDS, dry_run=dry_run)
    return report


def _delete_superseded(load: DayLoad, report: Housekeeping, *, oldest: float, dry_run: bool) -> None:
    """What was written at earlier endings of the day: a live day ends some 300 times, with 15 KB each."""
    written = list(load.workspace.bucket.listing(load.workspace.folder("days", load.day)))
    # S3 keeps whole seconds: of two files of the newest second both stay.
    newest = max((one.modified for one in written), default=0.0)
    earlier = [one for one in written if one.modified < min(newest, oldest)]
    _delete(load, "day_files", earlier, report, dry_run=dry_run)


def _purge(load: DayLoad, state: DayState, report: Housekeeping, *, dry_run: bool) -> None:
    """Batches and samples of every object that is done and of which nothing may still be sent."""
    wanted = {
        known.object_id: known.done.revision
        for known in state.objects.values()
        if known.done and not _may_be_sent(known)
    }
    for kind in (BATCHES, SAMPLES):
        found = [listed for listed in _files(load, kind) if _object_of(listed, load, kind) in wanted]
        marked = {known.object_id for known in state.objects.values() if kind in known.purged}
        objects = {_object_of(listed, load, kind) for listed in found} - marked
        _mark(load, {name: wanted[name] for name in objects}, kind, dry_run=dry_run)
        _delete(load, kind, found, report, dry_run=dry_run)


def _may_be_sent(known: ObjectState) -> bool:
    """Whether a replay needs its batches, or an `unskip` and the return of the old bytes would."""
    return any(batch.refused or (known.withdrawn and batch.open) for batch in known.batches.values())


def _purge_dead_letters(load: DayLoad, state: DayState, report: Housekeeping, *, oldest: float, dry_run: bool) -> None:
    for stage in (TRANSFORM, DELIVERY):
        folder = dead_letter_folder(load.workspace, load.day, stage)
        found = [listed for listed in load.workspace.bucket.listing(folder) if listed.modified < oldest]
        objects = {listed.key[len(folder) :].partition("-")[0] for listed in found}
        known = {name: state.objects[name] for name in objects if name in state.objects}
        unmarked = {
            name: one.done.revision for name, one in known.items() if one.done and DEAD_LETTERS not in one.purged
        }
        _mark(load, unmarked, DEAD_LETTERS, dry_run=dry_run)
        _delete(load, DEAD_LETTERS, found, report, dry_run=dry_run)


def _delete_orphans(load: DayLoad, entries: list[Entry], report: Housekeeping, *, oldest: float, dry_run: bool) -> None:
    """Batches that no entry lists, also none of a lost result, and that are a day old."""
    listed_ids = {(entry.object, note.id) for entry in entries if isinstance(entry, Done) for note in entry.batches}
    listed_ids |= {(entry.object, entry.batch.id) for entry in entries if isinstance(entry, Replayed) and entry.batch}
    found = []
    for listed in _files(load, BATCHES):
        batch = listed.key.rsplit("/", 1)[-1].removesuffix(".json.gz")
        if listed.modified < oldest and (_object_of(listed, load, BATCHES), batch) not in listed_ids:
            found.append(listed)
    _delete(load, "orphans", found, report, dry_run=dry_run)


def _files(load: DayLoad, kind: str) -> list[Listed]:
    return list(load.workspace.bucket.listing(load.workspace.folder(kind, load.day)))


def _object_of(listed: Listed, load: DayLoad, kind: str) -> str:
    """The object-id in a key: a folder for batches, the first part of the name for samples."""
    rest = listed.key[len(load.workspace.folder(kind, load.day)) :]
    return rest.partition("/" if kind == BATCHES else "-")[0]


def _mark(load: DayLoad, revisions: dict[str, int], what: str, *, dry_run: bool) -> None:
    at = timestamp_text()
    entries = [Purged(object=name, revision=revision, what=what, at=at) for name, revision in sorted(revisions.items())]
    if entries and not dry_run:
        load.log.write(entries, writer=f"{load.writer}-housekeeping")


def _delete(load: DayLoad, kind: str, found: list[Listed], report: Housekeeping, *, dry_run: bool) -> None:
    report.note(kind, found)
    if found and not dry_run:
        load.workspace.bucket.delete([listed.key for listed in found])
