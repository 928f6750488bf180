"""What a backfill would be, before it is started: events, money, S3 requests, workspace, cores, hours.

    listings of all days  +  a few archive objects, read and mapped  --scaled by stored bytes-->  Estimate

The objects that are read lie evenly over the range by size of the archive, so that a change of traffic or of the
page-ping policy over the years counts by its weight. Nothing is sent and nothing is written.
"""

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson

from snowplow_posthog_dagster.errors import ObjectError
from snowplow_posthog_dagster.loading.sources import Source, source_for
from snowplow_posthog_dagster.loading.transform import DEFAULT_REPEAT_WINDOW, RepeatWindow
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.posthog.batches import MAX_EVENTS, BatchBuilder
from snowplow_posthog_dagster.posthog.bodies import is_historical
from snowplow_posthog_dagster.settings import PricesSection
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveObject

_DAYS_AT_ONCE = 4
_LISTS_PER_DAY = 60
"""24 for the hours of each of three steps are most of it; the log, leases and manifests are the rest."""

_OBJECT_BYTES = 600
_OBJECT_WRITES = 2
"""What an object adds to log and manifest in bytes, and its sample and its share of log segments in requests."""

_SEGMENTS_PER_SECOND = 0.5

CPU_SECONDS_PER_MILLION = 122.0
"""Archive to acknowledged, per million records: `make bench` with lines of 3.3 KB, docs/performance.md."""

POD_CORES = 2
"""The pod that is reckoned with."""


@dataclass
class Read:
    """What the objects that were read came to."""

    objects: int = 0
    stored_bytes: int = 0
    records: int = 0
    events: Counter[str] = field(default_factory=Counter)
    historical: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    repeats: int = 0
    batch_bytes: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Read", stored_bytes: int) -> None:
        """Add one object that was read to its end."""
        self.objects += 1
        self.stored_bytes += stored_bytes
        self.records += other.records
        self.events.update(other.events)
        self.historical += other.historical
        self.filtered.update(other.filtered)
        self.dead_letters += other.dead_letters
        self.repeats += other.repeats
        self.batch_bytes += other.batch_bytes


@dataclass(frozen=True)
class Work:
    """What transform and delivery take: core-hours, pods of POD_CORES cores, hours, bytes sent to PostHog.

    `hours` is None without a cap; costs are None without a price.
    """

    core_hours: float
    pods: int
    hours: float | None
    hours_without_cap: float
    reserved_core_hours: float
    sent_bytes: int
    cores_cost: float | None
    egress_cost: float | None


@dataclass(frozen=True)
class Estimate:
    """The whole range. Events and bytes are scaled from what was read; objects and their bytes are listed.

    Costs are None without a price.
    """

    days: int
    days_without_objects: int
    objects: int
    stored_bytes: int
    read: Read
    records: int
    events: dict[str, int]
    live_events: int
    historical_events: int
    filtered: int
    dead_letters: int
    repeats: int
    s3_lists: int
    s3_reads: int
    s3_writes: int
    workspace_bytes: int
    work: Work
    events_cost: float | None
    requests_cost: float | None
    storage_cost_per_month: float | None

    @property
    def billable(self) -> int:
        """Events that PostHog would bill."""
        return self.live_events + self.historical_events


@dataclass(frozen=True, slots=True)
class DayListing:
    """What lies in one day. Its objects are not kept: a year of 22,000 a day would take 4 GB."""

    objects: int
    stored_bytes: int
    readable_bytes: int


def listing_of(objects: Sequence[ArchiveObject]) -> DayListing:
    """The sums of a day's objects."""
    sizes = [found.size for found in objects]
    return DayListing(len(sizes), sum(sizes), sum(found.size for found in objects if not found.frozen))


def list_days(archive: Archive, days: Sequence[dt.date]) -> dict[dt.date, DayListing]:
    """What lies in every day."""
    with ThreadPoolExecutor(_DAYS_AT_ONCE) as pool:
        found = pool.map(lambda day: listing_of(archive.list_day(day)), days)
        return dict(zip(days, found, strict=True))


def choose(
    list_day: Callable[[dt.date], Sequence[ArchiveObject]], listings: Mapping[dt.date, DayListing], count: int
) -> list[ArchiveObject]:
    """So many readable objects, evenly over the stored bytes of all: a larger object is likelier chosen.

    The days that they lie in are listed once more.
    """
    total = sum(listing.readable_bytes for listing in listings.values())
    marks = [total * (2 * number + 1) / (2 * count) for number in range(count)]
    chosen: list[ArchiveObject] = []
    passed = 0
    for day, listing in listings.items():
        end = passed + listing.readable_bytes
        if any(passed < mark <= end for mark in marks):
            chosen += _at([mark - passed for mark in marks if mark > passed], list_day(day))
        passed = end
    return chosen


def _at(marks: list[float], objects: Iterable[ArchiveObject]) -> Iterator[ArchiveObject]:
    """The readable objects in which these places lie, counted in bytes from the first one on."""
    passed = 0
    for found in objects:
        passed += 0 if found.frozen else found.size
        if marks and passed >= marks[0]:
            yield found
            marks = [mark for mark in marks if mark > passed]


def read_objects(
    archive: Archive,
    mapper: Mapper,
    chosen: Sequence[ArchiveObject],
    *,
    now_milliseconds: int,
    max_record_bytes: int,
    max_object_bytes: int,
) -> Read:
    """Read and map the chosen objects; one that cannot be read is named and left out."""
    made = Read()
    for found in chosen:
        source = source_for(found.source, mapper, found.object_id, "estimate", max_record_bytes)
        try:
            chunks = archive.read(found, max_bytes=max_object_bytes)
            made.add(_read_object(source, chunks, now_milliseconds), found.size)
        except ObjectError as error:
            made.broken.append(f"{found.key}: {error}")
    return made


def _read_object(source: Source, chunks: Iterable[bytes], now_milliseconds: int) -> Read:
    made, builder, repeats = Read(), BatchBuilder(), RepeatWindow(DEFAULT_REPEAT_WINDOW)
    for record in source.records(chunks):
        made.records += 1
        if isinstance(record, Record) and repeats.seen(record.raw):
            made.repeats += 1
            continue
        outcome = record if isinstance(record, Rejected) else source.event(record)
        if isinstance(outcome, Mapped):
            made.events[str(orjson.loads(outcome.event)["event"])] += 1
            made.historical += is_historical(outcome.timestamp, now_milliseconds)
            batch = builder.add(outcome.event, outcome.timestamp)
            made.batch_bytes += len(batch.data) if batch else 0
        elif isinstance(outcome, Filtered):
            made.filtered[outcome.rule] += 1
        else:
            made.dead_letters += 1
    last = builder.finish()
    made.batch_bytes += len(last.data) if last else 0
    return made


def work_of(
    records: int, events: int, sent_bytes: int, prices: PricesSection, *, events_per_second: float | None
) -> Work:
    """What so many records take, of which so many become events; `events_per_second` is the cap, None without.

    The pods are as many as keep up with the cap. They are paid for while they wait for it, hence the reserved hours.
    """
    core_hours = records * CPU_SECONDS_PER_MILLION / 1e6 / 3600
    pod_hours = core_hours / POD_CORES
    hours = events / events_per_second / 3600 if events_per_second else None
    pods = max(1, math.ceil(pod_hours / hours)) if hours else 1
    reserved = POD_CORES * pods * max(hours or 0.0, pod_hours / pods)
    return Work(
        core_hours=core_hours,
        pods=pods,
        hours=hours,
        hours_without_cap=pod_hours / pods,
        reserved_core_hours=reserved,
        sent_bytes=sent_bytes,
        cores_cost=_times(prices.core_hour, reserved),
        egress_cost=_times(prices.egress_gigabyte, sent_bytes / 1e9),
    )


def estimate(
    listings: Mapping[dt.date, DayListing],
    read: Read,
    prices: PricesSection,
    *,
    events_per_second: float | None,
    historical: bool = True,
) -> Estimate:
    """Scale what was read to all that is listed."""
    objects = sum(listing.objects for listing in listings.values())
    stored = sum(listing.stored_bytes for listing in listings.values())
    scale = stored / read.stored_bytes if read.stored_bytes else 0.0
    events = {name: round(number * scale) for name, number in read.events.most_common()}
    mapped = round(read.events.total() * scale)
    old = round(read.historical * scale) if historical else 0
    batches = max(objects, math.ceil(mapped / MAX_EVENTS)) if mapped else 0
    seconds = mapped / events_per_second if events_per_second else 0.0
    lists = _LISTS_PER_DAY * len(listings)
    writes = batches + _OBJECT_WRITES * objects + round(_SEGMENTS_PER_SECOND * seconds)
    reads = objects + batches
    records, sent = round(read.records * scale), round(read.batch_bytes * scale)
    workspace = sent + _OBJECT_BYTES * objects
    return Estimate(
        days=len(listings),
        days_without_objects=sum(not listing.objects for listing in listings.values()),
        objects=objects,
        stored_bytes=stored,
        read=read,
        records=records,
        events=events,
        live_events=mapped - old,
        historical_events=old,
        filtered=round(read.filtered.total() * scale),
        dead_letters=round(read.dead_letters * scale),
        repeats=round(read.repeats * scale),
        s3_lists=lists,
        s3_reads=reads,
        s3_writes=writes,
        workspace_bytes=workspace,
        work=work_of(records, mapped, sent, prices, events_per_second=events_per_second),
        events_cost=_events_cost(prices, mapped - old, old),
        requests_cost=_requests_cost(prices, lists + writes, reads),
        storage_cost_per_month=_times(prices.s3_gigabyte_month, workspace / 1e9),
    )


def _times(price: float | None, number: float) -> float | None:
    return None if price is None else price * number


def _events_cost(prices: PricesSection, live: int, historical: int) -> float | None:
    parts = (
        (prices.live_events_per_million, live / 1e6),
        (prices.historical_events_per_million, historical / 1e6),
    )
    return _sum(parts)


def _requests_cost(prices: PricesSection, writes_and_lists: int, reads: int) -> float | None:
    return _sum(
        ((prices.s3_writes_and_lists_per_thousand, writes_and_lists / 1e3), (prices.s3_reads_per_thousand, reads / 1e3))
    )


def _sum(parts: Sequence[tuple[float | None, float]]) -> float | None:
    """The sum of price times number; None when something that is needed has no price."""
    if any(price is None and number for price, number in parts):
        return None
    return sum((price or 0.0) * number for price, number in parts)
