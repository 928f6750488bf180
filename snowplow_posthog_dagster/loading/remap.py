"""Days done again under the settings of today, asked for by an operator, per partition.

    object that another mapping made --Remap, a revision higher--> pending --next run--> transformed and sent again

While the identity version is the same, PostHog replaces every event in place: uuid, event, distinct_id and day are
the same, and the later copy wins. With another identity version it keeps both, so that is refused unless forced; a
new project is the better way. PostHog bills what is sent again, and it keeps events that the new settings filter out:
the dry run counts both by reading the archive. An archive that no longer has an object cannot remap it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from snowplow_posthog_dagster.errors import GoneObjectError, SettingsError
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.presence import unusable_objects
from snowplow_posthog_dagster.loading.sources import source_for
from snowplow_posthog_dagster.loading.transform import DEFAULT_REPEAT_WINDOW, RepeatWindow
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.posthog.batches import events_of, run_of
from snowplow_posthog_dagster.snowplow.record import Record
from snowplow_posthog_dagster.storage.entries import Remap
from snowplow_posthog_dagster.storage.state import ObjectState, next_revision
from snowplow_posthog_dagster.storage.workspace import timestamp_text

UNCHANGED, IN_PLACE, TWINS = "unchanged", "replaced in place", "twins"
_UUID_START = b'"uuid":"'
_UUID_LENGTH = 36
_NAMED = 5


@dataclass
class RemapPlan:
    """What a remap of one day means.

    `objects` counts objects by what becomes of their events: unchanged, replaced in place, twins. `acknowledged`
    events of the objects to be done again are in PostHog; `with_twins` of them would stay beside another one.
    After `measure`: `billed_again` events would be sent, and `staying` of the acknowledged ones would not, so that
    PostHog keeps those as they are.
    """

    objects: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    with_twins: int = 0
    missing: list[str] = field(default_factory=list)
    chosen: list[ObjectState] = field(default_factory=list)
    measured: bool = False
    billed_again: int = 0
    staying: int = 0
    staying_unknown: int = 0
    filtered: Counter[str] = field(default_factory=Counter)

    @property
    def makes_twins(self) -> bool:
        """Whether PostHog would keep old and new events side by side."""
        return self.with_twins > 0

    @property
    def outcome(self) -> str:
        """In one word what the day's events become."""
        if self.objects[TWINS]:
            return TWINS
        return IN_PLACE if self.chosen else UNCHANGED


def plan(load: DayLoad, mapper: Mapper, *, again: bool = False, damaged: bool = False) -> RemapPlan:
    """Which objects of the day another mapping made, from the log and the listing; reads no data.

    With `again` also those that this very mapping made: a day of which PostHog lost what it had acknowledged. With
    `damaged` only those, whatever made them, of which a batch that is still to be sent is missing or damaged; all
    such batches are read.
    """
    made = RemapPlan()
    listed = {found.object_id for found in load.archive.list_day(load.day)}
    state = load.log.state()
    unusable = unusable_objects(load.workspace, load.day, state) if damaged else set()
    for known in state.objects.values():
        done = known.done
        if known.status != "done" or done is None:
            continue
        wanted = known.object_id in unusable if damaged else again or done.mapping_version != mapper.mapping_version
        if not wanted:
            made.objects[UNCHANGED] += 1
            continue
        in_place = done.identity_version == mapper.identity_version
        made.objects[IN_PLACE if in_place else TWINS] += 1
        made.chosen.append(known)
        made.acknowledged += known.counts().acknowledged
        made.with_twins += 0 if in_place else known.counts().acknowledged
        if known.object_id not in listed:
            made.missing.append(known.key)
    return made


def measure(
    load: DayLoad,
    mapper: Mapper,
    made: RemapPlan,
    *,
    max_record_bytes: int,
    max_object_bytes: int,
    repeat_window: int = DEFAULT_REPEAT_WINDOW,
) -> None:
    """Read the objects to be done again and count what would be sent, and what of PostHog's would stay as it is.

    Raises ObjectError for an object that cannot be read.
    """
    listing = {found.object_id: found for found in load.archive.list_day(load.day)}
    for known in made.chosen:
        found = listing.get(known.object_id)
        if found is None:
            continue
        source = source_for(found.source, mapper, found.object_id, f"{load.day}", max_record_bytes)
        sent: set[str] = set()
        repeats = RepeatWindow(repeat_window)
        for record in source.records(load.archive.read(found, max_bytes=max_object_bytes)):
            if isinstance(record, Record) and repeats.seen(record.raw):
                continue
            outcome = source.event(record) if isinstance(record, Record) else record
            if isinstance(outcome, Mapped):
                made.billed_again += 1
                sent.add(outcome.uuid)
            elif isinstance(outcome, Filtered):
                made.filtered[outcome.rule] += 1
        _count_staying(load, known, sent, made)
    made.measured = True


def _count_staying(load: DayLoad, known: ObjectState, sent: set[str], made: RemapPlan) -> None:
    try:
        made.staying += sum(uuid not in sent for uuid in _acknowledged_uuids(load, known))
    except GoneObjectError:
        # Housekeeping took the batches of a closed day: what was sent is known by number only.
        made.staying_unknown += known.counts().acknowledged


def _acknowledged_uuids(load: DayLoad, known: ObjectState) -> Iterator[str]:
    """The uuids of the object's events that PostHog has, from its batches. Raises GoneObjectError."""
    for batch in known.batches.values():
        if not batch.acknowledged:
            continue
        key = load.workspace.batch_key(load.day, known.object_id, batch.note.id)
        events = events_of(run_of(load.workspace.bucket.get(key), name=key))
        for position in batch.acknowledged.positions():
            yield uuid_of(events[position])


def uuid_of(event: bytes) -> str:
    """The uuid of an event's JSON, which begins with it."""
    start = event.index(_UUID_START) + len(_UUID_START)
    return event[start : start + _UUID_LENGTH].decode()


def remap(load: DayLoad, made: RemapPlan, *, by: str, force: bool) -> int:
    """Write the entries that make the planned objects pending again; returns how many. The caller holds the lease.

    Raises SettingsError when PostHog would keep both versions of the events and `force` is not set, and when the
    archive no longer has one of the objects.
    """
    if made.missing:
        names = ", ".join(made.missing[:_NAMED])
        more = f" and {len(made.missing) - _NAMED:,} more" if len(made.missing) > _NAMED else ""
        raise SettingsError(f"{load.day} cannot be remapped: the archive no longer has {names}{more}")
    if made.makes_twins and not force:
        raise SettingsError(
            f"{load.day} cannot be remapped in place: the settings give {made.objects[TWINS]:,} objects another"
            f" identity (uuid, event, distinct_id or timestamp), and PostHog would keep {made.with_twins:,} events"
            " beside their twins. Load into a new project instead, or add --force"
        )
    at = timestamp_text()
    entries = [
        Remap(object=known.object_id, revision=next_revision(known), key=known.key, by=by, at=at)
        for known in made.chosen
    ]
    if entries:
        load.log.write(entries, writer=f"{load.writer}-remap")
    return len(entries)
