"""Names of the graph: asset keys, group, pool, owners, tags, and the external assets at both ends.

A target other than `default` prefixes asset keys and pool, so that several targets can live in one Dagster
instance without meeting.
"""

from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.partitions import daily_partitions
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.target import normalised_host

GROUP = "snowplow_to_posthog"
DEFAULT_TARGET = "default"
POOL = "posthog_ingest"


@dataclass(frozen=True)
class Graph:
    """The names of one target's graph."""

    settings: Settings

    @property
    def prefix(self) -> list[str]:
        """What stands before asset keys: nothing for the default target."""
        target = self.settings.environment.posthog_target
        return [] if target == DEFAULT_TARGET else [target]

    def key(self, name: str) -> dg.AssetKey:
        """The asset key of a name."""
        return dg.AssetKey([*self.prefix, name])

    def name(self, name: str) -> str:
        """A sensor's, job's or pool's name for this target."""
        return "_".join([*(part.replace("-", "_") for part in self.prefix), name])

    @property
    def pool(self) -> str:
        """The concurrency pool of deliveries."""
        return self.name(POOL)

    @property
    def owners(self) -> list[str]:
        """Owners of every asset."""
        return self.settings.file.owners

    @cached_property
    def partitions(self) -> dg.DailyPartitionsDefinition:
        """The daily partitions."""
        return daily_partitions(self.settings)

    def archive_spec(self) -> dg.AssetSpec:
        """The archive, as what the graph begins with."""
        bucket = self.settings.environment.aws_s3_snowplow_bucket or "<AWS_S3_SNOWPLOW_BUCKET>"
        places = ", ".join(f"s3://{bucket}/{entry.prefix}{entry.layout}" for entry in self.settings.archive_entries)
        return dg.AssetSpec(
            self.key("snowplow_archive"),
            description=f"Snowplow's enriched events as the pipeline leaves them: {places}. Read only.",
            partitions_def=self.partitions,
            group_name=GROUP,
            kinds={"s3", "snowplow"},
            owners=self.owners,
            metadata={"dagster/uri": f"s3://{bucket}/"},
        )

    def posthog_spec(self) -> dg.AssetSpec:
        """The PostHog project, as where the graph ends."""
        host = shown_host(self.settings.environment.posthog_host or "")
        project = self.settings.environment.posthog_project_id or "<POSTHOG_PROJECT_ID>"
        return dg.AssetSpec(
            self.key("posthog"),
            deps=[self.key("posthog_events")],
            description=f"Project {project} on {host}: events, persons and sessions as PostHog shows them.",
            group_name=GROUP,
            kinds={"posthog"},
            owners=self.owners,
        )


def shown_host(host: str) -> str:
    """The host as everybody may see it: one that no run would take may hold a password."""
    try:
        return normalised_host(host)
    except SettingsError:
        return "<POSTHOG_HOST>"
