"""The processes of deploy/compose.yaml, each on its own: a backfill survives the death of any of them.

    webserver ──┐
    daemon ─────┼── PostgreSQL       Ceph ── archive and workspace
    code server ┘
       └── run worker ── step        each is killed without warning while days are delivered

The commands and the instance are those of the compose file; only ports and folders differ, and the times that the test
would otherwise wait for.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from snowplow_posthog_dagster.sandbox import faults
from snowplow_posthog_dagster.sandbox.samples import write_sample_archive
from snowplow_posthog_dagster.sandbox.servers import ARCHIVE_BUCKET, WORKSPACE_BUCKET
from tests.dagster.conftest import make_home
from tests.dagster.server import BIN, Dagster, Home, expected_events
from tests.integration.servers.postgres import PostgresServer, accepts, create_database, initialise
from tests.integration.servers.processes import answers, free_port, server_folder, wrapped

__all__ = ["make_home"]

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.ceph, pytest.mark.timeout(900)]

DAYS = ["2021-02-26", "2021-03-01", "2021-03-02", "2021-03-03", "2021-03-26"]
POST_SECONDS = 10.0


@dataclass
class Topology:
    """One process per service; `kill` takes one away without warning, `start` brings it back."""

    home: Home
    commands: dict[str, list[str]]
    ports: dict[str, int]
    database: PostgresServer
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def dagster(self) -> Dagster:
        return Dagster(f"http://127.0.0.1:{self.ports['webserver']}", self.log("daemon"))

    def log(self, service: str) -> Path:
        return self.home.sandbox.root / "logs" / f"{service}.log"

    def start(self, service: str) -> None:
        """Start a service and wait until it listens."""
        with self.log(service).open("ab") as output:
            self.running[service] = subprocess.Popen(
                self.commands[service],
                cwd="/" if service == "database" else self.home.sandbox.root,
                env=self.home.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if service == "database":
            self.dagster.wait_for(lambda: self.revived(service) and accepts(self.database), service, 60)
        elif service in self.ports:
            self.dagster.wait_for(lambda: answers(self.ports[service]), service, 90)

    def kill(self, service: str) -> None:
        """SIGKILL for the service and everything it started, as when its container is lost."""
        process = self.running.pop(service)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)

    def revived(self, service: str) -> bool:
        """What `restart: unless-stopped` does: a service that ended is started again; returns whether it ran on."""
        if self.running[service].poll() is None:
            return True
        del self.running[service]
        self.start(service)
        return False

    def delivering(self) -> "Delivering":
        """Wait until a run delivers; its processes."""
        return self.dagster.wait_for(self._delivering, "a delivery", 240)  # type: ignore[no-any-return]

    def _delivering(self) -> "Delivering | None":
        told = re.findall(
            r"([0-9a-f-]{36}) - (\d+) - posthog_events - STEP_WORKER_START(ING|ED)", self.log("code").read_text()
        )
        pids = {(run, "worker" if event == "ING" else "step"): int(pid) for run, pid, event in told}
        for run in {run for run, _ in pids}:
            found = Delivering(pids.get((run, "worker"), 0), pids.get((run, "step"), 0))
            if all(map(is_alive, found)):
                return found
        return None

    def kill_process(self, pid: int) -> None:
        """SIGKILL for one process; returns when it is gone."""
        os.kill(pid, signal.SIGKILL)
        self.dagster.wait_for(lambda: not is_alive(pid), f"the end of {pid}", 20, every=0.05)


class Delivering(NamedTuple):
    """The processes of a run that delivers."""

    worker: int
    step: int


def is_alive(pid: int) -> bool:
    """Whether the process is there and has not merely not been waited for."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def compose_commands(repository, folder, ports) -> dict[str, list[str]]:
    """The commands of the compose file, with this machine's ports and folders."""
    services: dict[str, Any] = yaml.safe_load((repository / "deploy" / "compose.yaml").read_text())["services"]
    workspace = str(folder / "workspace.yaml")

    def here(command):
        replaced = {
            "/opt/dagster/workspace.yaml": workspace,
            "3000": str(ports["webserver"]),
            "3030": str(ports["code"]),
            "0.0.0.0": "127.0.0.1",
        }
        return [str(BIN / command[0]), *(replaced.get(part, part) for part in command[1:])]

    return {name: here(services[name]["command"]) for name in ("prepare", "code", "webserver", "daemon")}


@pytest.fixture
def home(repository, make_home, ceph_server) -> Home:
    """A home with the compose file's instance, whose archive and workspace are in Ceph."""
    found: Home = make_home()
    found.environment |= ceph_server.environment()
    client = ceph_server.client()
    for bucket in (ARCHIVE_BUCKET, WORKSPACE_BUCKET):
        client.create_bucket(Bucket=bucket)
    write_sample_archive(client, ARCHIVE_BUCKET)
    root = found.sandbox.root
    instance = yaml.safe_load((repository / "deploy" / "compose" / "dagster.yaml").read_text())
    instance["compute_logs"]["config"]["base_dir"] = str(root / "step-logs")
    instance["run_monitoring"] |= {
        "start_timeout_seconds": 30,
        "poll_interval_seconds": 5,
        "free_slots_after_run_end_seconds": 5,
    }
    shutil.rmtree(root / "dagster_home")
    (root / "dagster_home").mkdir()
    (root / "dagster_home" / "dagster.yaml").write_text(yaml.safe_dump(instance))
    return found


@pytest.fixture
def topology(repository, home) -> Iterator[Topology]:
    """Everything started in the order of the compose file: database, `prepare`, then the three services."""
    root = home.sandbox.root
    ports = {"code": free_port(), "webserver": free_port()}
    workspace = yaml.safe_load((repository / "deploy" / "compose" / "workspace.yaml").read_text())
    workspace["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": ports["code"]}
    (root / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    with server_folder("postgres") as folder:
        # What was committed must outlive the kill, as it does with PostgreSQL's own defaults.
        database, command = initialise(folder, durable=True)
        home.environment |= {
            "DAGSTER_PG_HOST": database.host,
            "DAGSTER_PG_PORT": str(database.port),
            "DAGSTER_PG_USERNAME": database.user,
            "DAGSTER_PG_PASSWORD": "not asked for",
            "DAGSTER_PG_DATABASE": database.database,
        }
        found = Topology(home, compose_commands(repository, root, ports), ports, database)
        found.commands["database"] = wrapped(command, as_nobody=True, dies_with_us=True)
        try:
            found.start("database")
            create_database(database)
            subprocess.run(found.commands["prepare"], cwd=root, env=home.environment, check=True, timeout=100)
            for service in ("code", "webserver", "daemon"):
                found.start(service)
            found.dagster.wait_for(found.dagster.daemons_are_healthy, "the daemons", 120)
            yield found
        finally:
            for service in list(found.running):
                found.kill(service)


def test_a_backfill_survives_the_death_of_every_process_one_after_the_other(topology):
    dagster, posthog = topology.dagster, topology.home.posthog
    posthog.play(faults.Fault(name="slow", status=200, body=faults.OK_BODY, store=1, delay_seconds=POST_SECONDS))
    backfill = dagster.backfill(DAYS)
    topology.kill_process(topology.delivering().step)
    topology.kill_process(topology.delivering().worker)
    for service in ("code", "daemon", "webserver", "database"):
        topology.delivering()
        topology.kill(service)
        topology.start(service)
        for one in ("code", "daemon", "webserver"):
            topology.revived(one)
    dagster.wait_for(dagster.answers, "the webserver", 90)
    posthog.play()
    ended = dagster.wait_for_backfill(backfill, seconds=400)
    # A run that died with its process is retried, a day whose step was killed is launched again: nothing to clean up.
    if ended != "COMPLETED_SUCCESS":
        assert dagster.wait_for_backfill(dagster.backfill(DAYS), seconds=300) == "COMPLETED_SUCCESS"
    assert_everything_arrived_once(topology)


def assert_everything_arrived_once(topology):
    """PostHog has every event and no rule of it was broken; every sum adds up; no run, no place in a pool is left."""
    dagster, posthog = topology.dagster, topology.home.posthog
    assert posthog.merged_rows() == sum(len(expected_events(day)) for day in DAYS)
    assert posthog.violations() == {}
    for day in DAYS:
        assert dagster.metadata("posthog_events", day)[0]["pending"] == 0
    status = topology.home.command("snowplow-posthog", "status")
    assert status.returncode == 0, status.stderr
    assert "does not add up" not in status.stdout
    states = {run["status"] for run in dagster.runs()}
    assert states <= {"SUCCESS", "FAILURE"}
    slots = dagster.ask('{ instance { concurrencyLimit(concurrencyKey: "posthog_ingest") { activeSlotCount } } }')
    assert slots["instance"]["concurrencyLimit"]["activeSlotCount"] == 0
