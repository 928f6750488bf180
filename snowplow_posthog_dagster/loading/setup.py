"""From settings to the objects that do the work. The CLI and the Dagster resources both come through here."""

import datetime as dt

from snowplow_posthog_dagster.loading.blueprint import Blueprint
from snowplow_posthog_dagster.loading.delivery import DeliveryOptions
from snowplow_posthog_dagster.loading.transform import TransformOptions
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.posthog.capture import CaptureClient
from snowplow_posthog_dagster.posthog.query import QueryClient
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.archive import Archive
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.suppressed import Suppressed
from snowplow_posthog_dagster.storage.target import check_target, refuse_when_paused
from snowplow_posthog_dagster.storage.workspace import Workspace


def connection_of(settings: Settings) -> Connection:
    """How S3 is reached."""
    return Connection(**settings.file.s3.model_dump())


def archive_of(settings: Settings, connection: Connection) -> Archive:
    """The archive. Raises SettingsError when its bucket is not set."""
    return Archive(Bucket(connect(connection), settings.archive_bucket), settings.archive_entries)


def workspace_of(settings: Settings, connection: Connection) -> Workspace:
    """The target's workspace, of a layout that this release knows. Raises SettingsError, WorkspaceError."""
    name, prefix = settings.workspace_place
    bucket = Bucket(connect(connection), name, settings.put_options)
    workspace = Workspace(bucket, prefix, settings.environment.posthog_target)
    workspace.check_layout()
    return workspace


def workspace_to_read(settings: Settings, connection: Connection) -> Workspace | None:
    """The target's workspace for commands that write nothing, its layout neither; None when none is set."""
    if settings.environment.snowplow_posthog_workspace is None:
        return None
    name, prefix = settings.workspace_place
    return Workspace(Bucket(connect(connection), name), prefix, settings.environment.posthog_target)


def forgotten_of(settings: Settings, connection: Connection) -> frozenset[str] | None:
    """Digests of the ids of forgotten people, None when no workspace is set."""
    workspace = workspace_to_read(settings, connection)
    return Suppressed(workspace, settings.privacy_secret).hmacs() if workspace else None


def mapper_of(settings: Settings, workspace: Workspace | None = None) -> Mapper:
    """The mapping under these settings; with a workspace it keeps forgotten people out, as every load does."""
    secret = settings.privacy_secret
    forgotten = Suppressed(workspace, secret).hmacs() if workspace else frozenset()
    return Mapper(settings.file.mapping, privacy_secret=secret, forgotten=forgotten)


def blueprint_of(settings: Settings, connection: Connection, day: dt.date, writer: str) -> Blueprint:
    """What a pool worker needs."""
    bucket, prefix = settings.workspace_place
    section = settings.file.transform
    secret = settings.privacy_secret
    return Blueprint(
        connection=connection,
        archive_bucket=settings.archive_bucket,
        workspace_bucket=bucket,
        workspace_prefix=prefix,
        target=settings.environment.posthog_target,
        day=day,
        put_options=settings.put_options,
        mapping=settings.file.mapping.model_dump_json(by_alias=True),
        options=TransformOptions(
            codec=section.codec,
            level=section.level,
            max_object_bytes=section.max_object_bytes,
            repeat_window=section.repeat_window,
            strict_dead_letters=settings.strict_dead_letters,
        ),
        max_record_bytes=section.max_record_bytes,
        writer=writer,
        privacy_secret=secret.decode() if secret else None,
    )


def capture_client_of(settings: Settings) -> CaptureClient:
    """The client of the target's capture host."""
    section = settings.file.delivery
    return CaptureClient(
        settings.host,
        connections=section.max_connections,
        timeout_seconds=section.timeout_seconds,
        ca_bundle=section.ca_bundle,
        proxy=section.proxy,
        secret=settings.project_api_key,
    )


def query_client_of(settings: Settings) -> QueryClient | None:
    """The client of the target's query API; None without a personal key or the project's id."""
    personal, project = settings.environment.posthog_personal_api_key, settings.environment.posthog_project_id
    if personal is None or project is None:
        return None
    section = settings.file.delivery
    return QueryClient(
        settings.host, project, personal.get_secret_value(), ca_bundle=section.ca_bundle, proxy=section.proxy
    )


def may_send(settings: Settings, workspace: Workspace) -> None:
    """Refuse to send while the target is paused, and to a project that it does not stand for.

    With POSTHOG_EXPECTED_PROJECT and a personal key set, PostHog itself says whose the capture key is: a wrong key
    beside the right id nobody else can tell. Raises PausedError, TargetError, SettingsError, and
    CaptureUnavailableError when PostHog does not answer that question.
    """
    refuse_when_paused(workspace)
    identity = settings.target_identity
    query = query_client_of(settings) if settings.environment.posthog_expected_project else None
    if query is not None:
        query.project_of(settings.project_api_key)
    # Last, because the first use is kept.
    check_target(workspace, identity)


def delivery_options_of(settings: Settings) -> DeliveryOptions:
    """Budgets and limits of a delivery."""
    section = settings.file.delivery
    return DeliveryOptions(
        historical=section.historical_migration == "auto",
        max_connections=section.max_connections,
        retry_seconds_per_body=section.retry_seconds_per_body,
        retry_seconds_per_run=section.retry_seconds_per_run,
        max_refused_share=section.max_refused_share,
        strict_dead_letters=settings.strict_dead_letters,
    )
