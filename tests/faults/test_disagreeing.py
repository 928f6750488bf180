"""Writers that disagree: clocks an hour apart, a process stopped and continued, compaction at any moment, two runs."""

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import pytest

from snowplow_posthog_dagster.generator import GeneratorSettings, S3Sink, generate
from snowplow_posthog_dagster.loading import transform
from snowplow_posthog_dagster.loading.day import Narrowing
from snowplow_posthog_dagster.posthog.pacing import Pace
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.reports import peak
from snowplow_posthog_dagster.storage import day_log, leases
from snowplow_posthog_dagster.storage.leases import DayLease
from snowplow_posthog_dagster.storage.s3 import Connection
from snowplow_posthog_dagster.storage.workspace import timestamp_name, timestamp_text
from tests.faults.kill_loop import processes_of
from tests.faults.load_once import Load
from tests.faults.paced_sender import Orders
from tests.faults.world import DAY, World, events

HOUR = dt.timedelta(hours=1)


def told(connection: Connection) -> dict[str, str]:
    """A connection as it travels to another process."""
    return {name: value for name, value in vars(connection).items() if isinstance(value, str)}


@contextlib.contextmanager
def clock_off_by(offset: dt.timedelta, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this process writes into names and entries is that far off."""

    def shifted(write: Callable[[dt.datetime], str]) -> Callable[..., str]:
        def late(now: dt.datetime | None = None) -> str:
            return write((now or dt.datetime.now(dt.UTC)) + offset)

        return late

    with monkeypatch.context() as patched:
        patched.setattr(day_log, "timestamp_name", shifted(timestamp_name))
        patched.setattr(transform, "timestamp_text", shifted(timestamp_text))
        yield


def test_runs_whose_clocks_are_an_hour_apart_end_in_the_same_state(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_object(events(2000), events(2000, first=2000))
    world.add_object(events(2000, first=4000))
    for hours in (2, -1, 1, -2):
        with clock_off_by(hours * HOUR, monkeypatch):
            world.deliver(load=world.load(narrowing=Narrowing(max_events=1000)))
            world.load().log.compact(above=2)
    report = world.deliver()
    assert report.events == 2000
    assert report.closed
    assert world.posthog.raw_rows() == 6000
    world.assert_complete()


class Meanwhile:
    """Works over and over in threads of their own, until the block ends; an error of theirs ends the test."""

    def __init__(self, *works: Callable[[], None]) -> None:
        self._over = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for work in works]

    def _repeat(self, work: Callable[[], None]) -> None:
        try:
            while not self._over.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - raised at the end of the block
            self._errors.append(error)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]


@pytest.mark.slow
def test_compactions_and_readers_at_any_moment_see_a_log_that_only_grows(world: World) -> None:
    for first in range(0, 30_000, 500):
        world.add_object(events(500, first=first))
    seen: list[int] = []
    log = world.load().log

    def compact() -> None:
        world.load().log.compact(above=1)
        time.sleep(0.05)

    with Meanwhile(compact, compact, lambda: seen.append(log.state().counts().acknowledged)):
        world.deliver(pacer=Pace(5000))
    assert seen == sorted(seen), "what was acknowledged stays acknowledged"
    assert world.posthog.raw_rows() == 30_000
    world.deliver()
    world.assert_complete()


def test_a_second_run_of_a_day_waits_for_the_first_and_sends_nothing_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.5)
    monkeypatch.setattr(leases, "LIFE_SECONDS", 1.5)
    for first in range(0, 12_000, 2000):
        world.add_object(events(2000, first=first))
    waited: list[str] = []
    reports: dict[str, Any] = {}

    def run(name: str) -> None:
        who = f"run {name}"
        with DayLease(world.workspace, DAY, sender=name, who=who, on_wait=waited.append):
            reports[name] = world.deliver(pacer=Pace(5000))

    one = threading.Thread(target=run, args=("ui",))
    one.start()
    time.sleep(0.7)
    two = threading.Thread(target=run, args=("cli",))
    two.start()
    one.join()
    two.join()
    assert set(waited) == {"run ui"}
    assert reports["ui"].events == 12_000
    assert reports["cli"].nothing_new and reports["cli"].posts == 0
    assert world.posthog.raw_rows() == 12_000
    world.assert_complete()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_is_stopped_in_the_middle_and_continued_later_changes_nothing(
    fault_connection: Connection, fault_posthog: StandInClient
) -> None:
    """As a laptop that sleeps, or a pod that is paused: meanwhile another run has done the day."""
    world = World(fault_connection, fault_posthog)
    fault_posthog.reset()
    for first in range(0, 20_000, 1000):
        world.add_object(events(1000, first=first))
    load = Load(
        told(fault_connection), world.archive.bucket.name, world.workspace.bucket.name, fault_posthog.host,
        fault_posthog.project_api_key, DAY.isoformat(), 2500.0,
    )  # fmt: skip
    mark = f"stopped-{os.getpid()}-{time.time_ns()}"
    stopped = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.load_once", json.dumps(asdict(load))],
        stdout=subprocess.PIPE,
        env={**os.environ, "KILL_LOOP_RUN": mark},
    )
    try:
        assert stopped.stdout is not None
        while b"deliver" not in stopped.stdout.readline():
            pass
        time.sleep(2.5)
        pids = list(processes_of(mark))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        assert world.state().counts().acknowledged < 20_000
        report = world.deliver()
        assert report.closed
        world.assert_complete()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert stopped.wait(60) == 0
    finally:
        for pid in processes_of(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        stopped.wait()
    world.assert_complete()
    assert world.deliver().posts == 0, "what the late one wrote adds nothing to do"
    world.assert_complete()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sender_that_was_stopped_does_not_send_on_an_old_share(
    world: World, fault_connection: Connection, fault_posthog: StandInClient
) -> None:
    """Its share ran out while it slept; another sender has taken it over; so it joins like a new one."""
    cap, body, scale = 3000.0, 200, 0.2
    children = []
    for number in range(2):
        orders = Orders(
            told(fault_connection), world.workspace.bucket.name, fault_posthog.host, fault_posthog.project_api_key,
            f"sender-{number}", 4, cap, body, scale,
        )  # fmt: skip
        command = [sys.executable, "-m", "tests.faults.paced_sender", json.dumps(asdict(orders))]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    try:
        time.sleep(9)
        os.kill(children[0].pid, signal.SIGSTOP)
        time.sleep(6)
        continued = time.time()
        os.kill(children[0].pid, signal.SIGCONT)
        time.sleep(6)
    finally:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
            child.wait(20)
    bodies = [(request["arrived"], request["received"]) for request in fault_posthog.requests()]
    assert peak(bodies, 12) <= 1.05 * cap * 12 + 2 * body
    around = [(at, count) for at, count in bodies if continued - 1 <= at / 1e6 <= continued + 4]
    assert peak(around, 1.0) <= 1.15 * cap + 4 * body, "no burst of the one that woke up"


def test_the_whole_flow_twice_at_once_maps_and_delivers_each_record_once(
    tmp_path: Path, fault_connection: Connection, fault_posthog: StandInClient
) -> None:
    """Two runs with `now`: both transform and both deliver the same day; their results are one."""
    fault_posthog.reset()
    world = World(fault_connection, fault_posthog)
    load = Load(
        told(fault_connection), world.archive.bucket.name, world.workspace.bucket.name, fault_posthog.host,
        fault_posthog.project_api_key, DAY.isoformat(), None,
    )  # fmt: skip
    settings = GeneratorSettings(
        start=dt.datetime.combine(DAY, dt.time(), dt.UTC), hours=24, events=6000, records_per_object=500, late=0
    )
    truth = generate(settings, S3Sink(world.archive.bucket.client, world.archive.bucket.name), tmp_path)
    command = [sys.executable, "-m", "tests.faults.load_once", json.dumps(asdict(load))]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert [run.wait(100) for run in runs] == [0, 0]
    state = world.state()
    counts = state.counts()
    assert state.problems() == []
    assert counts.pending == 0 and counts.acknowledged == counts.mapped
    assert fault_posthog.merged_rows() == truth.sums["must_arrive"]
