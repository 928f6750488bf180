"""A ground to load days on: an archive and a workspace in rclone's S3, the stand-in PostHog, one target.

Everything runs for real and without Dagster: objects are put, days are loaded, and what PostHog has is asked of it.
"""

import contextlib
import datetime as dt
import gzip
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.loading.day import DayLoad, Narrowing, writer_name
from snowplow_posthog_dagster.loading.reports import StepReport
from snowplow_posthog_dagster.loading.setup import blueprint_of, capture_client_of, delivery_options_of
from snowplow_posthog_dagster.posthog.pacing import Pace
from snowplow_posthog_dagster.posthog.query import QueryClient
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog, running_s3
from snowplow_posthog_dagster.settings import Environment, Settings, SettingsFile
from snowplow_posthog_dagster.storage.archive import Archive
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.snowplow.samples import line

DAY = dt.date(2022, 6, 6)
_numbers = itertools.count()


def lines_of(count: int, **columns: str) -> list[bytes]:
    """So many good page views, each with an event_id of its own."""
    return [line(event_id=str(uuid.uuid4()), domain_userid=f"user-{number}", **columns) for number in range(count)]


def user_line(user: str, **columns: str) -> bytes:
    """A page view of somebody."""
    return line(event_id=str(uuid.uuid4()), domain_userid=user, **columns)


@dataclass
class Ground:
    """One target with buckets of its own. Change `file` or `environment` to load under other settings."""

    connection: Connection
    posthog: StandInClient
    buckets: tuple[str, str]
    environment: dict[str, Any] = field(default_factory=dict)
    file: dict[str, Any] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """The environment variables of this target."""
        archive, workspace = self.buckets
        return {
            "AWS_S3_SNOWPLOW_BUCKET": archive,
            "SNOWPLOW_POSTHOG_WORKSPACE": f"s3://{workspace}/posthog",
            "POSTHOG_HOST": self.posthog.host,
            "POSTHOG_PROJECT_API_KEY": self.posthog.project_api_key,
            "POSTHOG_PERSONAL_API_KEY": self.posthog.personal_api_key,
            "POSTHOG_PROJECT_ID": self.posthog.project_id,
            **self.environment,
        }

    @property
    def settings(self) -> Settings:
        named: dict[str, Any] = {name.lower(): value for name, value in self.variables().items()}
        return Settings(Environment(**named), SettingsFile.model_validate(self.file))

    @cached_property
    def s3(self) -> Any:
        return connect(self.connection)

    @property
    def workspace(self) -> Workspace:
        name, prefix = self.settings.workspace_place
        made = Workspace(Bucket(self.s3, name), prefix, self.settings.environment.posthog_target)
        made.check_layout()
        return made

    @property
    def query(self) -> QueryClient:
        return QueryClient(self.posthog.host, self.posthog.project_id, self.posthog.personal_api_key)

    def put(self, name: str, lines: list[bytes], *, hour: int = 4, day: dt.date = DAY) -> str:
        """Put an archive object; returns its key."""
        key = f"output/{day:%Y/%m/%d}/{hour:02d}/{name}.gz"
        body = gzip.compress(b"".join(one + b"\n" for one in lines), mtime=0)
        self.s3.put_object(Bucket=self.buckets[0], Key=key, Body=body)
        return key

    def delete(self, key: str) -> None:
        """Take an object out of the archive."""
        self.s3.delete_object(Bucket=self.buckets[0], Key=key)

    def load(self, day: dt.date = DAY, narrowing: Narrowing | None = None) -> DayLoad:
        """The work on a day, as one run has it."""
        return DayLoad(
            archive=Archive(Bucket(self.s3, self.buckets[0]), self.settings.archive_entries),
            workspace=self.workspace,
            day=day,
            writer=writer_name(str(uuid.uuid4())),
            narrowing=narrowing or Narrowing(),
        )

    def transform(self, day: dt.date = DAY, **options: Any) -> StepReport:
        """List and transform a day's objects; `changed` is what either of the two steps said."""
        load = self.load(day)
        listed, _ = load.list_new()
        report = load.transform(blueprint_of(self.settings, self.connection, day, load.writer), **options)
        return replace(report, changed=[*listed.changed, *report.changed])

    def deliver(self, day: dt.date = DAY, narrowing: Narrowing | None = None, **options: Any) -> StepReport:
        """Deliver what is open of a day."""
        settings = self.settings
        client = capture_client_of(settings)
        with contextlib.closing(client):
            return self.load(day, narrowing).deliver(
                client,
                api_key=settings.project_api_key,
                pacer=Pace(None),
                options=delivery_options_of(settings),
                **options,
            )

    def run(self, day: dt.date = DAY) -> StepReport:
        """A whole run of a day."""
        self.transform(day)
        return self.deliver(day)

    def state(self, day: dt.date = DAY) -> DayState:
        return self.load(day).log.state()

    def counts(self, day: dt.date = DAY) -> Counts:
        return self.state(day).counts()

    def is_closed(self, day: dt.date = DAY) -> bool:
        load = self.load(day)
        return load.is_finished(load.archive.list_day(day))

    def events(self) -> list[dict[str, Any]]:
        """What PostHog is left with."""
        return list(self.posthog.merged())

    def stored(self, kind: str) -> list[str]:
        """The keys of one kind in the workspace."""
        workspace = self.workspace
        return sorted(listed.key for listed in workspace.bucket.listing(workspace.folder(kind)))


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """rclone's S3 for the whole session."""
    folder: Path = tmp_path_factory.mktemp("s3")
    with running_s3(folder) as environment:
        yield environment


@pytest.fixture(scope="session")
def ground_posthog() -> Iterator[StandInClient]:
    """A stand-in for the whole session."""
    with running_posthog() as client:
        yield client


@pytest.fixture
def ground(s3_environment: dict[str, str], ground_posthog: StandInClient) -> Ground:
    """A ground of its own for each test."""
    ground_posthog.reset()
    number = next(_numbers)
    connection = Connection(
        endpoint_url=s3_environment["AWS_ENDPOINT_URL_S3"],
        region=s3_environment["AWS_REGION"],
        access_key_id=s3_environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=s3_environment["AWS_SECRET_ACCESS_KEY"],
    )
    made = Ground(connection, ground_posthog, (f"archive-{number}", f"workspace-{number}"))
    for bucket in made.buckets:
        made.s3.create_bucket(Bucket=bucket)
    return made
