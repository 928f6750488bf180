r"""Batches that the log lists: do they lie in the workspace, and can they be used?

    state of the day --open batches----> one LIST of their part of the day --> those that are missing
                    \                \-> one GET each (operators only)     --> those that cannot be used
                     \--all, not purged-> one LIST of the day              --> how many of them are there

A batch that PostHog acknowledged may go at any time: housekeeping deletes it and says so in the log, and a lifecycle
rule of the bucket does without a word. One that is still to be sent may not: without it the sums of the log add up and
its events never arrive.
"""

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from snowplow_posthog_dagster.errors import GoneObjectError, WorkspaceError
from snowplow_posthog_dagster.posthog.batches import run_of
from snowplow_posthog_dagster.storage.state import BATCHES, DayState
from snowplow_posthog_dagster.storage.workspace import Workspace

_READERS = 16


@dataclass(frozen=True)
class NeededBatch:
    """A batch with open events: the archive key and id of its object, where it lies, and how many are open."""

    key: str
    object_id: str
    place: str
    events: int


def needed_batches(workspace: Workspace, day: dt.date, state: DayState) -> list[NeededBatch]:
    """The batches of the day that a delivery would read."""
    return [
        NeededBatch(
            known.key, known.object_id, workspace.batch_key(day, known.object_id, batch.note.id), len(batch.open)
        )
        for known in state.objects.values()
        for batch in known.deliverable
    ]


def missing_batches(workspace: Workspace, day: dt.date, state: DayState) -> list[NeededBatch]:
    """The needed batches that are not there: one LIST from the first to the last of them, none when none is needed.

    The state must have been read before: a batch is written before the entry that lists it.
    """
    needed = needed_batches(workspace, day, state)
    if not needed:
        return []
    present = set(_present(workspace, day, [batch.place for batch in needed]))
    return [batch for batch in needed if batch.place not in present]


def _present(workspace: Workspace, day: dt.date, places: list[str]) -> Iterator[str]:
    first, last = min(places), max(places)
    # The listing begins after a key, and the character before a batch's own name is a slash.
    for listed in workspace.bucket.listing(workspace.folder("batches", day), start_after=first.rpartition("/")[0]):
        if listed.key > last:
            return
        yield listed.key


@dataclass(frozen=True)
class Presence:
    """The batches that the log lists and that nobody purged: how many, and how many of them lie in the workspace."""

    listed: int
    present: int

    def __str__(self) -> str:
        words = f"{self.present:,} of {self.listed:,} that the log lists lie in the workspace"
        gone = self.listed - self.present
        return f"{words}; {gone:,} were deleted by something else than housekeeping" if gone else words


def presence(workspace: Workspace, day: dt.date, state: DayState) -> Presence:
    """Count the day's batches in the log and in the workspace, by one LIST of the day (a page for 1,000 batches)."""
    listed = {
        workspace.batch_key(day, known.object_id, name)
        for known in state.objects.values()
        if not known.withdrawn and BATCHES not in known.purged
        for name in known.batches
    }
    present = sum(found.key in listed for found in workspace.bucket.listing(workspace.folder("batches", day)))
    return Presence(len(listed), present)


def missing_words(missing: list[NeededBatch], day: dt.date) -> list[str]:
    """What is missing and what to do about it, a line per object; empty when nothing is."""
    events: dict[str, int] = {}
    for batch in missing:
        events[batch.key] = events.get(batch.key, 0) + batch.events
    if not events:
        return []
    return [
        *(f"{key}: batches with {count:,} events to send are not in the workspace" for key, count in events.items()),
        f"`{remap_command(day)}` makes them again from the archive; what the archive no longer has: `skip`",
    ]


def remap_command(day: dt.date) -> str:
    """What an operator types when batches are missing or damaged."""
    return f"snowplow-posthog remap --from {day} --to {day} --damaged"


def unusable_objects(workspace: Workspace, day: dt.date, state: DayState) -> set[str]:
    """The object-ids of which a batch that is still to be sent is missing or damaged. Reads all of those batches."""

    def is_unusable(batch: NeededBatch) -> bool:
        try:
            run_of(workspace.bucket.get(batch.place), name=batch.place)
        except (GoneObjectError, WorkspaceError):
            return True
        return False

    needed = needed_batches(workspace, day, state)
    with ThreadPoolExecutor(_READERS) as pool:
        return {batch.object_id for batch, bad in zip(needed, pool.map(is_unusable, needed), strict=True) if bad}
