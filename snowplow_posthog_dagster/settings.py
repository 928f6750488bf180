"""Every setting: the environment for what differs per deployment, one YAML file for what describes the data.

    environment variables ─┐
                           ├─> Settings ──> resources, CLI
    settings file (YAML)  ─┘

The shape is checked when the code location loads, the presence of what a run needs when the run begins: so
the location loads anywhere, without secrets and without opening a connection. An error is one line that
names the variable or the path in the file and says what was expected.
"""

import datetime as dt
import os
import urllib.parse
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from snowplow_posthog_dagster import setting_types as kinds
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.storage.archive import ArchiveEntry, check_entries
from snowplow_posthog_dagster.storage.target import TargetIdentity, key_fingerprint, normalised_host

CLOUD_EVENTS_PER_SECOND = 2_000
"""PostHog asks importers to stay "below a few thousand events per second across all workers"."""

_FIRST_DAY = dt.date(2019, 1, 1)  # as the partitions have it, which know Dagster


class Environment(BaseSettings):
    """The environment variables, by their lower-case names."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    aws_s3_snowplow_bucket: kinds.BucketName = None
    snowplow_posthog_workspace: kinds.Text = None
    snowplow_posthog_settings: kinds.Text = None
    snowplow_posthog_privacy_secret: kinds.Secret = None
    posthog_host: kinds.Text = None
    posthog_project_api_key: kinds.Secret = None
    posthog_personal_api_key: kinds.Token = None
    posthog_project_id: kinds.Text = None
    posthog_expected_project: kinds.Text = None
    posthog_target: kinds.Target = "default"
    posthog_backfill_start_date: kinds.Date = None
    posthog_backfill_end_date: kinds.Date = None
    slack_bot_token: kinds.Token = None
    snowplow_posthog_start_automation: kinds.Flag = False

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        start, end = self.posthog_backfill_start_date or _FIRST_DAY, self.posthog_backfill_end_date
        if end and end < start:
            raise ValueError(f"POSTHOG_BACKFILL_END_DATE {end} lies before POSTHOG_BACKFILL_START_DATE {start}")
        return self


class Section(BaseModel):
    """A part of the settings file; an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ArchiveSection(Section):
    """One entry of the archive list: which prefix holds which days, and how the path below it is made."""

    prefix: str = ""
    start: dt.date | None = Field(None, alias="from")
    until: dt.date | None = None
    layout: str = "{yyyy}/{MM}/{dd}/{HH}/"
    source: Literal["snowplow"] = "snowplow"
    preferred: bool = False


class S3Section(Section):
    """How S3 is reached; empty values leave the choice to boto3 (environment, profile, role)."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    max_connections: int = Field(32, ge=1, le=256)
    connect_timeout_seconds: float = Field(10.0, gt=0)
    read_timeout_seconds: float = Field(60.0, gt=0)
    max_attempts: int = Field(5, ge=1, le=20)
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    ca_bundle: str | None = None
    proxy: kinds.ProxyAddress = None


class WorkspaceSection(Section):
    """What is stored: encryption of everything in the workspace, and how long dead letters are kept."""

    encryption: Literal["none", "AES256", "aws:kms"] = "none"
    kms_key_id: str | None = None
    dead_letter_retention_days: int = Field(30, ge=1)


class TransformSection(Section):
    """How archive objects become batches."""

    processes: int | None = Field(None, ge=1, le=256)
    codec: Literal["isal", "zlib"] = "isal"
    level: int = Field(1, ge=0, le=9)
    max_object_bytes: int = Field(64 * 1024**3, ge=1024)
    max_record_bytes: int = Field(16 * 1024**2, ge=1024)
    repeat_window: int = Field(20_000, ge=0)
    frozen_objects: Literal["fail", "skip"] = "fail"

    @model_validator(mode="after")
    def _level_of_codec(self) -> Self:
        if self.codec == "isal" and self.level > 3:
            raise ValueError(f"level {self.level} is none of the codec isal, which has 0 to 3")
        return self


class DeliverySection(Section):
    """How batches are sent to PostHog."""

    events_per_second: float | None = Field(None, gt=0)
    max_connections: int = Field(8, ge=1, le=64)
    timeout_seconds: float = Field(60.0, gt=0)
    historical_migration: Literal["auto", "never"] = "auto"
    retry_seconds_per_body: float = Field(300.0, gt=0)
    retry_seconds_per_run: float = Field(3600.0, gt=0)
    max_refused_share: float = Field(0.01, ge=0, le=1)
    ca_bundle: str | None = None
    proxy: kinds.ProxyAddress = None
    production: bool = False
    require_region: Literal["us", "eu"] | None = None


class AutomationSection(Section):
    """The sensor for new files, and what starts with the code location.

    `min_minutes_between_runs` is counted per day from start to start; 0 starts a run as soon as a file is seen. The
    past `night_days` are looked at by the schedule of late files, which asks for runs, and by the nightly job after it;
    the job also takes 40 older days that PostHog has not agreed on yet, others every night.
    """

    look_back_days: int = Field(5, ge=0, le=60)
    look_back_hours_per_tick: int = Field(12, ge=1, le=240)
    min_minutes_between_runs: float = Field(5.0, ge=0, le=1440)
    sensor_seconds: int = Field(30, ge=5, le=3600)
    priority: int = 10
    night_days: int = Field(7, ge=1, le=400)
    late_files_cron: kinds.Cron = "30 2 * * *"
    nightly_cron: kinds.Cron = "15 3 * * *"
    housekeeping_dry_run: bool = True


class AlertsSection(Section):
    """Who is told what in Slack: `channels` by the owners of assets, `thresholds` (failures in a row) by assets."""

    channels: dict[kinds.Owner, str] = Field(default_factory=dict)
    default_channel: str = "#data-alerts"
    threshold: int = Field(1, ge=1)
    thresholds: dict[str, int] = Field(default_factory=dict)
    checks: list[kinds.CheckName] = list(kinds.ALERTING_CHECKS)
    repeat_minutes: float = Field(60.0, ge=0)
    outside_production: bool = False
    all_code_locations: bool = False
    webserver_url: str | None = None
    slack_api_url: str | None = None
    seconds: int = Field(30, ge=5, le=3600)

    @model_validator(mode="after")
    def _thresholds_of_assets(self) -> Self:
        unknown = [name for name in self.thresholds if name.rsplit("/", 1)[-1] not in kinds.ASSETS]
        if unknown and not self.all_code_locations:
            raise ValueError(
                f"thresholds: no asset is called {', '.join(unknown)}; there are {', '.join(kinds.ASSETS)}"
            )
        return self

    def threshold_of(self, asset: str) -> int:
        """How many failures in a row of this asset are told of; `asset` is its key with slashes."""
        return self.thresholds.get(asset, self.thresholds.get(asset.rsplit("/", 1)[-1], self.threshold))


class ChecksSection(Section):
    """When a check of a day warns. Shares are of the day's records; an hour is due after `hour_grace_minutes`."""

    hour_grace_minutes: int = Field(120, ge=0)
    volume_low_share: float = Field(0.5, ge=0)
    volume_high_share: float = Field(2.0, ge=1)
    dead_letter_share: float = Field(0.01, ge=0, le=1)
    repeat_share: float = Field(0.05, ge=0, le=1)
    latency_minutes: float = Field(120.0, gt=0)
    server_errors: int = Field(3, ge=1)
    server_error_minutes: float = Field(5.0, gt=0)
    complete_by_hour: int = Field(3, ge=0, le=23)
    schema_days: int = Field(7, ge=1, le=60)
    schema_new_share: float = Field(0.0001, ge=0, le=1)
    schema_usual_share: float = Field(0.05, gt=0, le=1)


class MetricsSection(Section):
    """All off. `log`: a JSON line per step, to a file or `stderr`; `since`: first day counted; `days`: shown singly."""

    port: int | None = Field(None, ge=0, le=65535)
    address: str = "127.0.0.1"
    textfile: str | None = None
    log: str | None = None
    since: dt.date | None = None
    days: int = Field(8, ge=0, le=400)


class PricesSection(Section):
    """What `estimate` reckons with; a price that is not set is not reckoned. PostHog's and AWS's lists change."""

    currency: str = "USD"
    live_events_per_million: float | None = Field(None, ge=0)
    historical_events_per_million: float | None = Field(None, ge=0)
    s3_writes_and_lists_per_thousand: float | None = Field(None, ge=0)
    s3_reads_per_thousand: float | None = Field(None, ge=0)
    s3_gigabyte_month: float | None = Field(None, ge=0)
    core_hour: float | None = Field(None, ge=0)
    egress_gigabyte: float | None = Field(None, ge=0)


class SettingsFile(Section):
    """The settings file; every section is optional."""

    archive: list[ArchiveSection] = Field([ArchiveSection(prefix="output/")], min_length=1)
    s3: S3Section = S3Section()
    workspace: WorkspaceSection = WorkspaceSection()
    transform: TransformSection = TransformSection()
    delivery: DeliverySection = DeliverySection()
    mapping: MappingSettings = MappingSettings()
    prices: PricesSection = PricesSection()
    automation: AutomationSection = AutomationSection()
    alerts: AlertsSection = AlertsSection()
    checks: ChecksSection = ChecksSection()
    metrics: MetricsSection = MetricsSection()
    owners: list[kinds.Owner] = ["team:data"]


class Settings:
    """The one settings object. Made by `load()`; the properties check the presence of what they return."""

    def __init__(self, environment: Environment, file: SettingsFile) -> None:
        self.environment = environment
        self.file = file

    @property
    def archive_bucket(self) -> str:
        """The archive bucket's name. Raises SettingsError when it is not set."""
        return _required(self.environment.aws_s3_snowplow_bucket, "AWS_S3_SNOWPLOW_BUCKET", "the archive bucket's name")

    @property
    def first_day(self) -> dt.date:
        """The first day that can be loaded."""
        return self.environment.posthog_backfill_start_date or _FIRST_DAY

    @property
    def last_day(self) -> dt.date:
        """The last day that can be loaded: today in UTC, unless POSTHOG_BACKFILL_END_DATE is earlier."""
        today = dt.datetime.now(dt.UTC).date()
        return min(self.environment.posthog_backfill_end_date or today, today)

    @property
    def archive_entries(self) -> list[ArchiveEntry]:
        """The archive list."""
        return [ArchiveEntry(**section.model_dump()) for section in self.file.archive]

    @property
    def workspace_place(self) -> tuple[str, str]:
        """Bucket and prefix of the workspace; the prefix is empty or ends in a slash, and lies in no archive's."""
        place = _required(
            self.environment.snowplow_posthog_workspace,
            "SNOWPLOW_POSTHOG_WORKSPACE",
            "s3://bucket/prefix that we may write",
        )
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        if not place.startswith("s3://") or not bucket:
            raise SettingsError(f"SNOWPLOW_POSTHOG_WORKSPACE is {place!r}; expected s3://bucket/prefix")
        prefix = f"{prefix.strip('/')}/".lstrip("/")
        above = [found for entry in self.archive_entries if (found := entry.common_prefix) and prefix.startswith(found)]
        if above and bucket == self.environment.aws_s3_snowplow_bucket:
            raise SettingsError(f"SNOWPLOW_POSTHOG_WORKSPACE lies in the archive, which is only read: below {above[0]}")
        return bucket, prefix

    @property
    def host(self) -> str:
        """The PostHog capture host, normalised. Raises SettingsError when it is not in `delivery.require_region`."""
        host = normalised_host(
            _required(
                self.environment.posthog_host,
                "POSTHOG_HOST",
                "the host that events go to, such as https://eu.i.posthog.com",
            )
        )
        region = self.file.delivery.require_region
        if region and not in_region(host, region):
            raise SettingsError(
                f"POSTHOG_HOST is {host}, but delivery.require_region asks for PostHog Cloud {region.upper()}, such as"
                f" https://{region}.i.posthog.com; for a PostHog of your own leave require_region out"
            )
        return host

    @property
    def project_api_key(self) -> str:
        """The project API key. Raises SettingsError when it is missing or of another kind."""
        secret = self.environment.posthog_project_api_key
        key = secret.get_secret_value() if secret else ""
        if not key:
            raise SettingsError("POSTHOG_PROJECT_API_KEY is not set; it is the project's key and begins with phc_")
        if key.startswith("phx_"):
            raise SettingsError("POSTHOG_PROJECT_API_KEY holds a personal key (phx_); set the project's key (phc_)")
        if len(key) > 64 or not key.isascii() or any(character.isspace() for character in key):
            raise SettingsError("POSTHOG_PROJECT_API_KEY is no project key: expected at most 64 ASCII characters")
        return key

    @property
    def target_identity(self) -> TargetIdentity:
        """What the target's name stands for under these settings."""
        project = self.environment.posthog_project_id or ""
        expected = self.environment.posthog_expected_project
        if expected and expected != project:
            raise SettingsError(
                f"POSTHOG_EXPECTED_PROJECT is {expected!r} but POSTHOG_PROJECT_ID is {project!r}; nothing is sent"
            )
        return TargetIdentity(self.host, project, key_fingerprint(self.project_api_key))

    @property
    def privacy_secret(self) -> bytes | None:
        """The key of the HMACs, if set."""
        secret = self.environment.snowplow_posthog_privacy_secret
        return secret.get_secret_value().encode() if secret else None

    @property
    def starts_automation(self) -> bool:
        """Whether the sensor and the schedules run from the first start of an instance (`make dev`)."""
        return self.environment.snowplow_posthog_start_automation

    @property
    def strict_dead_letters(self) -> bool:
        """Whether dead letters hold place and reason only (privacy preset `strict`)."""
        return self.file.mapping.privacy.preset == "strict"

    @property
    def events_per_second(self) -> float | None:
        """The pace towards the target: the setting, else 2,000/s on PostHog Cloud and none elsewhere."""
        if self.file.delivery.events_per_second is not None:
            return self.file.delivery.events_per_second
        name = urllib.parse.urlsplit(self.host).hostname
        return CLOUD_EVENTS_PER_SECOND if f".{name}".endswith(".posthog.com") else None

    @property
    def put_options(self) -> dict[str, str]:
        """What every PUT into the workspace carries for encryption."""
        section = self.file.workspace
        if section.encryption == "none":
            return {}
        options: dict[str, str] = {"ServerSideEncryption": section.encryption}
        return {**options, "SSEKMSKeyId": section.kms_key_id} if section.kms_key_id else options


def load() -> Settings:
    """Read the environment and the settings file.

    Raises SettingsError, one line per fault, for a wrong shape; missing values are found when they are used.
    """
    try:
        kinds.strip_aws_variables()
        environment = Environment()
    except ValidationError as error:
        raise SettingsError(kinds.fault_lines(error, lambda path: path[0].upper() if path else "environment")) from None
    return Settings(environment, load_file(environment.snowplow_posthog_settings))


def load_file(path: str | os.PathLike[str] | None) -> SettingsFile:
    """Read a settings file; None gives the defaults. Raises SettingsError."""
    if path is None:
        return SettingsFile()
    content = kinds.sections_of(path)
    try:
        file = SettingsFile.model_validate(content)
    except ValidationError as error:
        raise SettingsError(kinds.fault_lines(error, lambda place: f"{path}: {'.'.join(place)}")) from None
    problems = check_entries(ArchiveEntry(**section.model_dump()) for section in file.archive)
    if problems:
        raise SettingsError("\n".join(f"{path}: {problem}" for problem in problems))
    return file


def in_region(host: str, region: str) -> bool:
    """Whether a normalised host is PostHog Cloud's in this region (`us`, `eu`).

    Of any other host, a reverse proxy among them, nobody can say where events end: it is in no region.
    """
    return (urllib.parse.urlsplit(host).hostname or "") in {f"{region}.i.posthog.com", f"{region}.posthog.com"}


def _required(value: str | None, name: str, meaning: str) -> str:
    if not value:
        raise SettingsError(f"{name} is not set; expected {meaning}")
    return value
