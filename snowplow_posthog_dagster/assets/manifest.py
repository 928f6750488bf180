"""`snowplow_manifest`: the archive objects of a day, as they were listed."""

import dagster as dg

from snowplow_posthog_dagster.assets.graph import GROUP, Graph
from snowplow_posthog_dagster.assets.run import LoadConfig, day_load
from snowplow_posthog_dagster.loading.reports import hours_table
from snowplow_posthog_dagster.resources.s3 import SnowplowS3Resource


def build_manifest(graph: Graph) -> dg.AssetsDefinition:
    """The asset that lists a day and records what is new in it."""

    @dg.asset(
        key=graph.key("snowplow_manifest"),
        deps=[graph.key("snowplow_archive")],
        partitions_def=graph.partitions,
        group_name=GROUP,
        owners=graph.owners,
        kinds={"s3", "python"},
        description=(
            "Lists one UTC day of the archive by its hour folders and records every object that no manifest had"
            " before, with size, ETag and storage class. Reads no data. A record for people and for SQL: what a"
            " run works on is its own listing."
        ),
    )
    def snowplow_manifest(
        context: dg.AssetExecutionContext, config: LoadConfig, s3: SnowplowS3Resource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with day_load(context, graph.settings, s3.connection(), config, unit="objects", lease=False) as load:
            report, listing = load.list_new()
        for line in report.changed:
            context.log.warning(line)
        hours = {found.hour for found in listing}
        context.log.info(f"{load.day}: {len(listing):,} objects, {report.stored_bytes:,} bytes of them new")
        return dg.MaterializeResult(
            metadata={
                "objects": len(listing),
                "bytes": sum(found.size for found in listing),
                "new_bytes": report.stored_bytes,
                "nothing_new": report.nothing_new,
                "hours_present": len(hours),
                "run_seconds": round(report.seconds, 3),
                "hours": dg.MetadataValue.md(hours_table(report.hours)),
                "manifests": f"s3://{load.workspace.bucket.name}/{load.workspace.folder('manifests', load.day)}",
            }
        )

    return snowplow_manifest
