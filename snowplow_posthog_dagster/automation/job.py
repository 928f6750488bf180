"""The job of all three assets of a day: what the sensor starts, and a name for `dagster job backfill`."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from snowplow_posthog_dagster.assets.graph import Graph

LoadJob = UnresolvedAssetJobDefinition
"""What `define_asset_job` gives; Dagster exports no name for it."""

ASSETS = ("snowplow_manifest", "posthog_batches", "posthog_events")


def asset_keys(graph: Graph) -> list[dg.AssetKey]:
    """The three materialized assets of this target."""
    return [graph.key(name) for name in ASSETS]


def job_name(graph: Graph) -> str:
    """The job's name for this target."""
    return graph.name("load_day")


def build_load_job(graph: Graph) -> LoadJob:
    """The job, for everything that starts it: the sensor and the schedule of late files."""
    return dg.define_asset_job(job_name(graph), selection=dg.AssetSelection.assets(*asset_keys(graph)))
