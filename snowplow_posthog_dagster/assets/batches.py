"""`posthog_batches`: archive objects transformed into batches of PostHog events, ready to be sent."""

import dagster as dg

from snowplow_posthog_dagster.assets.graph import GROUP, Graph
from snowplow_posthog_dagster.assets.metadata import accounting_result, counts_metadata, step_metadata
from snowplow_posthog_dagster.assets.run import LoadConfig, day_load, log_metrics
from snowplow_posthog_dagster.loading.presence import missing_batches, missing_words, presence
from snowplow_posthog_dagster.loading.setup import blueprint_of
from snowplow_posthog_dagster.resources.s3 import SnowplowS3Resource

ACCOUNTING = "records_accounted_for"


def build_batches(graph: Graph) -> dg.AssetsDefinition:
    """The asset that transforms what the log of the day does not show as done."""
    key = graph.key("posthog_batches")

    @dg.asset(
        key=key,
        deps=[graph.key("snowplow_manifest")],
        partitions_def=graph.partitions,
        group_name=GROUP,
        owners=graph.owners,
        kinds={"snowplow", "python", "gzip"},
        check_specs=[
            dg.AssetCheckSpec(
                ACCOUNTING,
                asset=key,
                blocking=True,
                description=(
                    "records = mapped + dead letters + filtered + repeats, per object and for the day; every batch"
                    " with events to send is in the workspace"
                ),
            )
        ],
        description=(
            "Transforms the day's new archive objects, on every core: each record becomes a PostHog event in a"
            " batch, a dead letter with its reason, filtered by a rule, or a repeat. A broken object holds nobody"
            " up and is tried again. Can be backfilled alone, while delivery is off."
        ),
    )
    def posthog_batches(
        context: dg.AssetExecutionContext, config: LoadConfig, s3: SnowplowS3Resource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        settings, section = graph.settings, graph.settings.file.transform
        with day_load(context, settings, s3.connection(), config, unit="archive bytes", lease=True) as load:
            blueprint = blueprint_of(settings, s3.connection(), load.day, load.writer)
            report = load.transform(blueprint, processes=section.processes, frozen=section.frozen_objects)
            state = load.log.state()
            log_metrics(settings, load, context)
            missing = missing_words(missing_batches(load.workspace, load.day, state), load.day)
            # A page of LIST for 1,000 batches: for a day that is new, and not for one that is merely looked at again.
            present = {} if report.nothing_new else {"batches": f"{presence(load.workspace, load.day, state)}"}
        report.counts = state.counts()
        for line in report.changed:
            context.log.warning(line)
        for line in report.broken:
            context.log.warning(f"broken object, its neighbours went on: {line}")
        context.log.info(f"{load.day}: {report.summary()}")
        return dg.MaterializeResult(
            metadata={**counts_metadata(report.counts), **step_metadata(report)},
            check_results=[
                accounting_result(
                    report, state, check=ACCOUNTING, key=key, partition=f"{load.day}", missing=missing, also=present
                )
            ],
        )

    return posthog_batches
