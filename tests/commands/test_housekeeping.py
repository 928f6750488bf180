"""`snowplow-posthog housekeeping`, as it is typed: what it would delete, what it deletes, and what it leaves."""

import datetime as dt
import time
from pathlib import Path

import pytest

from snowplow_posthog_dagster.automation.housekeeping import stored_days
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import Purged, Reconciled
from snowplow_posthog_dagster.storage.workspace import timestamp_text
from tests.commands.test_operate import Typed
from tests.ground import DAY, Ground, lines_of


@pytest.fixture
def typed(ground: Ground, monkeypatch: pytest.MonkeyPatch, s3_environment: dict[str, str], tmp_path: Path) -> Typed:
    monkeypatch.chdir(tmp_path)
    return Typed(ground, monkeypatch, s3_environment)


def loaded(ground: Ground, day: dt.date, result: str = "agree") -> None:
    """A closed day that was compared with PostHog."""
    ground.put("a", lines_of(3), day=day)
    ground.run(day)
    agree(ground, day, result)


def agree(ground: Ground, day: dt.date, result: str = "agree") -> None:
    """PostHog's word on the day, after which it is closed again."""
    entry = Reconciled(result=result, sampled=3, found=3, differing=0, cause="", at=timestamp_text())
    DayLog(ground.workspace, day).write([entry], writer="test")
    load = ground.load(day)
    load.close(load.archive.list_day(day))


def test_it_only_says_what_it_would_delete(typed: Typed) -> None:
    loaded(typed.ground, DAY)
    before = typed.ground.stored("batches")
    said = typed("housekeeping")
    assert said.exit_code == 0, said.output
    assert "2022-06-06" in said.output and "Would delete 1 batches" in said.output and "1 samples" in said.output
    assert typed.ground.stored("batches") == before != []
    assert not [entry for entry in typed.ground.load().log.entries() if isinstance(entry, Purged)]


def test_with_yes_it_deletes_and_the_log_says_so(typed: Typed) -> None:
    loaded(typed.ground, DAY)
    said = typed("housekeeping", "--yes")
    assert said.exit_code == 0, said.output
    assert "Deleted 1 batches" in said.output
    assert typed.ground.stored("batches") == typed.ground.stored("samples") == []
    assert {entry.what for entry in typed.ground.load().log.entries() if isinstance(entry, Purged)} == {
        "batches",
        "samples",
    }
    assert typed.ground.counts().acknowledged == 3
    assert typed.ground.is_closed()
    assert "Would delete nothing" in typed("housekeeping").output


def test_a_day_that_posthog_does_not_agree_on_keeps_its_batches(typed: Typed) -> None:
    loaded(typed.ground, DAY, result="gap")
    assert "Deleted nothing" in typed("housekeeping", "--yes").output
    assert typed.ground.stored("batches") != []


def test_a_file_that_came_after_posthog_agreed_keeps_the_day_until_it_agrees_again(typed: Typed) -> None:
    loaded(typed.ground, DAY)
    time.sleep(1.1)  # entries tell times apart by whole seconds
    typed.ground.put("late", lines_of(5), hour=7)
    typed.ground.run()
    assert typed.ground.is_closed()
    assert "Deleted nothing" in typed("housekeeping", "--yes").output
    assert (len(typed.ground.stored("batches")), len(typed.ground.stored("samples"))) == (2, 2)
    agree(typed.ground, DAY)
    assert "Deleted 2 batches" in typed("housekeeping", "--yes").output


def test_what_was_skipped_before_it_was_sent_can_be_sent_after_all(typed: Typed) -> None:
    ground = typed.ground
    key = ground.put("skipped", lines_of(5), hour=7)
    ground.transform()
    assert typed("skip", key, "--reason", "looked wrong").exit_code == 0
    loaded(ground, DAY)
    assert ground.is_closed()
    assert "Deleted 1 batches" in typed("housekeeping", "--yes").output
    ground.delete(key)
    said = typed("unskip", key)
    assert said.exit_code == 0, said.output
    ground.run()
    assert len(ground.events()) == ground.counts().acknowledged == 8


def test_days_outside_of_the_range_are_left_alone(typed: Typed) -> None:
    later = DAY + dt.timedelta(days=40)
    for day in (DAY, later):
        loaded(typed.ground, day)
    assert "Deleted 1 batches" in typed("housekeeping", "--from", "2022-06-07", "--yes").output
    assert [key for key in typed.ground.stored("batches") if "dt=2022-06-06" in key]
    assert not [key for key in typed.ground.stored("batches") if f"dt={later}" in key]


def test_a_file_that_is_not_ours_hides_no_day_and_stays(typed: Typed) -> None:
    typed.ground.put("a", lines_of(2))
    typed.ground.run()
    for kind in ("batches", "samples"):
        for name in ("README.txt", "dt=notes/", "~"):
            typed.ground.workspace.bucket.put(typed.ground.workspace.key(kind) + f"/{name}", b"notes")
    assert stored_days(typed.ground.workspace) == [DAY]
    assert typed("housekeeping", "--yes").exit_code == 0
    assert typed.ground.workspace.bucket.get(typed.ground.workspace.key("batches") + "/README.txt") == b"notes"
