"""Which days the night is about: after a backfill of years PostHog is asked about each of its days, some a night."""

import datetime as dt
import time

import pytest

from snowplow_posthog_dagster.automation import night_days
from snowplow_posthog_dagster.automation.night_days import unsettled_days
from snowplow_posthog_dagster.loading.reconcile import Reconciliation
from tests.ground import Ground, lines_of

NOW = dt.datetime(2026, 1, 10, 3, tzinfo=dt.UTC)
DAYS = [dt.date(2022, 6, 6) + dt.timedelta(days=number) for number in range(3)]


@pytest.fixture
def loaded(ground: Ground) -> Ground:
    """Three days of years ago, loaded and closed long before the night."""
    for day in DAYS:
        ground.put("a", lines_of(2), day=day)
        assert ground.run(day).closed
    return ground


def unsettled(ground: Ground, now: dt.datetime = NOW) -> list[dt.date]:
    return unsettled_days(ground.settings, ground.workspace, now, 7)


def agree(ground: Ground, day: dt.date) -> None:
    """PostHog is asked; log and S3 know the order of things by whole seconds, so this takes one of its own."""
    time.sleep(1.1)
    key = ground.settings.project_api_key
    assert Reconciliation(ground.load(day), ground.query, api_key=key, wait_seconds=30.0).run().result == "agree"
    time.sleep(1.1)


def test_a_day_waits_until_posthog_agreed_however_long_ago_it_was_loaded(loaded: Ground) -> None:
    assert sorted(unsettled(loaded)) == DAYS
    agree(loaded, DAYS[1])
    assert sorted(unsettled(loaded)) == [DAYS[0], DAYS[2]]


def test_a_late_file_makes_it_wait_again(loaded: Ground) -> None:
    agree(loaded, DAYS[0])
    loaded.put("late", lines_of(1), day=DAYS[0], hour=7)
    loaded.run(DAYS[0])
    assert DAYS[0] in unsettled(loaded)


def test_the_days_take_turns_so_that_one_that_never_agrees_keeps_none_waiting(loaded: Ground, monkeypatch) -> None:
    monkeypatch.setattr(night_days, "MOST_UNSETTLED_DAYS", 1)
    nights = [unsettled(loaded, NOW + dt.timedelta(days=number)) for number in range(3)]
    assert sorted(day for night in nights for day in night) == DAYS


def test_days_that_the_night_is_about_anyway_are_not_named_twice(loaded: Ground) -> None:
    assert unsettled(loaded, dt.datetime(2022, 6, 9, 3, tzinfo=dt.UTC)) == []
