"""What the archive has that the day logs do not show as done, one bounded look at a time.

    current and previous hour, whole ──┐
    a slice of the look-back ──────────┼─> listed objects ──(day log)──> Sight: what waits, per day
    what earlier looks found waiting ──┘

A look costs one LIST per hour and one LIST per day log; segments are immutable, so only unseen ones are read and
the summary of a day is kept as long as its segments are the same. Of a day's log only a summary is kept (2 MB for
22,000 objects; the parsed entries would be 60 MB), except for the newest day, whose log grows at every look.

Names, streams and numbering of the files do not matter: an hour is listed whole by its folder, and an object is
known by its id, which changes when it is overwritten.
"""

import datetime as dt
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from snowplow_posthog_dagster.loading.day import needs_transform
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveObject
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.state import DayState, fold
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

SENSOR_START = "sensor-start"
_LISTERS = 12
_LOOK_SECONDS = 4.0
"""After so long nothing new is begun: no log of an older day is read for the first time (2 s for 22,000 objects),
no further hour is looked back at. The next look goes on there, so a tick stays far below Dagster's limit of 60 s."""

_FROZEN_SECONDS = 3600.0
"""So long an object in Glacier is taken for frozen without asking S3 again: each tick would ask for each of them."""

Hour = tuple[dt.date, int | None]


@dataclass(frozen=True)
class DaySummary:
    """What the log of a day says, as far as the sensor needs it.

    `final` are objects that need no transform; `retries` broken ones with the time of their next try; `hours` the
    objects and bytes that were transformed, by hour.
    """

    segments: tuple[str, ...] = ()
    final: frozenset[str] = frozenset()
    retries: Mapping[str, str] = field(default_factory=dict)
    unsent: int = 0
    acknowledged: int = 0
    hours: Mapping[int | None, tuple[int, int]] = field(default_factory=dict)

    def needs(self, found: ArchiveObject, now: str) -> bool:
        """Whether a listed object must be transformed now."""
        if found.object_id in self.retries:
            return self.retries[found.object_id] <= now
        return found.object_id not in self.final


@dataclass
class HourSeen:
    """The last listing of an hour; of the objects only those are kept that waited then (55 MB less over five days)."""

    files: int
    bytes: int
    waiting: list[ArchiveObject]


@dataclass(frozen=True)
class DaySight:
    """A day as this look saw it: what waits there, and how many objects and bytes are known of it.

    `oldest` and `newest` are S3's LastModified of what waits, in seconds since 1970; None when nothing does.
    `hours` have files, `empty_hours` were listed and have none; an hour that was not listed yet is neither.
    """

    day: dt.date
    waiting: int
    unsent: int
    retried_later: int
    oldest: float | None
    newest: float | None
    files: int
    bytes: int
    hours: frozenset[int]
    empty_hours: frozenset[int]

    @property
    def newest_hour(self) -> int | None:
        """The last hour with files."""
        return max(self.hours, default=None)

    @property
    def has_work(self) -> bool:
        """Whether a run would find something to do."""
        return bool(self.waiting or self.unsent)


@dataclass(frozen=True)
class Sight:
    """One look: the days, what was listed, the days that need a backfill, and where the round goes on."""

    days: tuple[DaySight, ...]
    listed_objects: int
    listed_hours: tuple[str, ...]
    looked_back: tuple[str, ...]
    never_loaded: tuple[dt.date, ...]
    look_back_next: str


class ArchiveWatch:
    """Looks at one archive for one target. Kept for the life of the process; hold `lock` around `look`.

    With `skips_frozen` what lies in Glacier does not wait until it is restored: a run would leave it out.
    """

    def __init__(
        self,
        archive: Archive,
        workspace: Workspace,
        *,
        skips_frozen: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive = archive
        self._workspace = workspace
        self._skips_frozen = skips_frozen
        self._frozen_until: dict[str, float] = {}
        self._clock = clock
        self._logs: dict[dt.date, DayLog] = {}
        self._summaries: dict[dt.date, DaySummary] = {}
        self._seen: dict[dt.date, dict[int | None, HourSeen]] = {}
        self._closed: set[dt.date] = set()
        self.lock = threading.Lock()

    def first_start(self, now: dt.datetime) -> dt.datetime:
        """When the sensor of this target first ran; written down at the first call."""
        starts = [entry["at"] for entry in self._workspace.control_entries() if entry["kind"] == SENSOR_START]
        if not starts:
            self._workspace.append_control({"kind": SENSOR_START, "at": timestamp_text(now)})
            return now
        return dt.datetime.fromisoformat(min(starts))

    def look(
        self,
        now: dt.datetime,
        *,
        look_back_days: int,
        look_back_hours: int,
        look_back_next: str,
        first_day: dt.date,
        last_day: dt.date | None,
        started: dt.datetime,
    ) -> Sight:
        """Look at the current and the previous hour, at a slice of the look-back, and at what waited before.

        `first_day` and `last_day` are the partitions' bounds. Raises what the archive and the workspace raise.
        """
        deadline = self._clock() + _LOOK_SECONDS
        today = now.date()
        days = [today - dt.timedelta(days=back) for back in range(look_back_days, -1, -1)]
        days = [day for day in days if day >= first_day and (last_day is None or day <= last_day)]
        self._forget_all_but(days)
        live = [day for day in days if day >= min(today, started.date())]
        fresh = self._fresh_hours(now, live)
        self._list(fresh, now)
        loaded = {day: self._was_loaded(day, deadline) for day in reversed(days) if day not in live}
        welcome = [day for day in days if day in live or loaded[day]]
        fresh_too = [hour for hour in self._fresh_hours(now, welcome) if hour not in fresh]
        self._list(fresh_too, now)
        fresh = [*fresh_too, *fresh]
        slice_, following = self._slice(self._older_hours(welcome, fresh, now), look_back_next, look_back_hours)
        looked = self._list_until(slice_, now, deadline)
        if len(looked) < len(slice_):
            following = _hour_text(slice_[len(looked)])
        return Sight(
            days=tuple(self._sight(day, now) for day in welcome if day in self._seen),
            listed_objects=sum(self._seen[day][hour].files for day, hour in [*fresh, *looked]),
            listed_hours=tuple(map(_hour_text, fresh)),
            looked_back=tuple(map(_hour_text, looked)),
            never_loaded=tuple(day for day in days if loaded.get(day) is False),
            look_back_next=following,
        )

    def still_empty(self, day: dt.date, hours: list[int], now: dt.datetime) -> list[int]:
        """Which of the hours have no file now: the last listing of an older hour may be a round of ticks old.

        What has come meanwhile waits for the next look.
        """
        self._list([(day, hour) for hour in hours], now)
        return [hour for hour in hours if not self._seen[day][hour].files]

    def _forget_all_but(self, days: Iterable[dt.date]) -> None:
        kept = set(days)
        self._logs = {day: log for day, log in self._logs.items() if day in kept}
        self._summaries = {day: summary for day, summary in self._summaries.items() if day in kept}
        self._seen = {day: hours for day, hours in self._seen.items() if day in kept}

    def _was_loaded(self, day: dt.date, deadline: float) -> bool | None:
        """Whether this target was given the day before: it was closed once, or PostHog acknowledged events of it.

        None when that is not known yet, because there was no time to read the day's log.
        """
        if day in self._closed:
            return True
        if any(True for _ in self._workspace.bucket.listing(self._workspace.folder("days", day))):
            self._closed.add(day)
            return True
        if day not in self._summaries and self._clock() > deadline:
            return None
        return bool(self._summary(day).acknowledged)

    # -- listing ------------------------------------------------------------------------------------------

    def _fresh_hours(self, now: dt.datetime, days: list[dt.date]) -> list[Hour]:
        """The current and the previous hour, as far as their days are watched."""
        moments = [now - dt.timedelta(hours=1), now]
        hours = [self._hour(moment.date(), moment.hour) for moment in moments if moment.date() in days]
        return list(dict.fromkeys(hours))

    def _hour(self, day: dt.date, hour: int) -> Hour:
        return day, hour if self._archive.entry_for(day).hourly else None

    def _older_hours(self, days: list[dt.date], fresh: list[Hour], now: dt.datetime) -> list[Hour]:
        """Every other hour of the watched days that has begun, oldest first."""
        found = []
        for day in days:
            last = now.hour if day == now.date() else 23
            found += [self._hour(day, hour) for hour in range(last + 1)]
        return [hour for hour in dict.fromkeys(found) if hour not in fresh]

    @staticmethod
    def _slice(hours: list[Hour], following: str, size: int) -> tuple[list[Hour], str]:
        """The next `size` hours of the round, and where the one after begins."""
        start = next((place for place, hour in enumerate(hours) if _hour_text(hour) >= following), 0)
        chosen = hours[start : start + size]
        after = start + size
        return chosen, _hour_text(hours[after]) if after < len(hours) else ""

    def _list(self, hours: list[Hour], now: dt.datetime) -> None:
        """List hours at once and keep what waits in them."""
        with ThreadPoolExecutor(_LISTERS) as pool:
            listings = list(pool.map(self._list_hour, hours))
        summaries = {day: self._summary(day) for day in {day for day, _ in hours}}
        text = timestamp_text(now)
        for (day, hour), listing in zip(hours, listings, strict=True):
            waiting = self._readable([found for found in listing if summaries[day].needs(found, text)])
            seen = HourSeen(len(listing), sum(found.size for found in listing), waiting)
            self._seen.setdefault(day, {})[hour] = seen

    def _readable(self, waiting: list[ArchiveObject]) -> list[ArchiveObject]:
        """Without what is frozen and left out by runs; each such object is looked up once an hour."""
        if not self._skips_frozen:
            return waiting
        now = self._clock()
        self._frozen_until = {name: until for name, until in self._frozen_until.items() if until > now}
        unknown = [found for found in waiting if found.object_id not in self._frozen_until]
        for found in self._archive.unreadable(unknown):
            self._frozen_until[found.object_id] = now + _FROZEN_SECONDS
        return [found for found in waiting if found.object_id not in self._frozen_until]

    def _list_hour(self, hour: Hour) -> list[ArchiveObject]:
        day, number = hour
        return self._archive.list_day(day, None if number is None else [number])

    def _list_until(self, hours: list[Hour], now: dt.datetime, deadline: float) -> list[Hour]:
        """List as many of the hours as the time allows, day by day; a day whose log is known is always listed."""
        done: list[Hour] = []
        for day, group in itertools.groupby(hours, key=lambda hour: hour[0]):
            if self._clock() > deadline and (done or day not in self._summaries):
                break
            chosen = list(group)
            self._list(chosen, now)
            done += chosen
        return done

    # -- logs ---------------------------------------------------------------------------------------------

    def _summary(self, day: dt.date) -> DaySummary:
        log = self._logs.get(day) or DayLog(self._workspace, day)
        known = self._summaries.get(day)
        if known and known.segments == tuple(log.segment_names()):
            return known
        names, entries = log.snapshot()
        summary = _summarised(tuple(names), fold(entries))
        self._summaries[day] = summary
        newest = max(self._summaries)
        self._logs = {newest: log} if day == newest else self._logs
        return summary

    def _sight(self, day: dt.date, now: dt.datetime) -> DaySight:
        summary = self._summary(day)
        seen = self._seen[day]
        text = timestamp_text(now)
        waiting = [found for hour in seen.values() for found in hour.waiting if summary.needs(found, text)]
        sizes = {**summary.hours, **{hour: (one.files, one.bytes) for hour, one in seen.items()}}
        with_files = frozenset(hour for hour, (files, _) in sizes.items() if files and hour is not None)
        moments = [found.modified for found in waiting]
        return DaySight(
            day=day,
            waiting=len(waiting),
            unsent=summary.unsent,
            retried_later=sum(at > text for at in summary.retries.values()),
            oldest=min(moments, default=None),
            newest=max(moments, default=None),
            files=sum(files for files, _ in sizes.values()),
            bytes=sum(size for _, size in sizes.values()),
            hours=with_files,
            empty_hours=frozenset(hour for hour in seen if hour is not None) - with_files - summary.hours.keys(),
        )


def _summarised(segments: tuple[str, ...], state: DayState) -> DaySummary:
    counts = state.counts()
    hours: dict[int | None, tuple[int, int]] = {}
    for known in state.objects.values():
        if known.done:
            files, size = hours.get(known.hour, (0, 0))
            hours[known.hour] = files + 1, size + known.done.bytes
    return DaySummary(
        segments=segments,
        final=frozenset(name for name, known in state.objects.items() if not needs_transform(known, "")),
        retries={name: known.next_try for name, known in state.objects.items() if known.status == "broken"},
        unsent=counts.pending,
        acknowledged=counts.acknowledged,
        hours=hours,
    )


def _hour_text(hour: Hour) -> str:
    day, number = hour
    return f"{day}" if number is None else f"{day}T{number:02d}"
