"""Real runs of Dagster, interrupted and killed: they end within seconds, and the next one sends only the rest."""

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from snowplow_posthog_dagster.generator import FolderSink, GeneratorSettings, generate, read_uuids
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog, running_s3
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.s3 import Bucket, connect
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.faults.kill_loop import processes_of
from tests.faults.world import connection_of

DAY = dt.date(2022, 6, 6)
EVENTS = 24_000
SLOW_EVENTS = 1_600
SLOW_RATE = 50.0
REPOSITORY = Path(__file__).resolve().parent.parent.parent
LOAD = ["-m", "snowplow_posthog_dagster.cli", "load", DAY.isoformat(), "--now"]
MATERIALIZE = [
    "-m", "dagster", "asset", "materialize", "--select", "*", "-m", "snowplow_posthog_dagster", "--partition",
    DAY.isoformat(),
]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Site:
    """A deployment: environment, Dagster's home, the archive and what must arrive of it."""

    environment: dict[str, str]
    posthog: StandInClient
    workspace: Workspace
    archive: Archive
    uuids: set[str]
    settings: Path

    def pace(self, events_per_second: float | None) -> None:
        """The cap of the runs that start from now on."""
        self.settings.write_text(yaml.safe_dump({"delivery": {"events_per_second": events_per_second}}))

    def start(self, arguments: list[str], mark: str) -> "subprocess.Popen[bytes]":
        """Start a command in this deployment."""
        environment = {**os.environ, **self.environment, "KILL_LOOP_RUN": mark}
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def counts(self) -> Counts:
        """The counting equation of the day, from its log."""
        return DayLog(self.workspace, DAY).state().counts()

    def held(self) -> bool:
        """Whether a run holds the day."""
        return any(
            item.key.endswith("/holding") for item in self.workspace.bucket.listing(self.workspace.folder("leases"))
        )

    def assert_complete(self) -> None:
        """Each event arrived, and none but those."""
        stored = [row["uuid"] for row in self.posthog.merged()]
        assert len(stored) == len(set(stored))
        assert set(stored) == self.uuids
        state = DayLog(self.workspace, DAY).state()
        assert state.problems() == []
        assert state.counts().pending == 0
        assert self.posthog.violations() == {}


@contextlib.contextmanager
def deployed(folder: Path, *, events: int, records_per_object: int, events_per_second: float) -> Iterator[Site]:
    """A day of generated events in an archive, and a deployment that may send so many a second."""
    for bucket in ("archive", "workspace"):
        (folder / "s3" / bucket).mkdir(parents=True)
    (folder / "home").mkdir()
    generator = GeneratorSettings(
        start=dt.datetime.combine(DAY, dt.time(), dt.UTC), hours=24, events=events,
        records_per_object=records_per_object, late=0,
    )  # fmt: skip
    generate(generator, FolderSink(folder / "s3" / "archive"), folder / "truth")
    with running_s3(folder / "s3") as s3, running_posthog() as posthog:
        client = connect(connection_of(s3))
        environment = {
            **s3,
            "AWS_S3_SNOWPLOW_BUCKET": "archive",
            "SNOWPLOW_POSTHOG_WORKSPACE": "s3://workspace/posthog",
            "SNOWPLOW_POSTHOG_SETTINGS": str(folder / "settings.yaml"),
            "POSTHOG_HOST": posthog.host,
            "POSTHOG_PROJECT_API_KEY": posthog.project_api_key,
            "POSTHOG_PROJECT_ID": "1",
            "POSTHOG_BACKFILL_START_DATE": "2022-06-01",
            "DAGSTER_HOME": str(folder / "home"),
            "PYTHONPATH": str(REPOSITORY),
        }
        made = Site(
            environment,
            posthog,
            Workspace(Bucket(client, "workspace"), "posthog/", "default"),
            Archive(Bucket(client, "archive"), (ArchiveEntry("output/"),)),
            set(read_uuids(folder / "truth")),
            folder / "settings.yaml",
        )
        made.pace(events_per_second)
        yield made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Paced so that a delivery takes about eight seconds."""
    with deployed(tmp_path, events=EVENTS, records_per_object=1000, events_per_second=3000.0) as made:
        yield made


@pytest.fixture
def slow_site(tmp_path: Path) -> Iterator[Site]:
    """Small objects under a small cap: a body of at most a hundred events every two seconds, for half a minute."""
    with deployed(tmp_path, events=SLOW_EVENTS, records_per_object=50, events_per_second=SLOW_RATE) as made:
        yield made


def wait_for(condition: Callable[[], bool], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@contextlib.contextmanager
def running(
    site: Site, arguments: list[str], name: str, *, sent: int = 2000
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """A run that has sent more than so many events already."""
    mark = f"{name}-{os.getpid()}-{time.time_ns()}"
    process = site.start(arguments, mark)
    try:
        wait_for(lambda: site.posthog.progress()["raw_rows"] > sent or process.poll() is not None)
        assert process.poll() is None, process.communicate()[1].decode()[-2000:]
        yield process, mark
    finally:
        for pid in processes_of(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def finish(site: Site) -> None:
    """Run the partition again, to its end."""
    process = site.start([*LOAD], "finish")
    told = process.communicate(timeout=200)[1].decode()
    assert process.returncode == 0, told[-2000:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("arguments", [LOAD, MATERIALIZE], ids=["load", "materialize"])
def test_a_signal_ends_a_run_within_seconds_and_its_log_agrees_with_posthog(
    site: Site, arguments: list[str], number: int
) -> None:
    with running(site, arguments, "signal") as (process, mark):
        process.send_signal(number)
        began = time.monotonic()
        # The last that a step does is to give back the day.
        wait_for(lambda: not site.held(), 20)
        assert time.monotonic() - began < 5
        # Dagster itself writes its events and ends after it.
        process.wait(30)
        wait_for(lambda: not processes_of(mark), 10)
    acknowledged = site.counts().acknowledged
    assert 0 < acknowledged < EVENTS
    assert acknowledged == site.posthog.raw_rows(), "bodies in flight were answered and logged"
    finish(site)
    site.assert_complete()


@pytest.mark.parametrize(
    ("arguments", "number"),
    [(LOAD, signal.SIGINT), (MATERIALIZE, signal.SIGTERM)],
    ids=["Ctrl-C of load", "SIGTERM of materialize"],
)
def test_an_interrupted_run_under_a_small_cap_sends_nothing_more_and_the_next_one_sends_the_rest(
    slow_site: Site, arguments: list[str], number: int
) -> None:
    with running(slow_site, arguments, "paced", sent=250) as (process, mark):
        process.send_signal(number)
        began = time.time()
        wait_for(lambda: not slow_site.held(), 20)
        left = time.time()
        assert left - began < 5
        process.wait(30)
        wait_for(lambda: not processes_of(mark), 10)
    time.sleep(max(0.0, left + 8 - time.time()))
    arrived = [request["arrived"] / 1e6 for request in slow_site.posthog.requests()]
    assert len([moment for moment in arrived if moment < began]) >= 3
    assert len([moment for moment in arrived if moment >= began]) <= 1, "only a body that was on its way"
    assert not [moment for moment in arrived if moment > left], "eight more seconds were four bodies' worth"
    counts = slow_site.counts()
    assert counts.acknowledged == slow_site.posthog.raw_rows() < counts.mapped / 2
    assert counts.acknowledged + counts.pending == counts.mapped
    slow_site.pace(None)
    finish(slow_site)
    slow_site.assert_complete()
    assert slow_site.posthog.raw_rows() == counts.mapped, "nothing was sent twice"


@pytest.mark.parametrize("victim", ["run worker", "step"])
def test_a_killed_run_leaves_no_process_and_the_next_one_sends_the_rest(site: Site, victim: str) -> None:
    with running(site, MATERIALIZE, "kill") as (process, mark):
        steps = [pid for pid, command in processes_of(mark).items() if "spawn_main" in command]
        assert steps
        for pid in [process.pid] if victim == "run worker" else steps:
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        wait_for(lambda: not any("spawn_main" in command for command in processes_of(mark).values()), 10)
        assert time.monotonic() - began < 3
    resendable = site.posthog.raw_rows() - site.counts().acknowledged
    assert resendable <= 3000 * 3 + 8 * 2000
    finish(site)
    site.assert_complete()
    assert site.posthog.raw_rows() <= EVENTS * 1.02 + resendable
