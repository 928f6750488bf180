"""Pool workers: one that dies costs the object in its hands, and none outlives the run."""

import datetime as dt
import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.errors import BrokenObjectError, InterruptedRunError, SettingsError, TransientError
from snowplow_posthog_dagster.generator import GeneratorSettings, S3Sink, generate
from snowplow_posthog_dagster.loading import blueprint as blueprints
from snowplow_posthog_dagster.loading import transform, workers
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import Broken
from tests.integration.days import DAY, DayInTest, lines


@pytest.fixture(autouse=True)
def a_pool_for_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the pool, however small the objects."""
    monkeypatch.setattr(workers, "SMALL_RUN_BYTES", 0)


def pool_workers() -> list[int]:
    """The pids of this process's pool workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"loading.worker" in command:
            found.append(int(entry.name))
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def put_large_object(day: DayInTest, folder: Path, events: int = 60_000) -> str:
    """An object that takes several seconds; returns its key."""
    settings = GeneratorSettings(
        start=dt.datetime.combine(DAY, dt.time(5), dt.UTC), events=events, records_per_object=events * 2, late=0
    )
    truth = generate(settings, S3Sink(day.archive.bucket.client, day.archive.bucket.name), folder)
    return truth.objects[0].key


class InThread:
    """A call in a thread whose outcome is asked for later."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._outcome: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._call()
        except BaseException as error:  # noqa: BLE001 - raised by `outcome`
            self._error = error

    def outcome(self, seconds: float = 60.0) -> Any:
        self.thread.join(seconds)
        assert not self.thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._outcome


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_one_object_which_is_named_and_tried_again(
    day: DayInTest, tmp_path: Path
) -> None:
    large = put_large_object(day, tmp_path)
    small = [day.put(f"{number}.gz", lines(number * 100, 50)) for number in range(3)]
    running = InThread(lambda: day.transform(processes=2))
    log = DayLog(day.workspace, DAY)
    wait_for(lambda: log.state().counts().objects_done == 3)
    wait_for(lambda: len(pool_workers()) == 1)
    (worker,) = pool_workers()
    os.kill(worker, signal.SIGKILL)
    report = running.outcome()
    (broken,) = report.broken
    assert large in broken and "signal 9" in broken and "out of memory" in broken
    counts = log.state().counts()
    assert (counts.objects_done, counts.objects_broken) == (3, 1)
    assert {state.key for state in log.state().objects.values() if state.status == "done"} == set(small)

    again = day.transform(processes=2)
    assert again.broken == [] and again.reads == 1, "only what broke is read again, and at once"
    counts = log.state().counts()
    assert (counts.objects_done, counts.objects_broken) == (4, 0)
    assert log.state().problems() == []
    assert pool_workers() == []


def test_an_object_whose_worker_dies_twice_is_tried_again_later(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 1))
    (found,) = day.archive.list_day(DAY)
    dead = BrokenObjectError("the worker process that read it ended with signal 9")

    def minutes(attempts: int) -> int:
        entry = transform.failure_entry(
            found, dead, revision=0, attempts=attempts, writer="test", doubtful=True
        )  # fmt: skip
        assert isinstance(entry, Broken)
        delay = dt.datetime.fromisoformat(entry.next_try) - dt.datetime.fromisoformat(entry.at)
        return int(delay.total_seconds() / 60)

    assert [minutes(attempts) for attempts in range(3)] == [0, 20, 80]


def test_one_large_object_has_a_worker_too_also_on_one_core(day: DayInTest, monkeypatch: pytest.MonkeyPatch) -> None:
    day.put("one.gz", lines(0, 50))
    monkeypatch.setattr(workers, "core_count", lambda: 1)
    monkeypatch.setattr(sys, "executable", "/bin/false")  # a worker that cannot start shows that one was wanted
    with pytest.raises(TransientError, match="a worker process for the transform did not start"):
        day.transform()
    monkeypatch.undo()
    assert day.transform().counts.objects_done == 1


def test_a_broken_object_is_left_alone_until_its_next_try(day: DayInTest) -> None:
    day.put("cut.gz", gzip.compress(lines(0, 100))[:-20], compress=False)
    assert len(day.transform().broken) == 1
    assert day.transform().nothing_new


def test_workers_that_cannot_start_break_no_object(day: DayInTest, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        day.put(f"{number}.gz", lines(number * 100, 50))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TransientError, match="did not start: exit code 1"):
        day.transform(processes=2)
    monkeypatch.undo()
    assert DayLog(day.workspace, DAY).state().objects == {}


def test_what_a_worker_reports_has_its_own_class_and_words(day: DayInTest) -> None:
    for number in range(2):
        day.put(f"{number}.gz", lines(number * 100, 50))
    load = day.load()
    plan = replace(day.blueprint(load.writer), connection=replace(day.connection, profile="nobody"))
    with pytest.raises(SettingsError, match="AWS profile 'nobody' does not exist"):
        load.transform(plan, processes=2)
    plan = replace(day.blueprint(load.writer), workspace_bucket="not-there")
    with pytest.raises(SettingsError, match="NoSuchBucket"):
        load.transform(plan, processes=2)
    assert DayLog(day.workspace, DAY).state().objects == {}, "no object is at fault"


def test_an_error_that_nobody_foresaw_breaks_its_object_and_not_the_day(
    day: DayInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [day.put(f"{number}.gz", lines(number * 100, 50)) for number in range(3)]
    real = transform.transform_object

    def sometimes(found: Any, *args: Any, **options: Any) -> Any:
        if found.key == keys[1]:
            raise ZeroDivisionError("division by zero")
        return real(found, *args, **options)

    monkeypatch.setattr(blueprints, "transform_object", sometimes)
    monkeypatch.setattr(workers, "SMALL_RUN_BYTES", 1 << 40)
    report = day.transform()
    assert len(report.broken) == 1
    assert keys[1] in report.broken[0] and "unexpected ZeroDivisionError: division by zero" in report.broken[0]
    assert report.counts.objects_done == 2


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_transform_that_is_asked_to_stop_ends_within_five_seconds(
    day: DayInTest, tmp_path: Path, processes: int
) -> None:
    put_large_object(day, tmp_path)
    day.put("small.gz", lines(0, 50))
    load = day.load()
    running = InThread(lambda: load.transform(day.blueprint(load.writer), processes=processes))
    wait_for(pool_workers)
    time.sleep(1.5)
    load.stop.set()
    asked = time.monotonic()
    with pytest.raises(InterruptedRunError):
        running.outcome()
    assert time.monotonic() - asked < 5
    assert pool_workers() == []
    assert load.log.state().counts().objects_broken == 0, "an interruption is no fault of an object"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_to_the_whole_group_breaks_no_object(day: DayInTest, tmp_path: Path, number: int) -> None:
    put_large_object(day, tmp_path)
    day.put("small.gz", lines(0, 50))
    load = day.load()
    running = InThread(lambda: load.transform(day.blueprint(load.writer), processes=2))
    wait_for(lambda: load.log.state().counts().objects_done == 1)
    for worker in pool_workers():
        os.kill(worker, number)
    time.sleep(1.0)  # so long the step may take until it knows
    load.stop.set()
    with pytest.raises(InterruptedRunError):
        running.outcome()
    assert pool_workers() == []
    assert load.log.state().counts().objects_broken == 0, "an interruption is no fault of an object"


@pytest.mark.slow
def test_a_transform_in_its_own_process_stops_within_an_object(
    day: DayInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SMALL_RUN_BYTES", 1 << 40)
    put_large_object(day, tmp_path)
    load = day.load()
    running = InThread(lambda: load.transform(day.blueprint(load.writer)))
    time.sleep(1.0)
    load.stop.set()
    asked = time.monotonic()
    with pytest.raises(InterruptedRunError):
        running.outcome()
    assert time.monotonic() - asked < 3
    assert load.log.state().counts().objects_broken == 0


_GRANDPARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import os, time
from snowplow_posthog_dagster.loading.parents import exit_with_parent
exit_with_parent(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
'''])
time.sleep(60)
"""


@pytest.fixture
def grandchild() -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    parent = subprocess.Popen([sys.executable, "-c", _GRANDPARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        yield parent, int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.wait()


def test_a_process_leaves_within_two_seconds_of_its_parents_death(
    grandchild: tuple["subprocess.Popen[bytes]", int],
) -> None:
    parent, child = grandchild
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    parent.wait()
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text(), 2.0)


def test_a_process_whose_parent_died_before_it_began_to_watch_leaves_too() -> None:
    program = (
        "from snowplow_posthog_dagster.loading.parents import exit_with_parent; import time;"
        " exit_with_parent(999999999); time.sleep(20)"
    )
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", program], timeout=20, check=False).returncode == 75
    assert time.monotonic() - began < 10
