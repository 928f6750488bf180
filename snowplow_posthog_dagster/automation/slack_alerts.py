"""Messages to Slack: `slack_on_failure` for failed runs, `slack_watch` for what is wrong while runs succeed.

    failed run ──> which asset, whose, how often in a row ──> outbox ──> Slack
    slack_watch: checks that fail, backfills that ended, recoveries, and what Slack did not take before

Runs started in the UI and backfills carry no tags of ours, so the channel follows from the owner of the failed
asset. One thing is said once: retries of a run count as one, a backfill gives one message with its number of failed
days (and one at its end, if more failed since), and a day that fails again within the hour is only counted. Both
run from the start and are silent without a token and outside production (`delivery.production`, or
`alerts.outside_production: true`).
"""

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg

from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation.alert_memory import AlertMemory, FailingBackfill, OpenAlert, remembered
from snowplow_posthog_dagster.automation.alert_words import Cause, days, escaped, message
from snowplow_posthog_dagster.automation.check_alerts import watch_checks
from snowplow_posthog_dagster.automation.failures import FailedRun, failed_run, is_due, is_over
from snowplow_posthog_dagster.automation.slack_outbox import post_outbox
from snowplow_posthog_dagster.resources.slack import AlertSlackResource

MUTE_TAG = "disable_slack_notifications"
_BY_ITSELF = ". The sensor starts this day again by itself, after 1, 2, 4 ... 60 minutes"
_BACKFILL_WAIT_SECONDS = 600.0
"""A failing backfill is told when it is over, or after this time with the count so far."""


def build_slack_sensors(graph: Graph) -> list[dg.SensorDefinition]:
    """The two sensors of one target."""
    section = graph.settings.file.alerts

    @dg.run_failure_sensor(
        name=graph.name("slack_on_failure"),
        minimum_interval_seconds=section.seconds,
        monitor_all_code_locations=section.all_code_locations,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the owners of a failed asset in Slack; silent outside production unless told otherwise.",
    )
    def slack_on_failure(context: dg.RunFailureSensorContext, slack: AlertSlackResource) -> dg.SkipReason | None:
        why = why_silent(graph, slack)
        if why:
            return dg.SkipReason(why)
        tell_failure(context, graph, slack, time.time())
        return None

    @dg.sensor(
        name=graph.name("slack_watch"),
        minimum_interval_seconds=section.seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells in Slack of failing checks, ended backfills and recoveries; posts what Slack did not take.",
    )
    def slack_watch(context: dg.SensorEvaluationContext, slack: AlertSlackResource) -> dg.SkipReason:
        why = why_silent(graph, slack)
        return dg.SkipReason(why or watch(context, graph, slack, time.time()))

    return [slack_on_failure, slack_watch]


def why_silent(graph: Graph, slack: AlertSlackResource) -> str:
    """Why nothing is said at all; empty when alerts are on."""
    if not slack.token:
        return "SLACK_BOT_TOKEN is not set"
    file = graph.settings.file
    if not (file.delivery.production or file.alerts.outside_production):
        return "not production (delivery.production), and alerts.outside_production is not set"
    return ""


def tell_failure(context: dg.RunFailureSensorContext, graph: Graph, slack: AlertSlackResource, now: float) -> None:
    """Report one failed run, unless it is muted, will be retried, was reported or waits for its backfill."""
    run = context.dagster_run
    if run.tags.get(MUTE_TAG, "false").lower() != "false" or run.tags.get("dagster/will_retry") == "true":
        return
    section = graph.settings.file.alerts
    with remembered(context.instance, graph.settings.environment.posthog_target, now) as memory:
        for failed in failed_run(context, graph):
            backfill = run.tags.get("dagster/backfill")
            if backfill:
                _note_backfill(memory, backfill, failed, now)
            elif is_due(context.instance, failed, section.threshold_of(failed.asset), now):
                by_sensor = run.tags.get("dagster/sensor_name") == graph.name("new_snowplow_files")
                _say_failed(memory, graph, failed, now, again=_BY_ITSELF if by_sensor else "")
        post_outbox(memory, slack, now)


def _say_failed(memory: AlertMemory, graph: Graph, failed: FailedRun, now: float, *, again: str) -> None:
    """One message per asset and day; within `repeat_minutes` a further failure is only counted.

    `again` says who starts the day again.
    """
    section = graph.settings.file.alerts
    name = f"run|{failed.asset}|{failed.partition}"
    known = memory.open.get(name)
    if known and now - known.last_said < section.repeat_minutes * 60:
        known.count += 1
        known.last_failed = failed.ended or now
        return
    count = known.count + 1 if known else 1
    times = f", {count} times by now" if count > 1 else ""
    headline = f":red_circle: *{failed.asset}* failed for *{failed.partition or 'no partition'}*{times}"
    text = _text(graph, headline, failed.cause, failed.run_id, again)
    memory.say(failed.channels, text, now=now, fallback=section.default_channel)
    partitions = [failed.partition] if failed.partition else []
    memory.open[name] = OpenAlert(
        "run", failed.asset, partitions, failed.channels, now, failed.ended or now, count, job=failed.job
    )


def _text(graph: Graph, headline: str, cause: Cause, run_id: str, again: str) -> str:
    words = cause.words if cause.name in {"killed", "no failed step"} else f"{cause.name}: {cause.words}"
    return message(headline, words, f"{cause.next_step}{again}", chapter=cause.chapter, link=_link(graph, run_id))


def _link(graph: Graph, run_id: str) -> str:
    address = graph.settings.file.alerts.webserver_url
    return f"<{address.rstrip('/')}/runs/{run_id}|run {run_id[:8]}>" if address else f"run {run_id}"


# -- backfills --------------------------------------------------------------------------------------------


def _note_backfill(memory: AlertMemory, backfill: str, failed: FailedRun, now: float) -> None:
    """Remember who is to hear of a backfill, and what failed in it; after a recovery it begins anew."""
    note = memory.backfills.get(backfill)
    if note is None or (note.told and note.done and f"backfill|{backfill}" not in memory.open):
        cause = f"{failed.cause.name}: {failed.cause.words}"
        note = memory.backfills[backfill] = FailingBackfill(now, failed.asset, [], cause, failed.run_id)
    note.channels = list(dict.fromkeys([*note.channels, *failed.channels]))
    note.failures.setdefault(failed.partition or failed.run_id, {})[failed.asset] = failed.ended or now
    note.done = False


def _tell_backfills(memory: AlertMemory, instance: dg.DagsterInstance, graph: Graph, now: float) -> None:
    """Per backfill one message with the number of its failed days, and one at its end if more failed since."""
    for backfill, note in memory.backfills.items():
        if note.done:
            continue
        over = is_over(instance, backfill)
        if over or (not note.told and now - note.since > _BACKFILL_WAIT_SECONDS):
            _tell_backfill(memory, instance, graph, backfill, over, now)
        note.done = over


def _tell_backfill(
    memory: AlertMemory, instance: dg.DagsterInstance, graph: Graph, backfill: str, over: bool, now: float
) -> None:
    note, name = memory.backfills[backfill], f"backfill|{backfill}"
    failed, total = _backfill_counts(instance, backfill)
    counted, which = f"{len(failed)} of {total} runs failed", days([*failed])
    if not note.told and len(failed) >= _threshold(graph, note):
        _say_backfill(memory, graph, backfill, f"{counted}{'' if over else ' so far'}: {which}", now, note.channels)
        memory.open[name] = OpenAlert("backfill", note.asset, [*failed], note.channels, now, now)
        note.told = True
    elif over and failed and name in memory.open:
        channels = _unheard(memory.open[name], note, failed)
        _say_backfill(memory, graph, backfill, f"{counted} when it ended: {which}", now, channels)
    if name in memory.open:
        _refresh(memory.open[name], note, failed)


def _unheard(alert: OpenAlert, note: FailingBackfill, failed: dict[str, float]) -> list[str]:
    """Who hears of the end of a backfill: all when more days failed since the first message, else who joined since."""
    if alert.ended or failed.keys() <= set(alert.partitions):
        return [one for one in note.channels if one not in alert.channels]
    alert.ended = True
    return note.channels


def _threshold(graph: Graph, note: FailingBackfill) -> int:
    """The smallest threshold of the assets that failed."""
    assets = {note.asset, *(asset for found in note.failures.values() for asset in found)}
    return min(graph.settings.file.alerts.threshold_of(asset) for asset in assets)


def _say_backfill(
    memory: AlertMemory, graph: Graph, backfill: str, words: str, now: float, channels: list[str]
) -> None:
    note = memory.backfills[backfill]
    step = "start the failed days again when the cause is mended: only what is not acknowledged is sent"
    headline = f":red_circle: backfill *{backfill}*: {words}"
    text = message(headline, note.cause, step, chapter="backfills", link=_link(graph, note.run_id))
    memory.say(channels, text, now=now, fallback=graph.settings.file.alerts.default_channel)


def _refresh(alert: OpenAlert, note: FailingBackfill, failed: dict[str, float]) -> None:
    """Every day that failed is named at the recovery; those that failed in the end have to succeed first."""
    alert.partitions = list(dict.fromkeys([*alert.partitions, *failed]))
    alert.count = len(alert.partitions)
    alert.channels = note.channels
    alert.failures = {day: note.failures.get(day) or {note.asset: ended} for day, ended in failed.items()}


def _backfill_counts(instance: dg.DagsterInstance, backfill: str) -> tuple[dict[str, float], int]:
    """The failed partitions of a backfill with their ends, by the last run of each, and how many partitions ran."""
    records = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    last: dict[str, dg.RunRecord] = {}
    for record in records:
        run = record.dagster_run
        last.setdefault(run.tags.get("dagster/partition", run.run_id), record)
    failed = {day: one for day, one in last.items() if one.dagster_run.status == dg.DagsterRunStatus.FAILURE}
    return {day: one.end_time or 0.0 for day, one in failed.items()}, len(last)


# -- watching ---------------------------------------------------------------------------------------------


def watch(context: dg.SensorEvaluationContext, graph: Graph, slack: AlertSlackResource, now: float) -> str:
    """One look at everything that is not a failed run; returns what was seen, in words."""
    with remembered(context.instance, graph.settings.environment.posthog_target, now) as memory:
        _tell_backfills(memory, context.instance, graph, now)
        _tell_recoveries(memory, context.instance, graph, now)
        failing = watch_checks(memory, context, graph, now)
        sent = post_outbox(memory, slack, now)
        waiting = f", {len(memory.outbox)} wait for Slack" if memory.outbox else ""
        return f"{len(memory.open)} alerts open, {failing} new failing checks, {sent} messages sent{waiting}"


def _tell_recoveries(memory: AlertMemory, instance: dg.DagsterInstance, graph: Graph, now: float) -> None:
    """Close what is over; a backfill whose end was told has had its last word."""
    for name, alert in list(memory.open.items()):
        if alert.kind == "check" or _goes_on(memory, name) or not _recovered(instance, alert):
            continue
        what = f"backfill *{name.split('|')[1]}*" if alert.kind == "backfill" else f"*{alert.asset}*"
        times = f" after {alert.count} failures" if alert.count > 1 else ""
        text = f":large_green_circle: {what} recovered{times}: {escaped(days(alert.partitions)) or 'no partition'}"
        if not alert.ended:
            memory.say(alert.channels, text, now=now, fallback=graph.settings.file.alerts.default_channel)
        del memory.open[name]


def _goes_on(memory: AlertMemory, name: str) -> bool:
    """Whether an alert is of a backfill that is not over: further days of it may fail."""
    kind, _, backfill = name.partition("|")
    note = memory.backfills.get(backfill) if kind == "backfill" else None
    return note is not None and not note.done


def _recovered(instance: dg.DagsterInstance, alert: OpenAlert) -> bool:
    """Whether all that failed was materialized after its last failure, or its job succeeded if it is no asset."""
    if alert.job and _succeeded_after(instance, alert):
        return True
    wanted: list[tuple[str, str | None, float]]
    if alert.failures is None:
        partitions: list[str | None] = [*alert.partitions]
        wanted = [(alert.asset, day, alert.last_failed) for day in partitions or [None]]
    else:
        wanted = [(asset, day, ended) for day, found in alert.failures.items() for asset, ended in found.items()]
    keys = ((dg.AssetKey(asset.split("/")), day, ended) for asset, day, ended in wanted)
    return all(_materialized_after(instance, *one) for one in keys)


def _succeeded_after(instance: dg.DagsterInstance, alert: OpenAlert) -> bool:
    tags = {"dagster/partition": alert.partitions[0]} if alert.partitions else {}
    good = dg.RunsFilter(job_name=alert.job, tags=tags, statuses=[dg.DagsterRunStatus.SUCCESS])
    return any((one.end_time or 0.0) > alert.last_failed for one in instance.get_run_records(good, limit=1))


def _materialized_after(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None, moment: float) -> bool:
    partitions: Sequence[str] | None = [partition] if partition else None
    wanted: Any = dg.AssetRecordsFilter(asset_key=key, asset_partitions=partitions, after_timestamp=moment)
    return bool(instance.fetch_materializations(wanted, limit=1).records)
