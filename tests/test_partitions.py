"""The daily partitions: today is one, and the environment's bounds hold, both inclusive."""

import datetime as dt

import pytest

from snowplow_posthog_dagster.partitions import DEFAULT_START, daily_partitions
from snowplow_posthog_dagster.settings import Environment, Settings, SettingsFile

NOW = dt.datetime(2026, 3, 10, 0, 5, tzinfo=dt.UTC)
START = dt.date(2026, 3, 5)


def days(start: dt.date | None = START, end: dt.date | None = None) -> list[str]:
    environment = Environment(posthog_backfill_start_date=start, posthog_backfill_end_date=end)
    partitions = daily_partitions(Settings(environment, SettingsFile()))
    return list(partitions.get_partition_keys(current_time=NOW))


def test_without_an_end_today_is_the_last_partition() -> None:
    assert days() == [f"2026-03-{day:02d}" for day in range(5, 11)]


def test_without_a_start_it_is_a_constant_so_that_it_never_moves() -> None:
    assert days(start=None)[0] == f"{DEFAULT_START}"


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (dt.date(2026, 3, 7), "2026-03-07"),
        (dt.date(2026, 3, 9), "2026-03-09"),
        (dt.date(2026, 3, 10), "2026-03-10"),
        (dt.date(2026, 3, 11), "2026-03-10"),
        (dt.date(2027, 1, 1), "2026-03-10"),
    ],
)
def test_the_end_is_the_last_day_that_is_wanted_and_one_ahead_leaves_today_a_partition(end: dt.date, last: str) -> None:
    assert days(end=end) == [f"2026-03-{day:02d}" for day in range(5, int(last[-2:]) + 1)]
