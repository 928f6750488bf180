"""The code location: what Dagster loads. Opens no connection and needs no secret.

snowplow_archive ──> snowplow_manifest ──> posthog_batches ──> posthog_events ──> posthog
"""

import dagster as dg

from snowplow_posthog_dagster.assets.batches import build_batches
from snowplow_posthog_dagster.assets.events import build_events
from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.assets.manifest import build_manifest
from snowplow_posthog_dagster.automation.job import build_load_job
from snowplow_posthog_dagster.automation.late_files import build_late_files_schedule
from snowplow_posthog_dagster.automation.new_files import build_new_files_sensor
from snowplow_posthog_dagster.automation.schedules import build_nightly_schedule
from snowplow_posthog_dagster.automation.slack_alerts import build_slack_sensors
from snowplow_posthog_dagster.resources.posthog import PostHogResource
from snowplow_posthog_dagster.resources.s3 import SnowplowS3Resource
from snowplow_posthog_dagster.resources.slack import AlertSlackResource
from snowplow_posthog_dagster.settings import Settings, load


def build_definitions(settings: Settings) -> dg.Definitions:
    """The definitions of one target under these settings."""
    graph = Graph(settings)
    load_job = build_load_job(graph)
    delivery = settings.file.delivery.model_dump(exclude={"production", "require_region"})
    return dg.Definitions(
        assets=[
            graph.archive_spec(),
            build_manifest(graph),
            build_batches(graph),
            build_events(graph),
            graph.posthog_spec(),
        ],
        jobs=[load_job],
        schedules=[build_late_files_schedule(graph, load_job), build_nightly_schedule(graph)],
        sensors=[build_new_files_sensor(graph, load_job), *build_slack_sensors(graph)],
        resources={
            "s3": SnowplowS3Resource(**settings.file.s3.model_dump()),
            "posthog": PostHogResource(**delivery),
            "slack": AlertSlackResource(
                token=dg.EnvVar("SLACK_BOT_TOKEN") if settings.environment.slack_bot_token else "",
                base_url=settings.file.alerts.slack_api_url,
            ),
        },
    )


defs = build_definitions(load())
