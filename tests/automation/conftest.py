"""A world for the automation: buckets of the sandbox's S3, the stand-in PostHog, a real Dagster instance."""

import datetime as dt
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import dagster as dg
import pytest

from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation import new_files
from snowplow_posthog_dagster.automation.job import job_name
from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, workspace_of
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.samples import sample_objects
from snowplow_posthog_dagster.sandbox.servers import running_posthog, running_s3
from snowplow_posthog_dagster.settings import AutomationSection, Environment, Settings, SettingsFile
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import BatchNote, Delivered, Done, Entry
from snowplow_posthog_dagster.storage.state import ACKNOWLEDGED
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text
from tests.automation.desk import Desk
from tests.automation.slack_server import SlackServer, running_slack

SAMPLE_LINES = [line for item in sample_objects() for line in item.lines.split(b"\n") if line]
"""Real events, one a line; broken ones are among them."""


@dataclass
class World:
    """One target with its own buckets; `now` is what the sensor takes for the time and moves by `after`."""

    settings: Settings
    instance: dg.DagsterInstance
    posthog: StandInClient
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    cursor: str | None = None
    used: int = 0

    @property
    def graph(self) -> Graph:
        return Graph(self.settings)

    @property
    def workspace(self) -> Workspace:
        return workspace_of(self.settings, connection_of(self.settings))

    def with_automation(self, **changes: object) -> "World":
        section = AutomationSection(**{**self.settings.file.automation.model_dump(), **changes})
        file = self.settings.file.model_copy(update={"automation": section})
        self.settings = Settings(self.settings.environment, file)
        return self

    def after(self, **time: float) -> "World":
        self.now += dt.timedelta(**time)
        return self

    def lines(self, count: int) -> bytes:
        """So many good events that no other object of this world has."""
        taken = SAMPLE_LINES[self.used : self.used + count]
        self.used += count
        return b"".join(line + b"\n" for line in taken)

    def put(self, moment: dt.datetime, name: str, body: bytes | None = None) -> str:
        """Put an object into the folder of the hour of `moment`; by default three fresh events."""
        key = f"output/{moment:%Y/%m/%d/%H}/{name}"
        data = gzip.compress(self.lines(3), mtime=0) if body is None else body
        boto3.client("s3").put_object(Bucket=self.settings.archive_bucket, Key=key, Body=data)
        return key

    def tick(self) -> dg.SensorResult:
        """One evaluation of the sensor at `now`, with the cursor of the one before."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = new_files.tick(context, self.graph, connection_of(self.settings), self.now)
        self.cursor = result.cursor
        return result

    def days(self, result: dg.SensorResult) -> list[str]:
        """The days that a tick asked a run for."""
        return [str(request.partition_key) for request in result.run_requests or []]

    def reason(self, result: dg.SensorResult) -> str:
        """Why a tick asked for nothing."""
        assert not result.run_requests
        return str(result.skip_reason.skip_message if result.skip_reason else "")

    def run(self, day: dt.date | str, **config: object) -> bool:
        """Really run the job on a day in this process; returns whether it succeeded."""
        definitions = build_definitions(self.settings)
        job = definitions.resolve_job_def(job_name(self.graph))
        names = ("snowplow_manifest", "posthog_batches", "posthog_events")
        result = job.execute_in_process(
            partition_key=f"{day}",
            instance=self.instance,
            raise_on_error=False,
            run_config={"ops": {name: {"config": config} for name in names}} if config else None,
        )
        return bool(result.success)

    def settle(self, day: dt.date) -> None:
        """Log every listed object of a day as transformed and acknowledged, as a run leaves it, without a run."""
        found = archive_of(self.settings, connection_of(self.settings)).list_day(day)
        DayLog(self.workspace, day).write([entry for one in found for entry in settled(one)], writer="test")

    def forget_process(self) -> None:
        """As after a restart of the code server: nothing of earlier ticks is in memory."""
        new_files._watches.clear()
        new_files._observed.clear()


def settled(found: ArchiveObject) -> list[Entry]:
    """The log entries of an object of three events that PostHog acknowledged."""
    note = BatchNote(id=found.object_id, events=3, raw=300, stored=100, first=0, last=0)
    done = Done(
        object=found.object_id,
        revision=0,
        key=found.key,
        etag=found.etag,
        bytes=found.size,
        hour=found.hour,
        lines=3,
        records=3,
        mapped=3,
        batches=[note],
        identity_version="test",
        mapping_version="test",
        writer="test",
        at=timestamp_text(),
    )
    return [done, Delivered(found.object_id, 0, note.id, 0, 3, ACKNOWLEDGED)]


@pytest.fixture(scope="session")
def s3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the S3 server serves: its buckets as folders, its objects as files."""
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="session")
def s3(s3_folder: Path) -> Iterator[dict[str, str]]:
    with running_s3(s3_folder) as environment:
        yield environment


@pytest.fixture(scope="session")
def posthog() -> Iterator[StandInClient]:
    with running_posthog() as client:
        yield client


@pytest.fixture
def world(
    s3: dict[str, str],
    posthog: StandInClient,
    instance_storage: Callable[[], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """A fresh target with empty buckets, and no fault in PostHog."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    posthog.reset()
    names = [f"{kind}-{uuid4().hex[:12]}" for kind in ("archive", "workspace")]
    environment = Environment(
        aws_s3_snowplow_bucket=names[0],
        snowplow_posthog_workspace=f"s3://{names[1]}/posthog",
        posthog_host=posthog.host,
        posthog_project_api_key=posthog.project_api_key,
        posthog_project_id="1",
    )
    with dg.instance_for_test(overrides=instance_storage()) as instance:
        for bucket in names:
            boto3.client("s3").create_bucket(Bucket=bucket)
        yield World(Settings(environment, SettingsFile()), instance, posthog)
        new_files._watches.clear()
        new_files._observed.clear()


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    """A server that speaks Slack's API and keeps what it is told."""
    with running_slack() as server:
        yield server


@pytest.fixture
def desk(slack: SlackServer, instance_storage: Callable[[], dict[str, Any]]) -> Iterator[Desk]:
    """A real instance whose assets fail on request, and the alerts to that Slack."""
    with dg.instance_for_test(overrides=instance_storage()) as instance:
        yield Desk(instance, slack)
