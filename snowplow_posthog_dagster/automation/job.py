"""The job of all three assets of a day: what the sensor starts, and a name for `dagster job backfill`."""

import dagster as dg

from snowplow_posthog_dagster.assets.graph import Graph

ASSETS = ("snowplow_manifest", "posthog_batches", "posthog_events")


def asset_keys(graph: Graph) -> list[dg.AssetKey]:
    """The three materialized assets of this target."""
    return [graph.key(name) for name in ASSETS]


def job_name(graph: Graph) -> str:
    """The job's name for this target."""
    return graph.name("load_day")
