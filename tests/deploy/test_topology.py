"""The processes of deploy/compose.yaml, each on its own, on PostgreSQL: a backfill survives the death of any of them.

webserver ──┐
daemon ─────┼── PostgreSQL
code server ┘      the commands and the instance are those of the compose file; only ports and folders differ
"""

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dagster.conftest import make_home
from tests.dagster.server import BIN, Dagster, Home, expected_events
from tests.integration.servers.processes import answers, free_port

__all__ = ["make_home"]

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(900)]

DAYS = ["2021-03-01", "2021-03-02", "2021-03-03"]


@dataclass
class Topology:
    """One process per service; `kill` takes one away without warning, `start` brings it back."""

    home: Home
    commands: dict[str, list[str]]
    ports: dict[str, int]
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
                cwd=self.home.sandbox.root,
                env=self.home.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        port = self.ports.get(service)
        if port:
            self.dagster.wait_for(lambda: answers(port), service, 90)

    def kill(self, service: str) -> None:
        """SIGKILL for the service and everything it started, as when its container is lost."""
        process = self.running.pop(service)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def compose_commands(repository, folder, ports) -> dict[str, list[str]]:
    """The commands of the compose file and the image, with this machine's ports and folders."""
    services: dict[str, Any] = yaml.safe_load((repository / "deploy" / "compose.yaml").read_text())["services"]
    workspace = str(folder / "workspace.yaml")

    def here(command):
        replaced = {"/opt/dagster/workspace.yaml": workspace, "3000": str(ports["webserver"]), "0.0.0.0": "127.0.0.1"}
        return [str(BIN / command[0]), *(replaced.get(part, part) for part in command[1:])]

    code = ["dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(ports["code"]), "-m"]
    return {
        "prepare": here(services["prepare"]["command"]),
        "code": here([*code, "snowplow_posthog_dagster.definitions"]),
        "webserver": here(services["webserver"]["command"]),
        "daemon": here(services["daemon"]["command"]),
    }


@pytest.fixture
def topology(repository, make_home, postgres_server):
    home = make_home()
    root = home.sandbox.root
    ports = {"code": free_port(), "webserver": free_port()}
    instance = yaml.safe_load((repository / "deploy" / "compose" / "dagster.yaml").read_text())
    instance["compute_logs"]["config"]["base_dir"] = str(root / "step-logs")
    # Only the times are shortened, so that the test need not wait for them.
    instance["run_monitoring"] |= {
        "start_timeout_seconds": 30,
        "poll_interval_seconds": 5,
        "free_slots_after_run_end_seconds": 5,
    }
    shutil.rmtree(root / "dagster_home")
    (root / "dagster_home").mkdir()
    (root / "dagster_home" / "dagster.yaml").write_text(yaml.safe_dump(instance))
    workspace = yaml.safe_load((repository / "deploy" / "compose" / "workspace.yaml").read_text())
    workspace["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": ports["code"]}
    (root / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    home.environment |= {
        "DAGSTER_PG_HOST": postgres_server.host,
        "DAGSTER_PG_PORT": str(postgres_server.port),
        "DAGSTER_PG_USERNAME": postgres_server.user,
        "DAGSTER_PG_PASSWORD": "not asked for",
        "DAGSTER_PG_DATABASE": postgres_server.database,
    }
    found = Topology(home, compose_commands(repository, root, ports), ports)
    subprocess.run(found.commands["prepare"], cwd=root, env=home.environment, check=True, timeout=100)
    for service in ("code", "webserver", "daemon"):
        found.start(service)
    found.dagster.wait_for(found.dagster.daemons_are_healthy, "the daemons", 120)
    yield found
    for service in list(found.running):
        found.kill(service)


def test_a_backfill_survives_the_death_of_daemon_webserver_and_code_server(topology):
    dagster = topology.dagster
    backfill = dagster.backfill(DAYS)
    dagster.wait_for(lambda: dagster.runs(dagster__backfill=backfill), "the first run", 120)
    for service in ("daemon", "webserver", "code"):
        topology.kill(service)
        topology.start(service)
    dagster.wait_for(dagster.answers, "the webserver", 90)
    dagster.wait_for_backfill(backfill, seconds=500)
    # A run that died with its code server was retried, or its day is launched again: nothing has to be cleaned up.
    if topology.dagster.backfill_status(backfill) != "COMPLETED_SUCCESS":
        assert dagster.wait_for_backfill(dagster.backfill(DAYS), seconds=300) == "COMPLETED_SUCCESS"
    expected = set().union(*map(expected_events, DAYS))
    assert topology.home.posthog.merged_rows() == len(expected)
    assert topology.home.posthog.violations() == {}
