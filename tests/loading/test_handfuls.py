"""Small objects go to the workers by the handful, large ones alone."""

import os
import signal
import threading
import time

import pytest

from snowplow_posthog_dagster.loading import workers
from snowplow_posthog_dagster.loading.blueprint import Task
from snowplow_posthog_dagster.loading.workers import HANDFUL_BYTES, HANDFUL_OBJECTS, SMALL_OBJECT_BYTES, handfuls
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.day_log import DayLog
from tests.integration.days import DAY, DayInTest, lines
from tests.loading.test_workers import pool_workers, wait_for


def tasks(*sizes):
    return [
        Task(ArchiveObject(f"{number:032}", "b", f"{number}", "e", size, 0.0, "STANDARD", 4), 0, 0)
        for number, size in enumerate(sizes)
    ]


def test_large_objects_go_alone_and_first():
    large, small = SMALL_OBJECT_BYTES + 1, 1_000
    found = list(handfuls(tasks(large, large, *[small] * 400), 2))
    assert [len(handful) for handful in found[:3]] == [1, 1, HANDFUL_OBJECTS]
    assert sum(map(len, found)) == 402


def test_a_handful_is_no_larger_than_its_bytes():
    found = list(handfuls(tasks(*[SMALL_OBJECT_BYTES] * 400), 2))
    assert {sum(task.found.size for task in handful) for handful in found} == {HANDFUL_BYTES}


@pytest.mark.parametrize("count", [1, 3, 8, 30, 1000])
def test_every_worker_gets_several_handfuls_when_there_are_enough_objects(count):
    given = tasks(*[1_000] * count)
    found = list(handfuls(given, 2))
    assert [task for handful in found for task in handful] == given
    assert len(found) >= min(count, 8)


@pytest.mark.slow
def test_a_handful_whose_worker_is_killed_is_done_again_one_by_one_and_nothing_is_broken(
    day: DayInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SMALL_RUN_BYTES", 0)
    for number in range(160):
        day.put(f"{number}.gz", lines(number * 50, 50))
    log = DayLog(day.workspace, DAY)
    outcome = []
    running = threading.Thread(target=lambda: outcome.append(day.transform(processes=1)))
    running.start()
    (worker,) = wait_for(pool_workers)
    wait_for(lambda: len(list(day.workspace.bucket.listing(day.workspace.folder("batches", DAY)))) > 3)
    os.kill(worker, signal.SIGKILL)
    running.join(90)
    deadline = time.monotonic() + 5
    while pool_workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert outcome and outcome[0].broken == []
    assert log.state().counts().objects_done == 160
    assert log.state().problems() == []
