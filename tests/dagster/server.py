"""A real `dagster dev` for the tests, its GraphQL, and the sandbox that it works on.

    sandbox (S3, PostHog) ──environment──> Home (DAGSTER_HOME, settings file) ──> dagster dev ──> Dagster (GraphQL)

Programs are taken from the running Python's folder and get a bare PATH, as under a process supervisor.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from snowplow_posthog_dagster.sandbox import samples
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import Sandbox
from tests.integration.servers.processes import free_port

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 120
ASSETS = ("snowplow_manifest", "posthog_batches", "posthog_events")
ENDED = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}


def runnable(name: str) -> list[str]:
    """A program beside the running Python; the project's own as a module, since a checkout need not be installed."""
    if name == "snowplow-posthog":
        return [sys.executable, "-m", "snowplow_posthog_dagster.cli"]
    return [str(BIN / name)]


@dataclass
class Home:
    """A sandbox with a Dagster home of its own; `changes` to dagster.yaml and a settings file are written into it."""

    sandbox: Sandbox
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder = self.sandbox.root / "dagster_home"
        if not (folder / "dagster.yaml").exists():
            shutil.copy(REPOSITORY / "dagster.yaml", folder / "dagster.yaml")
        bare = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.sandbox.root),
            "PYTHONPATH": str(REPOSITORY),
            "LANG": "C.UTF-8",
        }
        self.environment = {**bare, **self.sandbox.environment(), **self.environment}

    @property
    def posthog(self) -> StandInClient:
        return self.sandbox.client()

    def instance_settings(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change this home's dagster.yaml."""
        file = Path(self.environment["DAGSTER_HOME"]) / "dagster.yaml"
        content = yaml.safe_load(file.read_text())
        change(content)
        file.write_text(yaml.safe_dump(content))

    def settings(self, **sections: Any) -> None:
        """Write the project's settings file and name it in the environment."""
        file = self.sandbox.root / "settings.yaml"
        file.write_text(yaml.safe_dump(sections))
        self.environment["SNOWPLOW_POSTHOG_SETTINGS"] = str(file)

    def command(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run `dagster`, `dg` or `snowplow-posthog` to its end, in the checkout."""
        return subprocess.run(
            [*runnable(arguments[0]), *arguments[1:]],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The same, but without waiting for the end."""
        return subprocess.Popen(
            [*runnable(arguments[0]), *arguments[1:]],
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


@contextmanager
def running_dagster(home: Home, *program: str) -> Iterator["Dagster"]:
    """`dagster dev` (or another program, such as `dg dev`) on a free port until the end of the block."""
    port = free_port()
    log = home.sandbox.root / "logs" / "dagster-dev.log"
    command = [*(program or ("dagster", "dev")), "-h", "127.0.0.1", "-p", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*runnable(command[0]), *command[1:]],
            cwd=REPOSITORY,
            env=home.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Dagster(f"http://127.0.0.1:{port}", log)
    try:
        server.wait_for(lambda: server.answers() or _ended(process, log), "dagster dev", START_SECONDS)
        server.wait_for(server.daemons_are_healthy, "the daemons", START_SECONDS)
        yield server
    finally:
        _end(process)


def _ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"ended with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt it as Ctrl-C does; what is left of its session after 20 s is killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(10)


@dataclass(frozen=True)
class Dagster:
    """What tests ask of a running Dagster, in GraphQL."""

    address: str
    log: Path

    def ask(self, query: str, **variables: Any) -> Any:
        """Run a query; raises with the message of a GraphQL error."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        if answer.get("errors"):
            raise RuntimeError(answer["errors"])
        return answer["data"]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/server_info", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def daemons_are_healthy(self) -> bool:
        found = self.ask("{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }")
        statuses = found["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(one["healthy"] for one in statuses if one["required"])

    def wait_for(self, ready: Callable[[], Any], what: str, seconds: float, every: float = 0.5) -> Any:
        """Poll until `ready` gives something true, and return that."""
        deadline = time.monotonic() + seconds
        while not (found := ready()):
            if time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-3000:]
                raise TimeoutError(f"{what}: not within {seconds:.0f} s; Dagster's log ends:\n{tail}")
            time.sleep(every)
        return found

    def assets(self) -> dict[str, dict[str, Any]]:
        """Asset key -> its node."""
        nodes = self.ask("{ assetNodes { assetKey { path } groupName partitionDefinition { description } pools } }")
        return {"/".join(node["assetKey"]["path"]): node for node in nodes["assetNodes"]}

    def backfill(self, days: Sequence[str], assets: Sequence[str] = ASSETS) -> str:
        """Launch a partition backfill as the UI does; returns its id."""
        found = self.ask(
            """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
                 __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            params={
                "partitionNames": list(days),
                "assetSelection": [{"path": [name]} for name in assets],
                "fromFailure": False,
                "tags": [],
            },
        )["launchPartitionBackfill"]
        return str(found["backfillId"])

    def backfill_status(self, backfill_id: str) -> str:
        found = self.ask(
            """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
                 __typename ... on PartitionBackfill { status } } }""",
            id=backfill_id,
        )
        return str(found["partitionBackfillOrError"]["status"])

    def wait_for_backfill(self, backfill_id: str, seconds: float = 600) -> str:
        """The final status of a backfill."""
        self.wait_for(lambda: self.backfill_status(backfill_id) in ENDED, "the backfill", seconds, every=2)
        for run in self.runs(dagster__backfill=backfill_id):
            if run["status"] == "FAILURE":
                print(run["tags"]["dagster/partition"], self.errors(run["runId"]))
        return self.backfill_status(backfill_id)

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """Runs with these tags (`__` stands for `/`), newest first, with times in seconds since 1970."""
        wanted = [{"key": name.replace("__", "/"), "value": value} for name, value in tags.items()]
        found = self.ask(
            """query ($tags: [ExecutionTag!]) { runsOrError(filter: {tags: $tags}) { ... on Runs { results {
                 runId jobName status startTime endTime creationTime tags { key value }
                 stepStats { stepKey startTime endTime status } } } } }""",
            tags=wanted,
        )
        runs = found["runsOrError"]["results"]
        for run in runs:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return list(runs)

    def materialize(self, day: str, *, job: str = "load_day", tags: dict[str, str] | None = None) -> str:
        """Launch a run of the job for one day through the queue; returns the run id."""
        labels = {"dagster/partition": day, **(tags or {})}
        found = self.ask(
            """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
                 __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
                 ... on RunConfigValidationInvalid { errors { message } } } }""",
            params={
                "selector": {
                    "repositoryLocationName": "snowplow_posthog_dagster",
                    "repositoryName": "__repository__",
                    "jobName": job,
                },
                "mode": "default",
                "runConfigData": {},
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in labels.items()]},
            },
        )["launchRun"]
        return str(found["run"]["runId"])

    def run(self, run_id: str) -> dict[str, Any]:
        """One run."""
        found = self.ask(
            """query ($id: ID!) { runOrError(runId: $id) { ... on Run { runId status startTime endTime creationTime
                 tags { key value } stepStats { stepKey startTime endTime status } } } }""",
            id=run_id,
        )["runOrError"]
        return dict(found)

    def wait_for_run(self, run_id: str, seconds: float = 400) -> str:
        """The final status of a run."""
        final = {"SUCCESS", "FAILURE", "CANCELED"}
        self.wait_for(lambda: self.run(run_id)["status"] in final, f"run {run_id}", seconds)
        status = str(self.run(run_id)["status"])
        if status == "FAILURE":
            print(run_id, self.errors(run_id))
        return status

    def errors(self, run_id: str) -> str:
        """Why a run failed: the messages of its errors."""
        found = self.ask(
            """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
                 ... on MessageEvent { message } ... on ErrorEvent { error { message causes { message } } } } } } }""",
            id=run_id,
        )["logsForRun"]["events"]
        return "\n".join(json.dumps(event) for event in found if event.get("error"))[-4000:]

    def metadata(self, asset: str, day: str) -> list[dict[str, Any]]:
        """The metadata of the materializations of a partition, newest first: numbers, texts, booleans."""
        found = self.ask(
            """query ($path: [String!]!, $day: String!) { assetOrError(assetKey: {path: $path}) { ... on Asset {
                 assetMaterializations(partitions: [$day]) { runId metadataEntries { label
                   ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue }
                   ... on TextMetadataEntry { text } ... on BoolMetadataEntry { boolValue } } } } } }""",
            path=[asset],
            day=day,
        )["assetOrError"]["assetMaterializations"]
        return [
            {
                entry["label"]: next((entry[name] for name in _VALUES if entry.get(name) is not None), None)
                for entry in one["metadataEntries"]
            }
            for one in found
        ]

    def ticks(self, sensor: str) -> list[dict[str, Any]]:
        """The last ticks of a sensor, newest first."""
        found = self.ask(
            """query ($name: String!) { sensorOrError(sensorSelector: {repositoryLocationName:
                 "snowplow_posthog_dagster", repositoryName: "__repository__", sensorName: $name}) { ... on Sensor {
                 sensorState { ticks(limit: 50) { status skipReason timestamp endTimestamp runIds cursor
                   error { message } } } } } }""",
            name=sensor,
        )
        return list(found["sensorOrError"]["sensorState"]["ticks"])


_VALUES = ("intValue", "floatValue", "text", "boolValue")


def most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """How many of these (start, end) were under way at one moment at most; touching ends do not overlap."""
    moments = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def expected_events(day: str) -> set[str]:
    """The event ids of the sample records of a day but the broken ones, counted without the project's own reader."""
    broken = set(samples._lines(samples.BROKEN_FILE))
    lines = [line for item in samples.sample_objects() if item.day == day for line in item.lines.split(b"\n") if line]
    return {line.split(b"\t")[6].decode() for line in lines if line not in broken}
