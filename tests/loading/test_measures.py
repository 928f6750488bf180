"""What the logs say in numbers: the same from a finished day's file as from its log, and never less than before."""

import datetime as dt

import msgspec
import pytest

from snowplow_posthog_dagster.loading.measures import LOGS_KEPT, DayFile, Measures, measured, newest_day_file
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.storage.counts import NUMBERS
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import Forget, Remap, Skip
from tests.ground import DAY, Ground, lines_of, user_line

NEXT = DAY + dt.timedelta(days=1)


def numbers(counts):
    return {name: getattr(counts, name) for name in NUMBERS}


@pytest.fixture
def loaded(ground: Ground) -> Ground:
    """A day with two hours, a dead letter and one 503."""
    ground.put("a", [*lines_of(3), user_line("x", txn_id="many"), b"no record"])
    ground.put("b", lines_of(2), hour=5)
    ground.posthog.play(Fault(name="busy", status=503, times=1))
    ground.run()
    return ground


def test_a_measure_has_the_numbers_of_the_state(loaded: Ground):
    entries = loaded.load().log.entries()
    measure = measured(entries, loaded.state())
    assert numbers(measure.counts) == numbers(loaded.counts())
    assert measure.hour("05").acknowledged == 2
    assert measure.statuses == {"200": 1, "503": 1}
    assert (measure.posts, measure.retries) == (2, 1)
    assert measure.reasons == {"NotTSV": 1, "RowDecodingError: txn_id": 1}
    assert measure.last_acknowledged_hour == 5
    assert measure.unaccounted == 0


def test_a_finished_day_is_measured_from_its_file_and_its_log_is_not_read(loaded: Ground, monkeypatch):
    expected = measured(loaded.load().log.entries(), loaded.state())
    monkeypatch.setattr(Measures, "_read", None)
    assert Measures(loaded.workspace).days() == {DAY: expected}


def test_a_day_that_goes_on_is_read_from_its_log(loaded: Ground):
    measures = Measures(loaded.workspace)
    before = measures.days()[DAY]
    loaded.put("c", lines_of(4), hour=6)
    loaded.transform()
    after = measures.days()[DAY]
    assert before is not None and after is not None
    assert after.counts.pending == 4
    assert after.transformed == before.transformed + 4
    assert after.acknowledged == before.acknowledged


def test_what_was_counted_once_stays_counted_when_the_day_is_asked_for_again(loaded: Ground):
    before = measured(loaded.load().log.entries(), loaded.state())
    again = [
        Remap(object=name, revision=known.revision + 1, key=known.key, by="ann", at="2022-06-07T00:00:00Z")
        for name, known in loaded.state().objects.items()
    ]
    loaded.load().log.write(again, writer="ann")
    asked = measured(loaded.load().log.entries(), loaded.state())
    assert asked.counts.acknowledged == 0
    assert (asked.acknowledged, asked.transformed) == (before.acknowledged, before.transformed)


def test_what_was_skipped_before_it_was_sent_has_not_arrived(ground: Ground):
    ground.put("a", lines_of(2))
    ground.transform()
    (known,) = ground.state().objects.values()
    skip = Skip(object=known.object_id, revision=1, reason="r", by="ann", at="2022-06-07T00:00:00Z")
    ground.load().log.write([skip], writer="ann")
    measure = measured(ground.load().log.entries(), ground.state())
    assert (measure.counts.withdrawn, measure.newest_arrival) == (2, None)


def test_a_result_that_is_written_anew_without_forgotten_people_was_not_read_again(loaded: Ground):
    before = measured(loaded.load().log.entries(), loaded.state())
    (known,) = (one for one in loaded.state().objects.values() if one.done and one.done.dead_letters)
    assert known.done
    forget = Forget(object=known.object_id, revision=1, key=known.key, by="ann", at="2022-06-07T00:00:00Z")
    loaded.load().log.write([forget, msgspec.structs.replace(known.done, revision=1)], writer="ann")
    after = measured(loaded.load().log.entries(), loaded.state())
    assert (after.transformed, after.archive_bytes, after.reasons) == (
        before.transformed,
        before.archive_bytes,
        before.reasons,
    )


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"complete": true, "measure": {"hours": "x"}}'])
def test_a_damaged_file_of_a_finished_day_is_as_good_as_none_and_the_next_run_writes_it_again(
    loaded: Ground, damage: bytes
):
    expected = measured(loaded.load().log.entries(), loaded.state())
    key = loaded.stored("days")[-1]
    loaded.workspace.bucket.put(key, damage)
    assert not loaded.is_closed()
    assert Measures(loaded.workspace).days() == {DAY: expected}
    loaded.run()
    assert loaded.is_closed() and loaded.posthog.raw_rows() == 5


def test_a_file_of_an_earlier_release_is_passed_over(loaded: Ground):
    key = loaded.stored("days")[-1]
    loaded.workspace.bucket.put(key, b'{"complete": true, "objects": 2, "records": 7, "at": "2022-06-07T00:00:00Z"}')
    assert newest_day_file(loaded.workspace, DAY) == DayFile(
        complete=True, objects=2, records=7, at="2022-06-07T00:00:00Z"
    )
    found = Measures(loaded.workspace).days()[DAY]
    assert found is not None and found.counts.records == 7


def test_a_day_that_would_take_too_long_is_left_out_by_name(loaded: Ground):
    loaded.put("d", lines_of(1), day=NEXT)
    loaded.transform(NEXT)
    found = Measures(loaded.workspace).days(seconds=0.0)
    assert found[NEXT] is None, "open, and no time to read its log"
    assert found[DAY] is not None, "finished, so nothing had to be read"


def test_a_month_of_open_days_keeps_the_logs_of_few(ground: Ground, monkeypatch):
    days = [DAY + dt.timedelta(days=number) for number in range(6)]
    for day in days:
        ground.put("a", lines_of(1), day=day)
        ground.transform(day)
    at_once, most, read = list[DayLog](), list[int](), DayLog.snapshot

    def snapshot(log: DayLog):
        at_once.append(log)
        most.append(len(at_once))
        try:
            return read(log)
        finally:
            at_once.remove(log)

    monkeypatch.setattr(DayLog, "snapshot", snapshot)
    measures = Measures(ground.workspace)
    assert list(measures.days()) == days and measures.days() == Measures(ground.workspace).days()
    assert max(most) == 1 and len(measures._logs) == LOGS_KEPT


def test_a_measure_is_small(loaded: Ground):
    """It is written at every close of a day: 24 hours must stay within a few kilobytes."""
    measure = measured(loaded.load().log.entries(), loaded.state())
    assert len(msgspec.json.encode(measure)) < 1_500
