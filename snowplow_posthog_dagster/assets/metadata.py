"""Metadata of materializations: the counting equation, bytes, rates and a table of hours.

Numbers are plain ints and floats, because Dagster plots those per partition.
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from snowplow_posthog_dagster.loading.reports import StepReport, hours_table
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.target import TargetIdentity

Metadata = dict[str, Any]


def counts_metadata(counts: Counts) -> Metadata:
    """The counting equation, as sentences and as numbers."""
    numbers: Mapping[str, int] = {
        "records": counts.records,
        "mapped": counts.mapped,
        "dead_letters": counts.dead_letters,
        "filtered": counts.filtered,
        "repeats": counts.repeats,
        "acknowledged": counts.acknowledged,
        "delivery_dead_letters": counts.delivery_dead_letters,
        "pending": counts.pending,
        "withdrawn": counts.withdrawn,
        "resent": counts.resent,
        "objects_done": counts.objects_done,
        "objects_broken": counts.objects_broken,
        "objects_skipped": counts.objects_skipped,
        "lines": counts.lines,
        "glued_lines": counts.glued,
        "archive_bytes": counts.bytes,
        "raw_bytes": counts.raw_bytes,
    }
    return {
        "counting_equation": dg.MetadataValue.md(
            f"records {counts.records:,} = {counts.first_sum()}\n\nmapped {counts.mapped:,} = {counts.second_sum()}"
        ),
        **numbers,
        "filtered_by_rule": dict(counts.filtered_by_rule),
        "withdrawn_by_reason": dict(counts.withdrawn_by_reason),
        "notes": dict(counts.notes),
    }


def step_metadata(report: StepReport) -> Metadata:
    """What this run did on the partition, beside what the partition holds in all."""
    metadata: Metadata = {
        "summary": report.summary(),
        "nothing_new": report.nothing_new,
        "run_reads": report.reads,
        "run_posts": report.posts,
        "run_events": report.events,
        "run_seconds": round(report.seconds, 3),
        "run_events_per_second": round(report.rate, 1),
        "run_retries": report.retries,
        "run_bytes_sent": report.sent_bytes,
        **{f"run_post_seconds_p{percent}": round(report.latency(percent), 4) for percent in (50, 95, 99)},
        "closed": report.closed,
    }
    if report.hours:
        metadata["hours"] = dg.MetadataValue.md(hours_table(report.hours))
    if report.broken:
        metadata["broken_objects"] = report.broken[:20]
    if report.changed:
        metadata["changed_objects"] = report.changed[:20]
    if report.left:
        metadata["left"] = report.left
    if report.narrowed:
        metadata["narrowed"] = "run config chose hours or max_events; the rest stays pending and the day open"
    return metadata


def accounting_result(
    report: StepReport,
    state: DayState,
    *,
    check: str,
    key: dg.AssetKey,
    partition: str,
    missing: Sequence[str] = (),
    also: Mapping[str, str] | None = None,
) -> dg.AssetCheckResult:
    """The accounting check: an error only when a sum does not add up, or when events to send are `missing` (in words).

    Then downstream steps are blocked. While an operator has accepted it for the day (`check acknowledge`), it warns
    and says who, until when and why. `also` is metadata beside its own.
    """
    problems = [*state.problems(), *missing]
    words = "every record is in exactly one place" if not problems else "; ".join(problems[:5])
    accepted = acceptance(state, check)
    return dg.AssetCheckResult(
        passed=not problems,
        check_name=check,
        asset_key=key,
        severity=dg.AssetCheckSeverity.WARN if accepted else dg.AssetCheckSeverity.ERROR,
        description=", ".join([words, *accepted.values()]),
        metadata={
            "partition": partition,
            "runbook": "docs/runbook.md#records-accounted-for",
            "summary": report.summary(),
            "problems": problems[:50],
            **(also or {}),
            **accepted,
        },
    )


def activity_url(identity: TargetIdentity) -> str:
    """Where a person sees the events: the project's activity page; PostHog Cloud takes events at another host."""
    app = re.sub(r"^https://(us|eu)\.i\.posthog\.com", r"https://\1.posthog.com", identity.host)
    return f"{app}/project/{identity.project_id}/activity/explore" if identity.project_id else app


def acceptance(state: DayState, check: str) -> dict[str, str]:
    """Who accepted a failing check of the day, until when and why, as metadata; empty when nobody did."""
    found = state.acknowledged_check(check, f"{dt.datetime.now(dt.UTC):%Y-%m-%d}")
    return {"acknowledged": f"accepted by {found.by} until {found.until}: {found.reason}"} if found else {}
