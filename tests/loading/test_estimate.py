"""What a backfill would be, before it is started."""

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from rich.filesize import decimal

from snowplow_posthog_dagster.loading.estimate import (
    Estimate,
    Read,
    Work,
    choose,
    estimate,
    list_days,
    listing_of,
    read_objects,
    work_of,
)
from snowplow_posthog_dagster.loading.setup import mapper_of
from snowplow_posthog_dagster.settings import PricesSection
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from tests.ground import DAY, Ground, lines_of, user_line

STRUCT = {"event": "struct", "se_category": "c", "se_action": "add"}


def estimated(ground: Ground, *, read: int, days: int = 3, cap: float | None = None, **options: Any) -> Estimate:
    archive = ground.load().archive
    listings = list_days(archive, [DAY + dt.timedelta(days=number) for number in range(days)])
    made = read_objects(
        archive,
        mapper_of(ground.settings),
        choose(archive.list_day, listings, read),
        now_milliseconds=time.time_ns() // 1_000_000,
        max_record_bytes=1 << 24,
        max_object_bytes=1 << 30,
    )
    return estimate(listings, made, ground.settings.file.prices, events_per_second=cap, **options)


def test_reading_everything_gives_the_numbers_of_the_load(ground: Ground) -> None:
    ground.file = {"mapping": {"filters": [{"name": "noise", "drop": {"app_id": ["noise"]}}]}}
    ground.put("a", [*lines_of(5), *lines_of(3, **STRUCT), *lines_of(2, app_id="noise"), b"no record"])
    ground.put("b", lines_of(4), day=DAY + dt.timedelta(days=1))
    found = estimated(ground, read=10, cap=2.0)
    for number in range(2):
        ground.run(DAY + dt.timedelta(days=number))
    counts = ground.counts(DAY) + ground.counts(DAY + dt.timedelta(days=1))
    assert (found.records, found.billable, found.filtered) == (counts.records, counts.mapped, counts.filtered)
    assert found.events == {"$pageview": 9, "add": 3}
    assert (found.objects, found.days, found.days_without_objects) == (2, 3, 1)
    assert (found.live_events, found.historical_events) == (0, 12)
    assert found.work.hours == pytest.approx(12 / 2.0 / 3600)
    batches = sum(listed.size for listed in ground.workspace.bucket.listing(ground.workspace.folder("batches")))
    assert found.workspace_bytes == pytest.approx(batches + 2 * 600, rel=0.05)
    assert found.work.sent_bytes == pytest.approx(batches, rel=0.05)


def test_exact_copies_cost_nothing(ground: Ground) -> None:
    line = user_line("u")
    ground.put("a", [line] * 10)
    found = estimated(ground, read=10)
    assert (found.records, sum(found.events.values()), found.repeats) == (10, 1, 9)


def test_a_part_is_scaled_by_stored_bytes(ground: Ground) -> None:
    for hour in range(10):
        ground.put("a", lines_of(50), hour=hour)
    found = estimated(ground, read=2)
    assert found.read.objects == 2
    assert found.billable == pytest.approx(500, rel=0.05)


def test_without_historical_migration_everything_is_live(ground: Ground) -> None:
    ground.put("a", lines_of(5))
    assert estimated(ground, read=1, historical=False).live_events == 5


def test_events_of_today_are_live(ground: Ground) -> None:
    now = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S}.000"
    ground.put("a", [*lines_of(2), *lines_of(3, derived_tstamp=now, collector_tstamp=now)])
    found = estimated(ground, read=1)
    assert (found.live_events, found.historical_events) == (3, 2)


def test_a_broken_object_is_named_and_does_not_count(ground: Ground) -> None:
    ground.put("a", lines_of(5))
    key = ground.put("b", lines_of(5), hour=5)
    body = ground.s3.get_object(Bucket=ground.buckets[0], Key=key)["Body"].read()
    ground.s3.put_object(Bucket=ground.buckets[0], Key=key, Body=body[:-20])
    found = estimated(ground, read=2)
    assert found.read.objects == 1 and found.read.records == 5 and key in found.read.broken[0]


def test_an_empty_range_is_all_zeros(ground: Ground) -> None:
    found = estimated(ground, read=3)
    assert (found.objects, found.billable, found.workspace_bytes) == (0, 0, 0)


def an_object(name: str, size: int, storage_class: str = "STANDARD") -> ArchiveObject:
    return ArchiveObject(name, "b", name, "e", size, 0.0, storage_class, 4)


def chosen(count: int, *days: list[ArchiveObject]) -> tuple[list[str], int]:
    """The keys of so many of these days' objects, and how many days were listed for it."""
    objects = {DAY + dt.timedelta(days=number): day for number, day in enumerate(days)}
    listed: list[dt.date] = []

    def list_day(day: dt.date) -> list[ArchiveObject]:
        listed.append(day)
        return objects[day]

    found = choose(list_day, {day: listing_of(one) for day, one in objects.items()}, count)
    return [one.key for one in found], len(listed)


def test_objects_are_chosen_evenly_over_the_bytes() -> None:
    objects = [an_object(str(number), 10) for number in range(100)]
    assert chosen(4, objects) == (["12", "37", "62", "87"], 1)
    assert chosen(4, objects[:20], [], objects[20:30], objects[30:]) == (["12", "37", "62", "87"], 2)
    heavy = [an_object("small", 1), an_object("large", 1000), an_object("tiny", 1)]
    assert chosen(3, heavy) == (["large"], 1)
    assert chosen(10, objects[:2]) == (["0", "1"], 1)


def test_frozen_objects_are_not_read() -> None:
    assert chosen(5, [an_object("a", 5, "GLACIER"), an_object("b", 5)], [an_object("c", 5, "GLACIER")]) == (["b"], 1)


def reckoned(**prices: float) -> Estimate:
    read = Read(objects=1, stored_bytes=10, records=4_000_000, batch_bytes=2_000_000_000, historical=3_000_000)
    read.events["e"] = 4_000_000
    listings = {DAY: listing_of([an_object("a", 10)])}
    return estimate(listings, read, PricesSection(**prices), events_per_second=None)


def test_prices_are_reckoned_where_they_are_set() -> None:
    found = reckoned(live_events_per_million=50.0, historical_events_per_million=10.0, s3_gigabyte_month=0.02)
    assert found.events_cost == pytest.approx(1 * 50.0 + 3 * 10.0)
    assert found.storage_cost_per_month == pytest.approx(0.04, rel=0.01)
    assert found.requests_cost is None and found.work.hours is None
    assert found.work.cores_cost is None and found.work.egress_cost is None


def test_a_price_that_is_needed_and_not_set_leaves_the_sum_unknown() -> None:
    assert reckoned(live_events_per_million=50.0).events_cost is None


def test_cores_and_egress_are_reckoned() -> None:
    work = reckoned(core_hour=0.5, egress_gigabyte=0.1).work
    assert (work.pods, work.hours, work.sent_bytes) == (1, None, 2_000_000_000)
    assert work.core_hours == work.reserved_core_hours == pytest.approx(4 * 122 / 3600)
    assert work.cores_cost == pytest.approx(0.5 * 4 * 122 / 3600)
    assert work.egress_cost == pytest.approx(0.2)


def test_the_pods_keep_up_with_the_cap_and_are_paid_for_while_they_wait() -> None:
    work = work_of(1_000_000, 1_000_000, 0, PricesSection(), events_per_second=16_000)
    assert (work.pods, work.reserved_core_hours) == (1, 2 * (work.hours or 0))
    assert work_of(1_000_000, 1_000_000, 0, PricesSection(), events_per_second=16_500).pods == 2
    filtered = work_of(2_000_000, 1_000_000, 0, PricesSection(), events_per_second=16_000)
    assert filtered.pods == 2, "records that are filtered cost the reading too"
    nothing = work_of(9_000_000, 0, 0, PricesSection(), events_per_second=2_000)
    assert (nothing.pods, nothing.hours) == (1, 0.0)
    assert nothing.reserved_core_hours == pytest.approx(nothing.core_hours)


SCALING = {
    line.split("|")[1].strip(" *"): [cell.strip(" *") for cell in line.split("|")[2:-1]]
    for line in (Path(__file__).parents[2] / "docs/scaling.md").read_text().splitlines()
    if line.startswith("|")
}
SIZES = ((45_000_000, 2_000), (1_000_000_000, 1_000_000_000 / 86_400), (round(33e12 / 495), 2_000))
"""Events and the pace that docs/scaling.md reckons pods and cost with."""


def scaling_work(events: int, pace: float) -> Work:
    prices = PricesSection(core_hour=0.05, egress_gigabyte=0.09)
    return work_of(events, events, 813 * events, prices, events_per_second=pace)


def test_the_page_on_scaling_has_the_figures_of_the_estimate() -> None:
    works = [scaling_work(*size) for size in SIZES]
    assert SCALING["a core-hour; a GB that leaves the cloud"][0] == "0.05 USD; 0.09 USD"
    assert SCALING["pods and cost at a pace of"] == [f"{pace:,.0f} events/s" for _, pace in SIZES]
    assert SCALING["CPU"] == [f"{work.core_hours:,.1f} core-hours" for work in works]
    assert SCALING["written to the workspace, and sent"] == [decimal(work.sent_bytes) for work in works]
    assert SCALING["pods of 2 cores"] == [f"{work.pods}" for work in works]
    assert SCALING["hours with this cap"] == [f"{work.hours:,.2f}" for work in works]
    assert SCALING["hours without a cap, these pods"] == [f"{work.hours_without_cap:,.1f}" for work in works]
    assert SCALING["core-hours reserved by the pods"] == [f"{work.reserved_core_hours:,.1f}" for work in works]
    assert SCALING["price of the pods"] == [f"{work.cores_cost:,.2f} USD" for work in works]
    assert SCALING["price of the egress"] == [f"{work.egress_cost:,.2f} USD" for work in works]


@pytest.mark.parametrize(("pace", "pods"), [(10_000, "one pod"), (25_000, "two pods"), (50_000, "four pods")])
def test_the_pods_of_the_page_keep_up_with_its_paces(pace: int, pods: str) -> None:
    assert f"at {pace:,} events/s ({pods})" in SCALING
    found = {scaling_work(events, pace).pods for events, _ in SIZES}
    assert found == {{"one pod": 1, "two pods": 2, "four pods": 4}[pods]}
