"""What a process needs to transform archive objects: plain values that fit through a pipe.

A pool worker is another process. It gets one `Blueprint` as JSON on its standard input (secrets travel
there too, never on a command line) and builds its own clients from it.
"""

import datetime as dt
from dataclasses import dataclass, field

import msgspec

from snowplow_posthog_dagster.errors import ObjectError
from snowplow_posthog_dagster.loading.sources import source_for
from snowplow_posthog_dagster.loading.transform import TransformJob, TransformOptions, failure_entry, transform_object
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveObject
from snowplow_posthog_dagster.storage.entries import Broken, Done, Gone, Superseded
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.workspace import Workspace


@dataclass(frozen=True)
class Blueprint:
    """Settings of one run's transform, as plain values."""

    connection: Connection
    archive_bucket: str
    workspace_bucket: str
    workspace_prefix: str
    target: str
    day: dt.date
    put_options: dict[str, str]
    mapping: str
    options: TransformOptions
    max_record_bytes: int
    writer: str
    privacy_secret: str | None = field(default=None, repr=False)
    forgotten: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """One archive object to transform, with the revision to write and the attempts that failed before."""

    found: ArchiveObject
    revision: int
    attempts: int


class Workshop:
    """The clients and the mapper of one process, made from a blueprint; `run` does one task."""

    def __init__(self, blueprint: Blueprint) -> None:
        client = connect(blueprint.connection)
        self._blueprint = blueprint
        workspace_bucket = Bucket(client, blueprint.workspace_bucket, blueprint.put_options)
        secret = blueprint.privacy_secret
        self._mapper = Mapper(
            MappingSettings.model_validate_json(blueprint.mapping),
            privacy_secret=secret.encode() if secret else None,
            forgotten=blueprint.forgotten,
        )
        self._job = TransformJob(
            archive=Archive(Bucket(client, blueprint.archive_bucket), ()),
            workspace=Workspace(workspace_bucket, blueprint.workspace_prefix, blueprint.target),
            day=blueprint.day,
            versions=(self._mapper.identity_version, self._mapper.mapping_version),
            options=blueprint.options,
            writer=blueprint.writer,
        )

    def run(self, task: Task) -> Done | Broken | Superseded | Gone:
        """Transform one object. Only errors that concern more than this object are raised."""
        plan = self._blueprint
        found = task.found
        try:
            source = source_for(
                found.source, self._mapper, found.object_id, f"{plan.day:%Y-%m-%d}", plan.max_record_bytes
            )
            return transform_object(found, source, self._job, revision=task.revision)
        except ObjectError as error:
            return failure_entry(found, error, revision=task.revision, attempts=task.attempts, writer=plan.writer)


blueprint_codec = (msgspec.json.Encoder(), msgspec.json.Decoder(Blueprint))
task_codec = (msgspec.json.Encoder(), msgspec.json.Decoder(Task))
