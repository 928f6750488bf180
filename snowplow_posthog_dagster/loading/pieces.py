"""What travels: open batches of the log, and the pieces of them that go into a body.

    OpenBatch --read--> Piece ──┬── joined with others into a body
                                └── halves, when a body must be taken apart

A piece knows which positions of its batch it holds, so that an answer to a body can be written down as ranges
of batches. Its events are the batch's, byte for byte, and its timestamps those of the whole batch, so that every
part carries the same historical flag.
"""

from dataclasses import dataclass, replace

from snowplow_posthog_dagster.posthog.batches import Run, events_of, part_of, run_from
from snowplow_posthog_dagster.posthog.compression import compressor_factory
from snowplow_posthog_dagster.storage.entries import BatchNote, Delivered
from snowplow_posthog_dagster.storage.ranges import Ranges

_RECOMPRESS = compressor_factory("isal", 1)


@dataclass(frozen=True)
class OpenBatch:
    """A batch of the log with events that are not settled yet.

    `run` holds just these events when the batch itself is purged and they were kept elsewhere (dead letters).
    """

    object_id: str
    revision: int
    note: BatchNote
    open: Ranges
    run: Run | None = None

    @property
    def open_raw(self) -> int:
        """Raw bytes of the open events; in proportion, for a part."""
        return self.note.raw * len(self.open) // max(self.note.events, 1)

    def only(self, wanted: Ranges) -> "OpenBatch":
        """The batch with just these of its open events; a run that it carries is cut to them."""
        run = self.run
        if run is not None and len(wanted) != len(self.open):
            kept = set(wanted.positions())
            places = [place for place, position in enumerate(self.open.positions()) if position in kept]
            run = part_of(run, places, _RECOMPRESS)
        return replace(self, open=wanted, run=run)


@dataclass(frozen=True)
class Piece:
    """Events of one batch that travel together: the run, and the batch's positions that it holds."""

    object_id: str
    revision: int
    batch_id: str
    positions: Ranges
    run: Run

    def halves(self) -> list["Piece"]:
        """The piece as two, each event byte for byte what it was."""
        events, positions = events_of(self.run), list(self.positions.positions())
        middle = len(events) // 2
        return [
            replace(
                self,
                positions=Ranges((position, position + 1) for position in positions[chosen]),
                run=run_from(events[chosen], self.run.min_timestamp, self.run.max_timestamp, _RECOMPRESS),
            )
            for chosen in (slice(0, middle), slice(middle, None))
        ]

    def entries(self, status: str) -> list[Delivered]:
        """The log entries that say that PostHog took, or refused, this piece."""
        return [
            Delivered(self.object_id, self.revision, self.batch_id, first, end - first, status)
            for first, end in self.positions.intervals
        ]


def piece_of(batch: OpenBatch, run: Run) -> Piece:
    """The open events of a batch, whose run was read whole."""
    if len(batch.open) != run.events:
        run = part_of(run, list(batch.open.positions()), _RECOMPRESS)
    return Piece(batch.object_id, batch.revision, batch.note.id, batch.open, run)
