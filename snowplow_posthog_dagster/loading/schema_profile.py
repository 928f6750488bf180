"""What a day's events look like, and what is new, gone or of another type since the days before.

    batches of the day, a few of every hour ──> SchemaProfile ──> the file of the finished day
                                                     │
                          files of the days before ──┴──> Drift

Batches are what was sent, and up to 2,000 events lie in one object, so a few batches show more with fewer requests
than the reconciliation's sample (half an event per file of a large archive). It is one batch in twenty, but as many as
make 3,000 events, and 8 of an hour at most; which ones is decided by their digests: the same at every run, however the
day grows. Of each, 125 events of the first MiB are looked at, evenly spread: 24,000 a day at most, and all of a small
day. Batches are purged when a day is reconciled; its profile stays in its file, names and types only and no value, and
a later look adds to it.
"""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import msgspec
import orjson
from isal import isal_zlib

from snowplow_posthog_dagster.errors import GoneObjectError, WorkspaceError
from snowplow_posthog_dagster.posthog.batches import SEPARATOR, Run, run_of
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.workspace import Workspace

BATCHES_PER_HOUR = 8
FEWEST_EVENTS = 3_000
"""One batch of every hour; 0.12 s of CPU for events of 3.7 KB."""
_ONE_BATCH_IN = 20
_LOOKED_AT_BYTES = 1024 * 1024
EVENTS_PER_BATCH = 125
MOST_NAMES = 2_000
"""A mapping that makes event names or properties of values has any number of them; the most frequent are kept."""
EXPECTED = 10.0
"""A property has gone when so many events should have had it: by chance that happens once in 22,000 (e^-10)."""

_ENTITIES = ("contexts_", "unstruct_event_")
_READERS = 16
_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


class SchemaProfile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen in so many events: event names, and per property (fields of entities as `entity.field`) its types.

    Numbers are events. A property whose value is null is as good as none.
    """

    events: int = 0
    names: dict[str, int] = {}
    types: dict[str, dict[str, int]] = {}

    def seen(self, path: str) -> int:
        """In how many events a property was, of whatever type."""
        return sum(self.types.get(path, {}).values())


def profile_of_events(events: Iterable[bytes]) -> SchemaProfile:
    """The profile of events as they are sent."""
    number = 0
    names: defaultdict[str, int] = defaultdict(int)
    seen: defaultdict[tuple[str, type], int] = defaultdict(int)
    for line in events:
        event = orjson.loads(line)
        number += 1
        names[event["event"]] += 1
        for name, value in event["properties"].items():
            seen[name, type(value)] += 1
            if name.startswith(_ENTITIES):
                for place in set(_fields(name, value)):
                    seen[place] += 1
    types: dict[str, dict[str, int]] = {}
    for (path, kind), count in seen.items():
        if kind is not NoneType:
            kinds = types.setdefault(path, {})
            kinds[_TYPES[kind]] = kinds.get(_TYPES[kind], 0) + count
    return SchemaProfile(number, dict(names), types)


def _fields(name: str, value: Any) -> Iterator[tuple[str, type]]:
    """The fields of an entity, or of a list of them, with their types."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield from ((f"{name}.{key}", type(one)) for key, one in item.items())


def merged(profiles: Iterable[SchemaProfile]) -> SchemaProfile:
    """The profile of all their events together, its rarest names left out when there are too many."""
    number = 0
    names: defaultdict[str, int] = defaultdict(int)
    types: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for profile in profiles:
        number += profile.events
        for name, count in profile.names.items():
            names[name] += count
        for path, kinds in profile.types.items():
            for kind, count in kinds.items():
                types[path][kind] += count
    kept = sorted(names, key=lambda name: (-names[name], name))[:MOST_NAMES]
    paths = sorted(types, key=lambda path: (-sum(types[path].values()), path))[:MOST_NAMES]
    return SchemaProfile(
        number, {name: names[name] for name in sorted(kept)}, {path: dict(types[path]) for path in sorted(paths)}
    )


# -- reading ----------------------------------------------------------------------------------------------


def schema_of(workspace: Workspace, day: dt.date, state: DayState, before: SchemaProfile | None) -> SchemaProfile:
    """The profile of a day's batches; what was purged of them is in the profile that was stored `before`.

    A batch that is damaged is as good as purged: delivery says so loudly. Raises what reading the workspace raises.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda place: _read(workspace, day, *place), _chosen(state)))
    gone = any(one is None for one in found)
    return merged([*([before] if before and gone else []), *(one for one in found if one is not None)])


def _chosen(state: DayState) -> list[tuple[str, str]]:
    """Object and batch of the first batches of every hour, by digest; the hours take turns until there are enough."""
    by_hour: defaultdict[int | None, list[tuple[str, str, int]]] = defaultdict(list)
    for known in state.objects.values():
        by_hour[known.hour] += [(name, known.object_id, one.note.events) for name, one in known.batches.items()]
    enough = max(FEWEST_EVENTS, sum(map(len, by_hour.values())) // _ONE_BATCH_IN * EVENTS_PER_BATCH)
    ranked = sorted(
        (turn, *batch)
        for hour, batches in by_hour.items()
        for turn, batch in enumerate(sorted(batches)[: BATCHES_PER_HOUR * (24 if hour is None else 1)])
    )
    chosen, events = [], 0
    for _, batch, object_id, number in ranked:
        if events >= enough:
            break
        chosen.append((object_id, batch))
        events += min(number, EVENTS_PER_BATCH)
    return chosen


def _read(workspace: Workspace, day: dt.date, object_id: str, batch: str) -> SchemaProfile | None:
    key = workspace.batch_key(day, object_id, batch)
    try:
        events = _first_events(run_of(workspace.bucket.get(key), name=key))
    except (GoneObjectError, WorkspaceError):
        return None
    return profile_of_events(events[:: max(1, math.ceil(len(events) / EVENTS_PER_BATCH))])


def _first_events(run: Run) -> list[bytes]:
    """The events of a run that lie whole in its first MiB; an event has less."""
    raw = isal_zlib.decompressobj(-15).decompress(run.compressed, _LOOKED_AT_BYTES)
    events = raw.split(SEPARATOR)
    return events if len(raw) == run.raw_bytes else events[:-1]


# -- comparing --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drift:
    """What changed, in words per kind; `events` were looked at, and `days` were compared with."""

    events: int = 0
    days: int = 0
    new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


def drift(
    today: SchemaProfile, earlier: Sequence[SchemaProfile], *, new_share: float, usual_share: float, over: bool
) -> Drift:
    """What is new, gone or changed in a day's profile against those of earlier days.

    New names and types count from `new_share` of the events on, at least one. A property has gone when each earlier
    day had it in at least `usual_share` of its events; that is judged only when the day is `over`.
    """
    past = merged(earlier)
    if not earlier or not today.events:
        return Drift(today.events, len(earlier))
    least = max(1, math.ceil(new_share * today.events))
    return Drift(
        events=today.events,
        days=len(earlier),
        new=_new(today, past, least),
        gone=_gone(today, earlier, usual_share) if over else [],
        changed=_changed(today, past, least),
    )


def _new(today: SchemaProfile, past: SchemaProfile, least: int) -> list[str]:
    names = [
        f"event {name!r} ({count:,})"
        for name, count in today.names.items()
        if name not in past.names and count >= least
    ]
    entities = [
        f"entity {path} ({today.seen(path):,})"
        for path in today.types
        if _is_entity(path) and path not in past.types and today.seen(path) >= least
    ]
    return names + entities


def _is_entity(path: str) -> bool:
    return path.startswith(_ENTITIES) and "." not in path


def _gone(today: SchemaProfile, earlier: Sequence[SchemaProfile], usual_share: float) -> list[str]:
    found: list[str] = []
    filled = [one for one in earlier if one.events]  # a day without events says nothing of what is usual
    for path in filled[0].types if filled else ():
        shares = [one.seen(path) / one.events for one in filled]
        parent = path.partition(".")[0] if path.startswith(_ENTITIES) else path
        if path not in today.types and (path == parent or parent in today.types):
            usual = min(shares)
            if usual >= usual_share and usual * today.events >= EXPECTED:
                found.append(f"{path} (in {usual:.0%} of the events before)")
    return found


def _changed(today: SchemaProfile, past: SchemaProfile, least: int) -> list[str]:
    found = []
    for path, kinds in today.types.items():
        before = past.types.get(path)
        other = {kind: count for kind, count in kinds.items() if before and kind not in before and count >= least}
        if before and other:
            now = ", ".join(f"{kind} ({count:,})" for kind, count in other.items())
            found.append(f"{path} ({'/'.join(sorted(before))} before, now {now})")
    return found
