"""The last round of a day: late files that no tick of the sensor loads any more.

    night's days: listing against log ──> new objects or unsent events? ──> RunRequest per day (no run key)

The sensor looks back `look_back_days`. A file that comes later than that, or while the sensor was off, would wait for
somebody to materialize its day. This schedule asks for a run of every day that has work, before the nightly job holds
the days against PostHog and closes them. A day with a run under way, or with its lease held, is left alone, and a
paused target gets no run. So is a day from before the sensor that was only asked for in part: by hours, up to so many
events, or its batches alone. The rest of it is for whoever began it, and not for a schedule.
"""

import datetime as dt
import time
from collections.abc import Iterator

import dagster as dg

from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation.flying import runs_of_day
from snowplow_posthog_dagster.automation.job import LoadJob, asset_keys, job_name
from snowplow_posthog_dagster.automation.night_days import live_from, night_days
from snowplow_posthog_dagster.loading.day import DayLoad, needs_transform
from snowplow_posthog_dagster.loading.setup import archive_of, workspace_of
from snowplow_posthog_dagster.resources.s3 import SnowplowS3Resource
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.leases import holder_of
from snowplow_posthog_dagster.storage.s3 import Connection
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.target import current_pause
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

_LONGEST_SECONDS = 40.0
"""Dagster gives an evaluation up after 60 s. Days that were not reached by then are named in the tick's log."""


def build_late_files_schedule(graph: Graph, job: LoadJob) -> dg.ScheduleDefinition:
    """The schedule of one target; like the sensor it ships stopped."""
    running = dg.DefaultScheduleStatus.RUNNING if graph.settings.starts_automation else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=graph.name("late_files"),
        job=job,
        cron_schedule=graph.settings.file.automation.late_files_cron,
        execution_timezone="UTC",
        default_status=running,
        description="Asks for a run of each of the last days that has a late file or an unsent event.",
    )
    def late_files(
        context: dg.ScheduleEvaluationContext, s3: SnowplowS3Resource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        return requests(context, graph, s3.connection(), dt.datetime.now(dt.UTC))

    return late_files


def requests(
    context: dg.ScheduleEvaluationContext, graph: Graph, connection: Connection, now: dt.datetime
) -> list[dg.RunRequest] | dg.SkipReason:
    """What to run at `now` (UTC), or why nothing. Raises what S3 and the settings raise."""
    workspace = workspace_of(graph.settings, connection)
    pause = current_pause(workspace, now)
    if pause:
        return dg.SkipReason(f"deliveries to {workspace.target!r} are paused by {pause.by}: {pause.reason}")
    days = night_days(graph.settings, workspace, now, graph.settings.file.automation.night_days)
    asked, reasons = [], []
    for day, found in _with_work(context, graph, connection, workspace, days):
        holder = holder_of(workspace, day)
        flying = runs_of_day(context.instance, day, assets=asset_keys(graph), job=job_name(graph), now=now)
        if holder or flying.unfinished:
            reasons.append(f"{day}: {found}, and a run is under way")
        else:
            asked.append(dg.RunRequest(partition_key=f"{day}", tags={"snowplow_posthog/found": found}))
    return asked or dg.SkipReason("; ".join(reasons) or f"{len(days)} days have nothing new")


def _with_work(
    context: dg.ScheduleEvaluationContext, graph: Graph, connection: Connection, workspace: Workspace,
    days: list[dt.date],
) -> Iterator[tuple[dt.date, str]]:  # fmt: skip
    """The days that a run would find something to do in, and what."""
    began, archive, live = time.monotonic(), archive_of(graph.settings, connection), live_from(workspace)
    for number, day in enumerate(days):
        if time.monotonic() - began > _LONGEST_SECONDS:
            context.log.warning(f"no time to look at {len(days) - number} days from {day} on")
            return
        found = work_of(DayLoad(archive=archive, workspace=workspace, day=day, writer="late-files"), live=day >= live)
        if found:
            yield day, found


def work_of(load: DayLoad, *, live: bool) -> str:
    """What a run of the day would do, in words; empty when nothing. A closed day costs two listings.

    A day that is not `live`, that is from before the sensor, has to have been loaded whole.
    """
    listing = load.archive.list_day(load.day)
    if load.is_finished(listing):
        return ""
    state, now = load.log.state(), timestamp_text()
    if not live and not _was_whole(load, state, listing):
        return ""
    files = sum(needs_transform(state.objects.get(found.object_id), now) for found in listing)
    unsent = state.counts().pending
    parts = [f"{files:,} new files" if files else "", f"{unsent:,} unsent events" if unsent else ""]
    return ", ".join(filter(None, parts))


def _was_whole(load: DayLoad, state: DayState, listing: list[ArchiveObject]) -> bool:
    """Whether the day was closed once, or is open for another reason than that nobody asked for all of it."""
    if any(True for _ in load.workspace.bucket.listing(load.workspace.folder("days", load.day))):
        return True
    return state.counts().acknowledged > 0 and all(found.object_id in state.objects for found in listing)
