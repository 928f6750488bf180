"""Hours without a file, told by the S3 sensor: an archive in which nothing arrives starts no run that would judge them.

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


class EmptyHours(NamedTuple):
    """What this tick says of the check, and every hour (`yyyy-mm-ddThh`) of the two days that was told by now."""

    evaluations: list[dg.AssetCheckEvaluation]
    told: tuple[str, ...]


def tell_empty_hours(
    graph: Graph, watch: ArchiveWatch, workspace: Workspace, sight: Sight, told: tuple[str, ...], now: dt.datetime
) -> EmptyHours:
    """Evaluate `hours_present` for a day in which one more hour has no file. Raises what archive and log raise."""
    yesterday = now.date() - dt.timedelta(days=1)
    known = {hour for hour in told if hour >= f"{yesterday}"}
    evaluations = []
    for day in sight.days:
        due = hours_due(day.day, now, graph.settings.file.checks)
        empty = [hour for hour in due if hour in day.empty_hours]
        if day.day >= yesterday and not known.issuperset(_texts(day, empty)):
            empty = watch.still_empty(day.day, empty, now)
            if not known.issuperset(_texts(day, empty)):
                known |= _texts(day, empty)
                evaluations.append(_evaluation(graph, workspace, day, empty))
    return EmptyHours(evaluations, tuple(sorted(known)))


def _evaluation(graph: Graph, workspace: Workspace, day: DaySight, empty: list[int]) -> dg.AssetCheckEvaluation:
    state = DayLog(workspace, day.day).state()  # for who accepted it
    return check_evaluation(hours_verdict(len(day.hours), empty), graph.key("posthog_events"), day.day, state)


def _texts(day: DaySight, hours: list[int]) -> set[str]:
    return {f"{day.day}T{hour:02d}" for hour in hours}
