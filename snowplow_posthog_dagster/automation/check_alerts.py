"""Checks that fail while runs succeed: a broken object, an hour without records, errors of PostHog, a gap.

Every evaluation since the last look counts, not only the newest: within half a minute a backfill evaluates a check
for many days. One message per check and look, naming the days; another when the days pass again. Of days before
yesterday a check is told once in `alerts.repeat_minutes`, with all that came together: a backfill of three years, or a
night that compares forty days with PostHog, has hundreds of looks, and what is wrong with one day is wrong with all.
"""

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation.alert_memory import AlertMemory, HeldDays, OpenAlert
from snowplow_posthog_dagster.automation.alert_words import days, escaped, message
from snowplow_posthog_dagster.automation.failures import channels_of
from snowplow_posthog_dagster.settings import AlertsSection

_EVALUATIONS = 500
_TOLD_SECONDS = 86_400.0
_JUDGED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
"""A run writes two rows of a check, the first when it is planned; those of a large backfill would fill the limit."""
_OF_THE_TARGET = {"posthog_errors"}

# The first thing to do, short enough for a message at night; the runbook's chapter has the rest.
_NEXT_STEPS = {
    "broken_objects": "ask the Snowplow pipeline for the file again: a new upload is loaded by itself",
    "hours_present": "list the folder of that hour in the archive, then look at Snowplow's loader",
    "records_present": "`snowplow-posthog preview` the files of that hour, then look at the collector",
    "posthog_errors": "nothing while runs succeed; https://status.posthog.com says more",
    "reconciled": "`snowplow-posthog pause --reason gap`, then mend the cause in PostHog: a limit, a dropping rule",
    "complete_in_time": "`snowplow-posthog status`, then materialize the day, and see why no run did",
    "dead_letter_share": "`snowplow-posthog dead-letters list`, mend the cause, then `dead-letters replay`",
    "latency": "compare when files landed with when runs began: the ticks of `new_snowplow_files` say why they wait",
    "volume": "compare the hours of the day with the trackers' releases and with holidays",
}


class Evaluation(NamedTuple):
    """One evaluation of a check, for a day."""

    number: int
    partition: str
    passed: bool
    words: str
    accepted: str = ""
    """Who accepted it, until when and why; empty when nobody did. They need not be told of it."""


def watch_checks(memory: AlertMemory, context: dg.SensorEvaluationContext, graph: Graph, now: float) -> int:
    """Tell of the checks that began to fail or pass again since the last look; returns how many fail anew."""
    failing = 0
    for key, owners in _watched(context, graph):
        name = f"{key.asset_key.to_user_string()}|{key.name}"
        seen = memory.checks_seen.get(name, 0)
        new = sorted(_evaluations(context.instance, key, seen))
        memory.checks_seen[name] = max([seen, *(one.number for one in new)])
        tell = _tell_once if key.name in _OF_THE_TARGET else _tell
        failing += tell(memory, graph, key, channels_of(graph, owners), new, now)
    return failing


def _watched(context: dg.SensorEvaluationContext, graph: Graph) -> Iterator[tuple[dg.AssetCheckKey, list[str]]]:
    """The checks that alert, with the owners of their assets; blocking ones fail the run and are told as such."""
    repository = context.repository_def
    wanted = set(graph.settings.file.alerts.checks)
    if repository is None:
        return
    for definition in repository.assets_defs_by_key.values():
        owners = {spec.key: list(spec.owners) for spec in definition.specs}
        for spec in definition.check_specs:
            if spec.name in wanted and not spec.blocking:
                yield spec.key, owners.get(spec.asset_key, [])


def _evaluations(instance: dg.DagsterInstance, key: dg.AssetCheckKey, after: int) -> Iterator[Evaluation]:
    for record in instance.event_log_storage.get_asset_check_execution_history(key, _EVALUATIONS, status=_JUDGED):
        event = record.event.dagster_event if record.event else None
        if record.id <= after or event is None:
            continue
        data = event.event_specific_data
        if isinstance(data, dg.AssetCheckEvaluation):
            partition = data.metadata.get("partition")
            day = str(partition.value) if partition is not None else ""
            accepted = data.metadata.get("acknowledged")
            by = "" if data.passed or accepted is None else str(accepted.value)
            yield Evaluation(record.id, day, data.passed, data.description or "", by)


def _tell_once(
    memory: AlertMemory, graph: Graph, key: dg.AssetCheckKey, channels: list[str], new: list[Evaluation], now: float
) -> int:
    """The same for a check that speaks of the target and not of a day: one message, however many days meet it.

    It is over when the newest run passed and the window of the errors has gone by: a run a moment later may know less.
    Errors a day after the last ones are told as new ones.
    """
    section, asset = graph.settings.file.alerts, key.asset_key.to_user_string()
    name = f"check|{asset}|{key.name}|"
    known = memory.open.get(name)
    bad = [one for one in new if not (one.passed or one.accepted)]
    if known and new:
        known.passes = new[-1].passed
    if bad and known and now - known.last_failed < _TOLD_SECONDS:
        known.last_failed = now
    elif bad:
        headline = f":large_yellow_circle: check *{key.name}* of {asset} fails for {days([bad[-1].partition])}"
        link, chapter = _link(graph, key.asset_key), key.name.replace("_", "-")
        text = message(headline, bad[-1].words, _next_step(key.name), chapter=chapter, link=link)
        memory.say(channels, text, now=now, fallback=section.default_channel)
        memory.open[name] = OpenAlert("check", asset, [bad[-1].partition], channels, now, now, check=key.name)
        return 1
    elif known and known.passes and now - known.last_failed >= graph.settings.file.checks.server_error_minutes * 60:
        text = f":large_green_circle: check *{key.name}* of {asset} passes again for {days(known.partitions)}"
        memory.say(channels, text, now=now, fallback=section.default_channel)
        del memory.open[name]
    return 0


def _tell(
    memory: AlertMemory, graph: Graph, key: dg.AssetCheckKey, channels: list[str], new: list[Evaluation], now: float
) -> int:
    section = graph.settings.file.alerts
    last = {one.partition: one for one in new}
    open_days = {
        alert.partitions[0]: name
        for name, alert in memory.open.items()
        if alert.kind == "check" and alert.check == key.name and alert.asset == key.asset_key.to_user_string()
    }
    bad = [one for day, one in last.items() if not (one.passed or one.accepted) and day not in open_days]
    over = [one for day, one in last.items() if (one.passed or one.accepted) and day in open_days]
    asset = key.asset_key.to_user_string()
    held = memory.held.setdefault(f"{asset}|{key.name}", HeldDays())
    untold = set(held.days)
    told, words = _due(held, bad, over, section, now)
    if told:
        headline = f":large_yellow_circle: check *{key.name}* of {asset} fails for {days(told)}"
        link = _link(graph, key.asset_key)
        text = message(headline, words, _next_step(key.name), chapter=key.name.replace("_", "-"), link=link)
        memory.say(channels, text, now=now, fallback=section.default_channel)
    for one in bad:
        alert = OpenAlert("check", asset, [one.partition], channels, now, now, check=key.name)
        memory.open[f"check|{asset}|{key.name}|{one.partition}"] = alert
    good = [one.partition for one in over if one.passed and one.partition not in untold]
    if good:
        text = f":large_green_circle: check *{key.name}* of {asset} passes again for {days(good)}"
        memory.say(channels, text, now=now, fallback=section.default_channel)
    for one in (one for one in over if one.accepted and one.partition not in untold):
        text = f":white_circle: check *{key.name}* of {asset} fails on for {one.partition}, {escaped(one.accepted)}"
        memory.say(channels, text, now=now, fallback=section.default_channel)
    for one in over:
        del memory.open[open_days[one.partition]]
    return len(bad)


def _due(
    held: HeldDays, bad: list[Evaluation], over: list[Evaluation], section: AlertsSection, now: float
) -> tuple[list[str], str]:
    """The failing days to tell of now, with the words of the last; days of history may be held for a later look."""
    yesterday = f"{dt.datetime.fromtimestamp(now, dt.UTC).date() - dt.timedelta(days=1)}"
    history = [one for one in bad if "" < one.partition < yesterday]
    told = [one for one in bad if one not in history]
    ended = {one.partition for one in over}
    held.days = [day for day in held.days if day not in ended] + [one.partition for one in history]
    held.words = history[-1].words if history else held.words
    named, words = [one.partition for one in told], told[-1].words if told else held.words
    if held.days and now - held.last_said >= section.repeat_minutes * 60:
        named, held.days, held.last_said = [*named, *held.days], [], now
    return named, words


def _next_step(check: str) -> str:
    return _NEXT_STEPS.get(check, f"`snowplow-posthog status`; the runbook has a chapter on {check}")


def _link(graph: Graph, key: dg.AssetKey) -> str:
    """The page of the asset's checks, when the settings say where the UI is."""
    address = graph.settings.file.alerts.webserver_url
    asset = key.to_user_string()
    return f"<{address.rstrip('/')}/assets/{asset}?view=checks|checks of {asset}>" if address else ""
