"""What a running delivery looks for every ten seconds: a pause, and what others have written into the day log.

An operator's `skip`, `remap` or `forget` while a run is sending must not be overtaken by batches that were read
from the log before it; and what another run of the day has acknowledged meanwhile need not be sent twice.
"""

from snowplow_posthog_dagster.loading.delivery import StillWanted
from snowplow_posthog_dagster.loading.pieces import OpenBatch
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.ranges import Ranges
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.target import refuse_when_paused


class LogWatch:
    """Called by a delivery; `writer` is its own name, whose segments tell it nothing new.

    A call costs two LISTs; the log is read and folded only when somebody else has written to it. Raises
    PausedError while the target is paused.
    """

    def __init__(self, log: DayLog, writer: str) -> None:
        self._log = log
        self._writer = writer
        self._seen: set[str] | None = None
        self._wanted: StillWanted = lambda batch: batch.open

    def _foreign(self) -> set[str]:
        return {name for name in self._log.segment_names() if f"-{self._writer}-" not in name}

    def __call__(self) -> StillWanted:
        """What is still wanted, as pause and log say now."""
        refuse_when_paused(self._log.workspace)
        foreign = self._foreign()
        if foreign != self._seen:
            state = self._log.state()
            self._wanted, self._seen = lambda batch: still_wanted(state, batch), foreign
        return self._wanted


def still_wanted(state: DayState, batch: OpenBatch) -> Ranges:
    """The open events of a batch that the log still wants to be sent.

    None of them when its object was withdrawn, or when its result was replaced: by an operator (a higher
    revision) or by a result of another run that won.
    """
    known = state.objects.get(batch.object_id)
    if known is None:
        return batch.open
    revision = known.done.revision if known.done else known.revision
    found = known.batches.get(batch.note.id)
    if known.withdrawn or revision != batch.revision or found is None:
        return Ranges()
    return batch.open.without(found.acknowledged)
