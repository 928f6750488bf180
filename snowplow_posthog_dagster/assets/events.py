"""`posthog_events`: batches delivered to PostHog, until every event is acknowledged."""

import dagster as dg

from snowplow_posthog_dagster.assets.batches import ACCOUNTING
from snowplow_posthog_dagster.assets.checks import check_results, check_specs, judge_run
from snowplow_posthog_dagster.assets.day_report import report_metadata
from snowplow_posthog_dagster.assets.error_alarm import ErrorAlarm
from snowplow_posthog_dagster.assets.graph import GROUP, Graph
from snowplow_posthog_dagster.assets.metadata import (
    acceptance,
    accounting_result,
    activity_url,
    counts_metadata,
    step_metadata,
)
from snowplow_posthog_dagster.assets.run import LoadConfig, day_load, log_metrics
from snowplow_posthog_dagster.loading.pacing_leases import BACKFILL_WEIGHT, LIVE_WEIGHT, shared_pace
from snowplow_posthog_dagster.loading.presence import missing_batches, missing_words
from snowplow_posthog_dagster.loading.reports import StepReport
from snowplow_posthog_dagster.loading.setup import may_send
from snowplow_posthog_dagster.resources.posthog import PostHogResource
from snowplow_posthog_dagster.resources.s3 import SnowplowS3Resource
from snowplow_posthog_dagster.storage.state import DayState

COMPLETE = "nothing_left"
_BACKFILL_TAGS = frozenset({"dagster/backfill", "snowplow_posthog/backfill"})


def build_events(graph: Graph) -> dg.AssetsDefinition:
    """The asset that sends what the log of the day does not show as acknowledged."""
    key = graph.key("posthog_events")

    @dg.asset(
        key=key,
        deps=[graph.key("posthog_batches")],
        partitions_def=graph.partitions,
        group_name=GROUP,
        owners=graph.owners,
        kinds={"posthog", "python"},
        pool=graph.pool,
        check_specs=[
            dg.AssetCheckSpec(
                ACCOUNTING,
                asset=key,
                blocking=True,
                description=(
                    "mapped = acknowledged + delivery dead letters + pending + withdrawn, per object and day; every"
                    " batch with events to send is in the workspace"
                ),
            ),
            dg.AssetCheckSpec(
                COMPLETE,
                asset=key,
                description="Warns while objects are broken, skipped or not transformed, or events are not sent",
            ),
            *check_specs(key),
        ],
        description=(
            "Posts the day's batches to PostHog's /batch/ without inflating them, several in flight, and logs"
            " every acknowledgement. A re-run sends only what is not acknowledged. Identity is deterministic, so"
            " what was sent twice around a crash is one event in PostHog."
        ),
    )
    def posthog_events(
        context: dg.AssetExecutionContext, config: LoadConfig, s3: SnowplowS3Resource, posthog: PostHogResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        settings = graph.settings
        identity, api_key = settings.target_identity, settings.project_api_key
        client = posthog.client(settings)
        with day_load(context, settings, s3.connection(), config, unit="events", lease=True) as load:
            may_send(settings, load.workspace)
            load.progress = ErrorAlarm(context.instance, load, key, settings.file.checks)
            rate = posthog.events_per_second or settings.events_per_second
            weight = BACKFILL_WEIGHT if _BACKFILL_TAGS & context.run.tags.keys() else LIVE_WEIGHT
            with shared_pace(load.workspace, rate, sender=context.run.run_id, weight=weight) as pacer:
                options = posthog.options(strict_dead_letters=settings.strict_dead_letters)
                report = load.deliver(client, api_key=api_key, pacer=pacer, options=options)
            state = load.log.state()
            log_metrics(settings, load, context)
            missing = missing_words(missing_batches(load.workspace, load.day, state), load.day)
            verdicts = judge_run(load, state, report, settings.file.checks)
            report.counts = state.counts()
            reported = report_metadata(load, report, verdicts, settings, context.log)
        client.close()
        for line in report.changed:
            context.log.warning(line)
        context.log.info(f"{load.day} to {identity.host}: {report.summary()}")
        return dg.MaterializeResult(
            metadata={
                **counts_metadata(report.counts),
                **step_metadata(report),
                "dagster/partition_row_count": report.counts.acknowledged,
                "posthog": dg.MetadataValue.url(activity_url(identity)),
                **reported,
            },
            check_results=[
                accounting_result(report, state, check=ACCOUNTING, key=key, partition=f"{load.day}", missing=missing),
                _completeness(report, state, key, f"{load.day}"),
                *check_results(verdicts, key, load.day, state),
            ],
        )

    return posthog_events


def _completeness(report: StepReport, state: DayState, key: dg.AssetKey, partition: str) -> dg.AssetCheckResult:
    """Broken, pending and skipped are warnings: they hold nobody up, and somebody should look."""
    skipped = report.counts.objects_skipped
    left = ", ".join(part for part in (report.left, f"{skipped:,} skipped objects" if skipped else "") if part)
    accepted = acceptance(state, COMPLETE)
    words = f"left: {left}" if left else "the day is complete"
    return dg.AssetCheckResult(
        passed=not left,
        check_name=COMPLETE,
        asset_key=key,
        severity=dg.AssetCheckSeverity.WARN,
        description=", ".join([words, *accepted.values()]),
        metadata={
            "partition": partition,
            "runbook": "docs/runbook.md#nothing-left",
            "broken_objects": report.broken[:20],
            **accepted,
        },
    )
