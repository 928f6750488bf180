"""What the stand-in keeps, and what PostHog's merge would leave of it."""

import sqlite3
import threading
from pathlib import Path

import orjson
import pytest

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.sandbox import reports, store
from snowplow_posthog_dagster.sandbox.store import RequestRow, Store
from tests.sandbox.events import NOW, TOKEN, a_batch, an_event, captured

UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.fixture
def kept(tmp_path: Path):
    store = Store(tmp_path / "posthog.sqlite3")
    yield store
    store.close()


def put(into: Store, *events, arrived=NOW, historical=False):
    outcome = captured(a_batch(*events, historical_migration=historical), now=arrived)
    assert outcome.status == 200
    count = len(outcome.events)
    row = RequestRow(arrived, "/batch", "200", None, count, count, 0, 100, 200, TOKEN, historical, "test")
    into.record(row, outcome.events)


def merged(store: Store):
    with store.reading(merged=True) as connection:
        return list(reports.rows(connection, merged=True))


def test_every_copy_is_kept_and_the_merge_leaves_one(kept):
    for _ in range(3):
        put(kept, an_event(uuid=UUID))
    with kept.reading() as connection:
        assert len(list(reports.rows(connection, merged=False))) == 3
    (row,) = merged(kept)
    assert (row["uuid"], row["copies"]) == (UUID, 3)


def test_the_latest_copy_replaces_the_whole_row(kept):
    put(kept, an_event(uuid=UUID, properties={"first": 1}), arrived=NOW)
    put(kept, an_event(uuid=UUID, properties={"second": 2}), arrived=NOW - 10)
    (row,) = merged(kept)
    properties = orjson.loads(orjson.dumps(row))["properties"]
    assert "second" in properties
    assert "first" not in properties


@pytest.mark.parametrize(
    "other",
    [
        {"timestamp": "2021-03-03T00:00:00Z"},
        {"event": "$screen"},
        {"distinct_id": "Someone"},
        {"uuid": UUID.replace("a0", "b0")},
    ],
    ids=["day", "name", "distinct id", "uuid"],
)
def test_another_day_name_id_or_uuid_is_another_event(kept, other):
    put(kept, an_event(uuid=UUID))
    put(kept, an_event(uuid=UUID) | other)
    assert len(merged(kept)) == 2


def test_another_time_of_the_same_day_is_the_same_event(kept):
    put(kept, an_event(uuid=UUID, timestamp="2021-03-02T00:00:00Z"))
    put(kept, an_event(uuid=UUID, timestamp="2021-03-02T23:59:59.999Z"))
    assert [row["timestamp"] for row in merged(kept)] == ["2021-03-02T23:59:59.999000Z"]


def test_the_merge_takes_up_where_it_stopped(kept, monkeypatch):
    monkeypatch.setattr(store, "MERGE_STEP", 3)
    put(kept, *[an_event() for _ in range(10)], an_event(uuid=UUID))
    assert len(merged(kept)) == 11
    put(kept, an_event(uuid=UUID), *[an_event() for _ in range(5)])
    rows = merged(kept)
    assert len(rows) == 16
    assert {row["copies"] for row in rows if row["uuid"] == UUID} == {2}


def test_a_request_that_fails_to_be_stored_leaves_nothing(kept):
    good = captured(a_batch(an_event())).events
    bad = [good[0]._replace(uuid=None)]
    row = RequestRow(NOW, "/batch", "200", None, 2, 2, 0, 1, 1, TOKEN, False, None)
    with pytest.raises(sqlite3.IntegrityError):
        kept.record(row, good + bad)
    with kept.reading() as connection:
        assert reports.progress(connection)["requests"] == 0
        assert list(reports.rows(connection, merged=False)) == []
    put(kept, an_event())
    assert len(merged(kept)) == 1


def test_writers_and_mergers_at_once_lose_nothing(kept, monkeypatch):
    monkeypatch.setattr(store, "MERGE_STEP", 7)

    def write():
        for _ in range(10):
            put(kept, *[an_event() for _ in range(5)])
            merged(kept)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = merged(kept)
    assert (len(rows), {row["copies"] for row in rows}) == (200, {1})


def test_what_is_stored_outlives_the_process(tmp_path):
    first = Store(tmp_path / "posthog.sqlite3")
    put(first, an_event(uuid=UUID))
    first.close()
    again = Store(tmp_path / "posthog.sqlite3")
    assert [row["uuid"] for row in merged(again)] == [UUID]
    again.close()


def test_a_file_of_another_release_is_refused_with_words(tmp_path):
    Store(tmp_path / "posthog.sqlite3").close()
    with sqlite3.connect(tmp_path / "posthog.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SettingsError, match="another release"):
        Store(tmp_path / "posthog.sqlite3")


def test_reset_forgets_everything(kept):
    put(kept, an_event(), an_event(distinct_id="null"))
    merged(kept)
    kept.reset()
    put(kept, an_event(uuid=UUID))
    assert [row["uuid"] for row in merged(kept)] == [UUID]
    with kept.reading(merged=True) as connection:
        assert reports.violations(connection) == {}


class TestPeak:
    SECOND = 1_000_000

    def test_it_is_the_fullest_window_wherever_it_lies(self):
        bodies = [(0, 100), (900_000, 100), (1_100_000, 100), (1_800_000, 100), (3_000_000, 250)]
        assert reports.peak(bodies, 1) == 300

    def test_a_window_ends_before_it_would_hold_its_length(self):
        assert reports.peak([(0, 100), (self.SECOND, 100)], 1) == 100
        assert reports.peak([(0, 100), (self.SECOND - 1, 100)], 1) == 200

    def test_nothing_is_zero(self):
        assert reports.peak([], 60) == 0


def test_counts_by_day_and_event(kept):
    put(kept, an_event(uuid=UUID), an_event(distinct_id="other"), an_event(event="$screen"))
    put(kept, an_event(uuid=UUID), an_event(timestamp="2021-03-01T00:00:00Z"))
    with kept.reading(merged=True) as connection:
        assert reports.by_day_and_event(connection) == [
            {"day": "2021-03-02", "event": "$pageview", "events": 2, "ids": 2},
            {"day": "2021-03-02", "event": "$screen", "events": 1, "ids": 1},
            {"day": "2021-03-01", "event": "$pageview", "events": 1, "ids": 1},
        ]
        assert reports.by_day_and_event(connection, "phc_other") == []
