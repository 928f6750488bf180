"""Hours without a file, told by the sensor: a silent archive starts no run, and checks are judged by runs.

    DaySight.empty_hours ──due, not told before, still empty──> evaluation of `hours_present`, at the same tick

The check's own rule decides which hours are due (`checks.hour_grace_minutes`). Looked at are today and yesterday, as
far as the sensor watches them; older days are the nightly job's. An hour is told once. When its files come after all,
the run that loads them judges the check again, and the alert is over.
"""

import datetime as dt
from typing import NamedTuple

import dagster as dg

from snowplow_posthog_dagster.assets.checks import check_evaluation, hours_due, hours_verdict
from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation.archive_watch import ArchiveWatch, DaySight, Sight
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.workspace import Workspace


class Silence(NamedTuple):
    """What is told at this tick, and every hour (`yyyy-mm-ddThh`) of the days looked at that was told so far."""

    evaluations: list[dg.AssetCheckEvaluation]
    told: tuple[str, ...]


def told_silence(
    graph: Graph,
    watch: ArchiveWatch,
    workspace: Workspace,
    sight: Sight,
    told: tuple[str, ...],
    now: dt.datetime,
) -> Silence:
    """Evaluate `hours_present` for the days in which an hour turned out empty. Raises what archive and log raise."""
    first = now.date() - dt.timedelta(days=1)
    evaluations, kept = [], {hour for hour in told if hour >= f"{first}"}
    for day in (day for day in sight.days if day.day >= first):
        due = [hour for hour in hours_due(day.day, now, graph.settings.file.checks) if hour in day.empty_hours]
        if kept.issuperset(_texts(day, due)):
            continue
        missing = watch.still_empty(day.day, due)
        if kept.issuperset(_texts(day, missing)):
            continue
        kept |= _texts(day, missing)
        verdict = hours_verdict(len(day.hours), missing)
        state = DayLog(workspace, day.day).state()
        evaluations.append(check_evaluation(verdict, graph.key("posthog_events"), day.day, state))
    return Silence(evaluations, tuple(sorted(kept)))


def _texts(day: DaySight, hours: list[int]) -> set[str]:
    return {f"{day.day}T{hour:02d}" for hour in hours}
