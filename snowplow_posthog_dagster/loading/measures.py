"""What the logs say in numbers, day by day: the one source of metrics, of the load report and of its picture.

    segments of a day ──closed? its file says so──> DayMeasure
                      └─else──> entries ──measured──> DayMeasure

A finished day's file holds its measure beside the names of the segments that it was taken from. So a month costs one
LIST of the logs and one small GET a day, and only the days that are being worked on have their log read (2 s for one
of 22,000 objects). What is remembered is known by the segments' names, which change with every entry.

Of a day two kinds of numbers are kept. `hours` are the counting equation of now, as `status` shows it. The others are
sums over log entries, which are only ever added: they never fall, also when an operator asks for a day again.
"""

import datetime as dt
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from snowplow_posthog_dagster.loading.schema_profile import SchemaProfile, schema_of
from snowplow_posthog_dagster.storage.counts import NUMBERS, Counts
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import Done, Entry, Forget, Posted
from snowplow_posthog_dagster.storage.state import DayState, fold
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

WHOLE_DAY = "day"
"""The name of the only hour of a layout without hours."""

_READERS = 16
LOGS_KEPT = 3
"""Of the days that changed last, so that only what is new is read; one of 22,000 objects takes 100 MB."""
_DAY = re.compile(r"dt=(\d{4}-\d\d-\d\d)/")


class DayMeasure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A day in numbers. `hours` are the numbers of `Counts` by hour ("00" to "23", or "day"), zeros left out.

    `left` are the objects by hour that were loaded or skipped, and that the archive no longer has.

    `transformed` and `acknowledged` are events ever, `reasons` dead letters ever made, `statuses` answers of PostHog
    by HTTP status; `newest_arrival` is the newest collector time, in milliseconds, of an object of which nothing is
    left to send; `agreed` tells that PostHog agreed and nothing has worked on the day since; `last_rate` the events
    per second of the last delivery that sent any; times are UTC text.
    """

    hours: dict[str, dict[str, int]] = {}
    left: dict[str, int] = {}
    transformed: int = 0
    archive_bytes: int = 0
    acknowledged: int = 0
    bytes_sent: int = 0
    posts: int = 0
    retries: int = 0
    refused: int = 0
    statuses: dict[str, int] = {}
    reasons: dict[str, int] = {}
    newest_arrival: int | None = None
    last_rate: float | None = None
    last_delivery: str = ""
    last_run: str = ""
    reconciled: str = ""
    agreed: bool = False
    unaccounted: int = 0

    @property
    def counts(self) -> Counts:
        """The counting equation of the day, without the sums by rule and reason."""
        return Counts.total(map(_counts, self.hours.values()))

    def hour(self, name: str) -> Counts:
        """The counting equation of one hour."""
        return _counts(self.hours.get(name, {}))

    @property
    def last_acknowledged_hour(self) -> int | None:
        """The newest hour of which anything was acknowledged, 0 for a day without hours; None when nothing was."""
        hours = [name for name, numbers in self.hours.items() if numbers.get("acknowledged")]
        return max((0 if name == WHOLE_DAY else int(name) for name in hours), default=None)


def measured(entries: Sequence[Entry], state: DayState) -> DayMeasure:
    """The numbers of a day, from its log entries and the state that they mean."""
    by_hour: defaultdict[str, list[Counts]] = defaultdict(list)
    left: Counter[str] = Counter()
    for known in state.objects.values():
        hour = WHOLE_DAY if known.hour is None else f"{known.hour:02d}"
        by_hour[hour].append(known.counts())
        if known.status in {"done", "skipped"} and (known.gone or known.superseded):
            left[hour] += 1
    # Whoever forgets people writes results anew without reading a record: those count no second time.
    rewritten = {(entry.object, entry.revision) for entry in entries if isinstance(entry, Forget)}
    results = (entry for entry in entries if isinstance(entry, Done))
    done = [entry for entry in results if (entry.object, entry.revision) not in rewritten]
    posted = [entry for entry in entries if isinstance(entry, Posted)]
    counts = state.counts()
    sent = [entry for entry in state.posted if entry.events]
    return DayMeasure(
        hours={name: _numbers(Counts.total(parts)) for name, parts in sorted(by_hour.items())},
        left=dict(sorted(left.items())),
        transformed=sum(entry.records for entry in done),
        archive_bytes=sum(entry.bytes for entry in done),
        acknowledged=counts.acknowledged + counts.resent,
        bytes_sent=sum(entry.bytes for entry in posted),
        posts=sum(entry.posts for entry in posted),
        retries=sum(entry.retries for entry in posted),
        refused=sum(entry.refused for entry in posted),
        statuses=_summed(entry.statuses for entry in posted),
        reasons=_summed(_reasons(entry) for entry in done),
        newest_arrival=max(_arrivals_sent(state), default=None),
        last_rate=_rate(sent[-1]) if sent else None,
        last_delivery=sent[-1].ended if sent else "",
        last_run=state.last_run(),
        reconciled=state.reconciled[-1].result if state.reconciled else "",
        agreed=state.agreed,
        unaccounted=len(state.problems()),
    )


def _numbers(counts: Counts) -> dict[str, int]:
    return {name: number for name in NUMBERS if (number := getattr(counts, name))}


def _counts(numbers: Mapping[str, int]) -> Counts:
    values: dict[str, Any] = dict(numbers)
    return Counts(**values)


def _reasons(entry: Done) -> Mapping[str, int]:
    """An entry of a release that did not note reasons still counts its dead letters."""
    return entry.reasons or ({"unknown": entry.dead_letters} if entry.dead_letters else {})


def _summed(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))


def _arrivals_sent(state: DayState) -> Iterable[int]:
    for known in state.objects.values():
        unsent = known.deliverable or known.counts().withdrawn
        if known.done and known.done.newest_arrival and not unsent:
            yield known.done.newest_arrival


def _rate(posted: Posted) -> float:
    """Events per second of one delivery; its times are whole seconds."""
    started, ended = dt.datetime.fromisoformat(posted.started), dt.datetime.fromisoformat(posted.ended)
    return round(posted.events / max(1.0, (ended - started).total_seconds()), 1)


# -- the file of a finished day ---------------------------------------------------------------------------


class DayFile(msgspec.Struct, frozen=True, kw_only=True):
    """What is written when a day is complete. Files of earlier releases have no segments, measure and schema."""

    complete: bool
    objects: int = 0
    records: int = 0
    mapped: int = 0
    acknowledged: int = 0
    at: str = ""
    segments: list[str] = []
    measure: DayMeasure | None = None
    schema: SchemaProfile | None = None


def day_file(
    objects: int, segments: Iterable[str], entries: Sequence[Entry], state: DayState, schema: SchemaProfile
) -> bytes:
    """The file of a finished day with so many archive objects, as its log and its events are now."""
    counts = state.counts()
    content = DayFile(
        complete=True,
        objects=objects,
        records=counts.records,
        mapped=counts.mapped,
        acknowledged=counts.acknowledged,
        at=timestamp_text(),
        segments=segment_names(segments),
        measure=measured(entries, state),
        schema=schema,
    )
    return msgspec.json.encode(content)


def segment_names(keys: Iterable[str]) -> list[str]:
    """The names of segments without their folder, sorted."""
    return sorted(key.rsplit("/", 1)[-1] for key in keys)


def newest_day_file(workspace: Workspace, day: dt.date) -> DayFile | None:
    """The last file that was written when the day was complete, whatever came after it."""
    closed = list(workspace.bucket.listing(workspace.folder("days", day)))
    if not closed:
        return None
    newest = max(closed, key=lambda listed: listed.modified)
    return day_file_of(workspace.bucket.get(newest.key))


def day_file_of(data: bytes) -> DayFile | None:
    """What such a file says; None for a damaged one, which is as good as none: the log says it all, and more slowly."""
    try:
        return msgspec.json.decode(data, type=DayFile)
    except msgspec.MsgspecError:
        return None


def schema_now(workspace: Workspace, day: dt.date, state: DayState) -> SchemaProfile:
    """What the day's events look like now; of purged batches what its last file says."""
    before = newest_day_file(workspace, day)
    return schema_of(workspace, day, state, before.schema if before else None)


# -- reading ----------------------------------------------------------------------------------------------


class Measures:
    """The measures of one target's days, remembered for the life of the process. Safe for several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[dt.date, tuple[list[str], DayMeasure]] = {}
        self._logs: dict[dt.date, DayLog] = {}
        self._reading = threading.Lock()
        # One log after the other: several at once take no less time, and each its memory.
        self._one_log = threading.Lock()

    def days(
        self, first: dt.date = dt.date.min, last: dt.date = dt.date.max, *, seconds: float | None = None
    ) -> dict[dt.date, DayMeasure | None]:
        """The days that have a log, oldest first; None for one that could not be read within so many seconds.

        Raises what reading the workspace raises.
        """
        until = None if seconds is None else time.monotonic() + seconds
        with self._reading:
            segments = self._segments(first, last)
            newest_first = sorted(segments, reverse=True)
            with ThreadPoolExecutor(_READERS) as pool:
                found = pool.map(lambda day: self._measure(day, segments[day], until), newest_first)
                return dict(sorted(zip(newest_first, found, strict=True)))

    def logged(self) -> list[dt.date]:
        """The days that have a log, oldest first: one LIST."""
        return sorted(self._segments(dt.date.min, dt.date.max))

    def _segments(self, first: dt.date, last: dt.date) -> dict[dt.date, list[str]]:
        """The names of the segments by day, from one LIST."""
        keys: defaultdict[dt.date, list[str]] = defaultdict(list)
        for listed in self._workspace.bucket.listing(self._workspace.folder("log")):
            match = _DAY.search(listed.key)
            if match and first <= (day := dt.date.fromisoformat(match.group(1))) <= last:
                keys[day].append(listed.key)
        return {day: segment_names(names) for day, names in keys.items()}

    def _measure(self, day: dt.date, segments: list[str], until: float | None) -> DayMeasure | None:
        known = self._known.get(day)
        if known and known[0] == segments:
            return known[1]
        file = newest_day_file(self._workspace, day)
        if file and file.measure and file.segments == segments:
            self._known[day] = segments, file.measure
            return file.measure
        with self._one_log:
            if until is not None and time.monotonic() > until:
                return None
            return self._read(day)

    def _read(self, day: dt.date) -> DayMeasure:
        log = self._logs.pop(day, None) or DayLog(self._workspace, day)
        names, entries = log.snapshot()
        self._logs[day] = log
        while len(self._logs) > LOGS_KEPT:
            del self._logs[next(iter(self._logs))]
        measure = measured(entries, fold(entries))
        self._known[day] = segment_names(names), measure
        return measure
