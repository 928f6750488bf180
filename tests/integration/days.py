"""A day to load in tests: buckets on a real S3 server, a stand-in for PostHog, and the steps of a day."""

import datetime as dt
import gzip
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snowplow_posthog_dagster.loading.blueprint import Blueprint
from snowplow_posthog_dagster.loading.day import DayLoad, Narrowing
from snowplow_posthog_dagster.loading.delivery import DeliveryOptions
from snowplow_posthog_dagster.loading.reports import StepReport
from snowplow_posthog_dagster.loading.transform import TransformOptions
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.posthog.capture import CaptureClient
from snowplow_posthog_dagster.posthog.pacing import Pace
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.projects import PROJECT_API_KEY
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.integration.servers import S3Server

DAY = dt.date(2022, 6, 6)
_LINES = Path(__file__).parent.parent / "snowplow" / "data" / "edge-cases" / "newline_terminated.tsv"


def line(number: int, *, title: str = "", event_id: str | None = None) -> bytes:
    """One good enriched event of the day, with an id of its own."""
    fields = _LINES.read_bytes().split(b"\n")[0].split(b"\t")
    fields[6] = (event_id or f"00000000-0000-4000-8000-{number:012x}").encode()
    fields[3] = fields[124] = f"2022-06-06 04:{number // 60 % 60:02d}:{number % 60:02d}.000".encode()
    fields[30] = title.encode() or fields[30]
    return b"\t".join(fields)


def lines(first: int, count: int) -> bytes:
    """Several good lines, each ended by a newline."""
    return b"".join(line(number) + b"\n" for number in range(first, first + count))


@dataclass
class DayInTest:
    """One day of a fresh archive and workspace."""

    server: S3Server
    stand_in: StandInClient
    connection: Connection
    archive: Archive
    workspace: Workspace
    entries: tuple[ArchiveEntry, ...] = (ArchiveEntry("output/"),)
    mapping: MappingSettings = field(default_factory=MappingSettings)

    @classmethod
    def fresh(cls, server: S3Server, stand_in: StandInClient) -> "DayInTest":
        """Two new buckets on the server, and a stand-in that has seen nothing."""
        stand_in.reset()
        connection = Connection(
            endpoint_url=server.endpoint,
            region="us-east-1",
            access_key_id=server.access_key,
            secret_access_key=server.secret_key,
            addressing_style="path",
        )
        client = connect(connection)
        name = uuid.uuid4().hex[:12]
        for kind in ("archive", "workspace"):
            client.create_bucket(Bucket=f"{kind}-{name}")
        entries = (ArchiveEntry("output/"),)
        return cls(
            server,
            stand_in,
            connection,
            Archive(Bucket(client, f"archive-{name}"), entries),
            Workspace(Bucket(client, f"workspace-{name}"), "posthog/", "test"),
            entries,
        )

    def put(self, name: str, data: bytes, *, hour: int = 4, compress: bool = True) -> str:
        """Put an object into an hour of the day; returns its key."""
        key = f"output/2022/06/06/{hour:02d}/{name}"
        self.archive.bucket.put(key, gzip.compress(data, mtime=0) if compress else data)
        return key

    def load(self, **narrowing: Any) -> DayLoad:
        """A new run's view of the day."""
        return DayLoad(
            archive=self.archive,
            workspace=self.workspace,
            day=DAY,
            writer=uuid.uuid4().hex[:12],
            narrowing=Narrowing(**narrowing),
            stop=threading.Event(),
        )

    def blueprint(self, writer: str) -> Blueprint:
        """What the workers get."""
        return Blueprint(
            connection=self.connection,
            archive_bucket=self.archive.bucket.name,
            workspace_bucket=self.workspace.bucket.name,
            workspace_prefix=self.workspace.prefix,
            target=self.workspace.target,
            day=DAY,
            put_options={},
            mapping=self.mapping.model_dump_json(by_alias=True),
            options=TransformOptions(),
            max_record_bytes=16 * 1024 * 1024,
            writer=writer,
        )

    def transform(self, *, processes: int | None = None, **narrowing: Any) -> StepReport:
        """Run the transform step."""
        load = self.load(**narrowing)
        return load.transform(self.blueprint(load.writer), processes=processes)

    def deliver(self, **narrowing: Any) -> StepReport:
        """Run the delivery step."""
        client = CaptureClient(self.stand_in.host, timeout_seconds=10)
        try:
            return self.load(**narrowing).deliver(
                client, api_key=PROJECT_API_KEY, pacer=Pace(None), options=DeliveryOptions()
            )
        finally:
            client.close()

    def run(self, **narrowing: Any) -> tuple[StepReport, StepReport]:
        """Transform and deliver."""
        return self.transform(**narrowing), self.deliver(**narrowing)
