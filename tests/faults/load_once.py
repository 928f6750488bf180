"""A run of a day as three layers of processes, as Dagster has them, without Dagster's start-up time.

    run worker (this module) --spawn--> step --Popen--> pool workers

The step does what the assets do: list, transform on two workers, deliver. It prints `transform` and `deliver` when it
begins them, so that the killer knows what it interrupts, and `done` when the day is closed. Broken objects may be
tried again at once, and the pool is used however little there is to do.
"""

import datetime as dt
import json
import multiprocessing
import sys
import uuid
from dataclasses import dataclass

from snowplow_posthog_dagster.loading import transform, workers
from snowplow_posthog_dagster.loading.blueprint import Blueprint
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.delivery import DeliveryOptions
from snowplow_posthog_dagster.loading.parents import exit_with_parent
from snowplow_posthog_dagster.loading.transform import TransformOptions
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.posthog.capture import CaptureClient
from snowplow_posthog_dagster.posthog.pacing import Pace
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.workspace import Workspace


@dataclass(frozen=True)
class Load:
    """What a run loads, as values that fit through a pipe."""

    connection: dict[str, str]
    archive: str
    workspace: str
    host: str
    api_key: str
    day: str
    events_per_second: float | None

    @property
    def date(self) -> dt.date:
        """The day."""
        return dt.date.fromisoformat(self.day)

    def day_load(self) -> DayLoad:
        """A new run's view of the day."""
        client = connect(self.s3)
        return DayLoad(
            archive=Archive(Bucket(client, self.archive), (ArchiveEntry("output/"),)),
            workspace=Workspace(Bucket(client, self.workspace), "posthog/", "test"),
            day=self.date,
            writer=uuid.uuid4().hex[:12],
        )

    @property
    def s3(self) -> Connection:
        """The connection."""
        return Connection(**self.connection)  # type: ignore[arg-type]

    def blueprint(self, writer: str) -> Blueprint:
        """What the pool workers get."""
        return Blueprint(
            connection=self.s3,
            archive_bucket=self.archive,
            workspace_bucket=self.workspace,
            workspace_prefix="posthog/",
            target="test",
            day=self.date,
            put_options={},
            mapping=MappingSettings().model_dump_json(by_alias=True),
            options=TransformOptions(),
            max_record_bytes=16 * 1024**2,
            writer=writer,
        )


def step(load: Load, parent: int) -> None:
    """The step's process."""
    exit_with_parent(parent)
    workers.SMALL_RUN_BYTES = 0
    transform._FIRST_RETRY_MINUTES = 0
    day = load.day_load()
    day.list_new()
    print("transform", flush=True)
    day.transform(load.blueprint(day.writer), processes=2)
    client = CaptureClient(load.host, timeout_seconds=20)
    print("deliver", flush=True)
    report = day.deliver(
        client, api_key=load.api_key, pacer=Pace(load.events_per_second), options=DeliveryOptions(max_connections=4)
    )
    print("done" if report.closed else f"left: {report.left}", flush=True)


def main() -> None:
    """The run worker: starts the step and waits for it."""
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=step, args=(Load(**json.loads(sys.argv[1])), multiprocessing.current_process().pid))
    child.start()
    child.join()
    sys.exit(child.exitcode)


if __name__ == "__main__":
    main()
