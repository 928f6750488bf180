"""Landing to acknowledged with the defaults: two hours of arrivals under a simulated clock, decided by the real sensor.

The archive, the logs, Dagster's run records and every decision are real; simulated are the time that each of them is
told, and what a run takes. From its request to its end a run takes `RUN_SECONDS`: as long as runs took in `make soak`
on two cores shared with other work (half of them within 33 s, the slowest 75 s), and once an hour as long as a big
flush does. What lands before a run lists is acknowledged when the run ends, as late as it can be.
"""

import datetime as dt
import gzip
import heapq
import itertools
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import boto3
import dagster as dg
import pytest

from snowplow_posthog_dagster.automation.job import job_name
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.day_log import DayLog
from tests.automation.conftest import World, settled
from tests.automation.test_new_files import origin

START = dt.datetime(2025, 6, 11, 1, 0, tzinfo=dt.UTC)
HOURS = 2
TICK_SECONDS = 30.0
LISTS_AFTER_SECONDS = 8.0
RUN_SECONDS = (20.0, 33.0, 33.0, 45.0, 75.0)
BIG_RUN_SECONDS = 240.0


@dataclass
class Simulation:
    """A queue of (time, what happens); time in seconds after START."""

    world: World
    seed: int
    landed: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)
    runs: list[tuple[float, float]] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.order = itertools.count()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.durations = itertools.cycle(RUN_SECONDS)
        self.s3: Any = boto3.client("s3")

    def at(self, time: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (time, next(self.order), what))

    def play(self, hours: float) -> None:
        """Files land every 20 to 70 s for so many hours; the sensor ticks on until nothing waits."""
        end, time = hours * 3600, 10.0
        while time < end:
            self.at(time, self.land)
            time += self.chance.uniform(20, 70)
        for number in range(int((end + 900) / TICK_SECONDS)):
            self.at(number * TICK_SECONDS, self.tick)
        while self.queue:
            self.now, _, what = heapq.heappop(self.queue)
            self.world.now = START + dt.timedelta(seconds=self.now)
            what()

    def land(self) -> None:
        moment = self.world.now
        key = f"output/{moment:%Y/%m/%d/%H}/SnowPlow-{len(self.landed)}.gz"
        body = gzip.compress(f"{uuid4()}".encode())
        # The S3 server takes the time of last modification from here; the sensor sees no other clock.
        stamp = {"mtime": f"{moment.timestamp():.3f}"}
        self.s3.put_object(Bucket=self.world.settings.archive_bucket, Key=key, Body=body, Metadata=stamp)
        self.landed[key] = self.now

    def tick(self) -> None:
        for day in self.world.days(self.world.tick()):
            self.begin(day)

    def begin(self, day: str) -> None:
        big = len(self.runs) % 12 == 11
        ended = self.now + (BIG_RUN_SECONDS if big else next(self.durations))
        run = dg.DagsterRun(
            job_name=job_name(self.world.graph), run_id=f"{uuid4()}", status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": day}, remote_job_origin=origin(),
        )  # fmt: skip
        self.world.instance.run_storage.add_historical_run(run, self.world.now)
        self.runs.append((self.now, ended))
        self.at(self.now + LISTS_AFTER_SECONDS, lambda: self.look(run, day, ended))

    def look(self, run: dg.DagsterRun, day: str, ended: float) -> None:
        self.report(run, "PIPELINE_START")
        state = DayLog(self.world.workspace, dt.date.fromisoformat(day)).state()
        listing = archive_of(self.world.settings, connection_of(self.world.settings)).list_day(
            dt.date.fromisoformat(day)
        )
        new = [found for found in listing if found.object_id not in state.objects]
        self.at(ended, lambda: self.end(run, day, new))

    def end(self, run: dg.DagsterRun, day: str, new: list[ArchiveObject]) -> None:
        log = DayLog(self.world.workspace, dt.date.fromisoformat(day))
        log.write([entry for found in new for entry in settled(found)], writer=run.run_id[:8])
        self.report(run, "PIPELINE_SUCCESS")
        self.acknowledged.update({found.key: self.now for found in new})

    def report(self, run: dg.DagsterRun, kind: str) -> None:
        event = dg.DagsterEvent(event_type_value=kind, job_name=run.job_name)
        self.world.instance.run_storage.handle_run_event(run.run_id, event, self.world.now)

    def latencies(self) -> list[float]:
        return [self.acknowledged[key] - landed for key, landed in self.landed.items()]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_the_defaults_files_are_acknowledged_within_ten_minutes(world: World) -> None:
    section = world.settings.file.automation
    assert (section.min_minutes_between_runs, section.sensor_seconds) == (5.0, TICK_SECONDS), "the defaults"
    simulation = Simulation(world, seed=5)
    simulation.play(HOURS)
    assert set(simulation.acknowledged) == set(simulation.landed), "every file"
    latencies = simulation.latencies()
    p50, p95 = statistics.median(latencies), statistics.quantiles(latencies, n=20)[-1]
    print(
        f"{len(latencies)} files, {len(simulation.runs)} runs, p50 {p50:.0f} s, p95 {p95:.0f} s, {max(latencies):.0f}"
    )
    assert p95 < 600
    starts = [began for began, _ in simulation.runs]
    assert min(later - earlier for earlier, later in itertools.pairwise(starts)) >= 300, "five minutes apart"
    assert all(later >= ended for (_, ended), (later, _) in itertools.pairwise(simulation.runs)), "no pile-up"
    assert len(starts) >= HOURS * 10
