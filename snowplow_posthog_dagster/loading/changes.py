"""Archive objects that change after they were listed: overwritten, deleted, or back again.

    listing of now  +  objects of the log and of the manifests  ->  log entries

An overwritten key is another object: what was not sent of the old one is withdrawn, and the new one is loaded whole.
Events that both hold have one key in PostHog and collapse there. A deleted object keeps what was made of it, and its
batches are still sent; one that was never read is lost, and a person should hear of it. Bytes that come back are the
object that they were, and it goes on where it stopped. Archive objects are never overwritten by Snowplow itself, so
each of these is somebody's doing: every change is warned about.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.entries import Gone, Superseded, Unskip
from snowplow_posthog_dagster.storage.state import DayState, ObjectState, next_revision
from snowplow_posthog_dagster.storage.workspace import timestamp_text

Change = Superseded | Gone | Unskip
BY_THE_ARCHIVE = "the archive, where it is listed again"


class Remembered(NamedTuple):
    """An object that was listed once."""

    key: str
    hour: int | None


def remembered_in(state: DayState) -> dict[str, Remembered]:
    """The objects of the log, by object-id."""
    return {name: Remembered(known.key, known.hour) for name, known in state.objects.items() if known.key}


def changes(
    state: DayState,
    listing: Sequence[ArchiveObject],
    remembered: Mapping[str, Remembered],
    wants: Callable[[int | None], bool],
) -> list[Change]:
    """The log entries for objects that are no longer what was listed, and for those that are back.

    `wants` tells for an hour whether the listing covers it. What the log says already is not said again.
    """
    listed = {found.object_id for found in listing}
    holders = {found.key: found.object_id for found in listing}
    found: list[Change] = []
    for name, (key, hour) in remembered.items():
        if name in listed or not wants(hour):
            continue
        change = _change(name, Remembered(key, hour), holders.get(key), state.objects.get(name))
        if change is not None:
            found.append(change)
    return found + list(_returned(state, listing))


def _change(name: str, was: Remembered, holder: str | None, known: ObjectState | None) -> Change | None:
    revision = known.revision if known else 0
    if holder is not None and not (known and known.superseded):
        return Superseded(
            object=name, revision=revision, key=was.key, hour=was.hour, replaced_by=holder, at=timestamp_text()
        )
    if holder is None and not (known and (known.gone or known.superseded)):
        return Gone(object=name, revision=revision, key=was.key, hour=was.hour, at=timestamp_text())
    return None


def _returned(state: DayState, listing: Iterable[ArchiveObject]) -> Iterable[Unskip]:
    for found in listing:
        known = state.objects.get(found.object_id)
        if known is not None and known.superseded and not known.skipped:
            yield Unskip(
                object=found.object_id,
                revision=next_revision(known),
                key=found.key,
                hour=found.hour,
                by=BY_THE_ARCHIVE,
                at=timestamp_text(),
            )


def words(change: Change, state: DayState) -> str:
    """A change as a warning for people; `state` is the one before it."""
    known = state.objects.get(change.object)
    if isinstance(change, Unskip):
        return f"{change.key} holds the bytes again that it held before; object {change.object} goes on"
    unsent = known.counts().pending if known else 0
    if isinstance(change, Superseded):
        withdrawn = f"; {unsent:,} events of the old one that were not sent are withdrawn" if unsent else ""
        return f"{change.key} was overwritten after it was listed: object {change.replaced_by} replaces it{withdrawn}"
    if known is not None and known.done is None and known.resent:
        return (
            f"{change.key} was deleted before it was done again: PostHog keeps its {known.resent:,} events as they are"
        )
    if known is None or known.done is None:
        return f"{change.key} was deleted after it was listed, and was never read: its events are not loaded"
    return f"{change.key} was deleted after it was read: what was made of it stays, {unsent:,} events are still to send"
