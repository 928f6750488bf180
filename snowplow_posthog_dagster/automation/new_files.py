"""The S3 sensor `new_snowplow_files`: new archive objects -> a run of their day.

    ArchiveWatch.look ──> per day: what waits ──> may a run start? ──> RunRequest (no run key), observation, reason
                     └──> hours that should have files and have none (empty_hours.py) ──> evaluation of `hours_present`

It never asks twice for the same thing: a day with a run queued or under way, or with its lease held by anybody, is
left alone. It never forgets either: what is new is decided at every tick by the listing and the day log, so a failed
run is simply asked for again. A `run_key` would make Dagster drop the retry of a failed run for ever.

A new run of a day starts `min_minutes_between_runs` after the last one began, later while runs of the day keep
failing (1, 2, 4 ... 60 minutes), and when the oldest waiting file is a minute old, so that the files of one flush of
the loader travel together. With an interval of zero nothing waits. While the target is paused its runs make batches and
send nothing, so that only sending is left when it is resumed.
"""

import datetime as dt
from collections.abc import Hashable
from dataclasses import dataclass

import dagster as dg

from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation.archive_watch import ArchiveWatch, DaySight, Sight
from snowplow_posthog_dagster.automation.empty_hours import EmptyHours, tell_empty_hours
from snowplow_posthog_dagster.automation.flying import Flying, runs_of_day
from snowplow_posthog_dagster.automation.job import LoadJob, asset_keys, job_name
from snowplow_posthog_dagster.automation.sensor_cursor import SensorCursor, cursor_of
from snowplow_posthog_dagster.loading.setup import archive_of, workspace_of
from snowplow_posthog_dagster.partitions import DEFAULT_START
from snowplow_posthog_dagster.resources.s3 import SnowplowS3Resource
from snowplow_posthog_dagster.storage.leases import holder_of
from snowplow_posthog_dagster.storage.s3 import Connection
from snowplow_posthog_dagster.storage.target import Pause, current_pause
from snowplow_posthog_dagster.storage.workspace import Workspace

SETTLE_SECONDS = 60.0
PRIORITY_TAG = "dagster/priority"
_LONGEST_DELAY_MINUTES = 60.0

_watches: dict[Hashable, tuple[ArchiveWatch, Workspace]] = {}
_observed: dict[Hashable, tuple[int, int]] = {}


def build_new_files_sensor(graph: Graph, job: LoadJob) -> dg.SensorDefinition:
    """The sensor of one target. It ships stopped: starting it is what asks for today's events."""
    section = graph.settings.file.automation

    @dg.sensor(
        name=graph.name("new_snowplow_files"),
        job=job,
        minimum_interval_seconds=section.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING
        if graph.settings.starts_automation
        else dg.DefaultSensorStatus.STOPPED,
        description=(
            "Loads new files of the Snowplow archive: the current and the previous hour at every tick, late and"
            f" overwritten files of the last {section.look_back_days} days in slices. Days that this target never"
            " loaded need a backfill. An hour that should have files and has none fails the check hours_present."
        ),
    )
    def new_snowplow_files(context: dg.SensorEvaluationContext, s3: SnowplowS3Resource) -> dg.SensorResult:
        return tick(context, graph, s3.connection(), dt.datetime.now(dt.UTC))

    return new_snowplow_files


def tick(
    context: dg.SensorEvaluationContext, graph: Graph, connection: Connection, now: dt.datetime
) -> dg.SensorResult:
    """One evaluation at `now` (UTC). Raises what S3 and the settings raise; the tick then shows the message."""
    environment, section = graph.settings.environment, graph.settings.file.automation
    end = environment.posthog_backfill_end_date
    if end is not None and end < now.date():
        return _skipped(
            context, f"POSTHOG_BACKFILL_END_DATE is {end}: there is no partition for today, so nothing is watched"
        )
    watch, workspace = _watch_of(graph, connection)
    cursor = cursor_of(context.cursor)
    with watch.lock:
        sight = watch.look(
            now,
            look_back_days=section.look_back_days,
            look_back_hours=section.look_back_hours_per_tick,
            look_back_next=cursor.look_back_next,
            first_day=environment.posthog_backfill_start_date or DEFAULT_START,
            last_day=end,
            started=watch.first_start(now),
        )
        empty = tell_empty_hours(graph, watch, workspace, sight, cursor.empty_hours, now)
    return _result(context, graph, workspace, sight, empty, now)


def _result(
    context: dg.SensorEvaluationContext,
    graph: Graph,
    workspace: Workspace,
    sight: Sight,
    empty: EmptyHours,
    now: dt.datetime,
) -> dg.SensorResult:
    gate = _Gate(context.instance, graph, workspace, now)
    pause = current_pause(workspace, now)
    verdicts = [(day, gate.why_not(day)) for day in sight.days if (day.waiting if pause else day.has_work)]
    requests = [_request(graph, day, delivers=pause is None) for day, reason in verdicts if not reason]
    newest = max((f"{day.day}T{day.newest_hour:02d}" for day in sight.days if day.newest_hour is not None), default="")
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason(_words(sight, verdicts) + _paused(workspace, pause)),
        cursor=SensorCursor(sight.look_back_next, newest, empty.told).text(),
        asset_events=[*_observations(graph, workspace, sight), *empty.evaluations],
    )


def _skipped(context: dg.SensorEvaluationContext, reason: str) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=context.cursor)


def _watch_of(graph: Graph, connection: Connection) -> tuple[ArchiveWatch, Workspace]:
    """The process's watch of this archive and target: what it read of the logs stays between ticks."""
    settings = graph.settings
    name = (connection, settings.archive_bucket, settings.workspace_place, settings.environment.posthog_target)
    if name not in _watches:
        workspace = workspace_of(settings, connection)
        skips_frozen = settings.file.transform.frozen_objects == "skip"
        watch = ArchiveWatch(archive_of(settings, connection), workspace, skips_frozen=skips_frozen)
        _watches[name] = watch, workspace
    return _watches[name]


@dataclass(frozen=True)
class _Gate:
    """Whether a run of a day may start now."""

    instance: dg.DagsterInstance
    graph: Graph
    workspace: Workspace
    now: dt.datetime

    def why_not(self, day: DaySight) -> str:
        """Why no run of the day starts at this tick; empty when one does."""
        interval = self.graph.settings.file.automation.min_minutes_between_runs
        young = self._too_young(day, interval)
        if young:
            return young
        keys = asset_keys(self.graph)
        flying = runs_of_day(self.instance, day.day, assets=keys, job=job_name(self.graph), now=self.now)
        if flying.unfinished:
            return f"run {flying.unfinished[0][:8]} is queued or under way"
        too_soon = self._too_soon(flying, interval)
        if too_soon:
            return too_soon
        holder = holder_of(self.workspace, day.day)
        return f"the day is being loaded by {holder[:8]}" if holder else ""

    def _too_young(self, day: DaySight, interval: float) -> str:
        settle = min(SETTLE_SECONDS, interval * 60)
        if day.unsent or day.oldest is None or self.now.timestamp() - day.oldest >= settle:
            return ""
        return f"its oldest new file has waited less than {settle:.0f} s"

    def _too_soon(self, flying: Flying, interval: float) -> str:
        if flying.last_began is None:
            return ""
        failures = flying.failures
        delay = max(interval, min(_LONGEST_DELAY_MINUTES, 2.0 ** (failures - 1)) if failures else 0.0)
        next_start = flying.last_began + dt.timedelta(minutes=delay)
        if next_start <= self.now:
            return ""
        failed = (
            f", the last {failures} of which failed"
            if failures > 1
            else (", the last of which failed" if failures else "")
        )
        return f"the next run may start at {next_start:%H:%M:%S} UTC, {delay:g} minutes after the last began{failed}"


def _paused(workspace: Workspace, pause: Pause | None) -> str:
    if pause is None:
        return ""
    until = f" until {pause.until}" if pause.until else ""
    return f"; deliveries to target {workspace.target!r} are paused{until} by {pause.by}: {pause.reason}"


def _request(graph: Graph, day: DaySight, *, delivers: bool) -> dg.RunRequest:
    """A run of the day that goes before backfills; during a pause it makes batches and sends nothing."""
    return dg.RunRequest(
        partition_key=f"{day.day}",
        asset_selection=None if delivers else [graph.key("snowplow_manifest"), graph.key("posthog_batches")],
        tags={
            PRIORITY_TAG: str(graph.settings.file.automation.priority),
            "snowplow_posthog/found": f"{day.waiting} new files, {day.unsent} unsent events",
        },
    )


def _observations(graph: Graph, workspace: Workspace, sight: Sight) -> list[dg.AssetObservation]:
    """An observation of the archive for every day that changed since this process last told."""
    events = []
    for day in sight.days:
        name = (workspace.root, day.day)
        if day.files and _observed.get(name) != (day.files, day.bytes):
            _observed[name] = day.files, day.bytes
            hour = "" if day.newest_hour is None else f"{day.day}T{day.newest_hour:02d}"
            metadata: dict[str, str | int] = {
                "files": day.files,
                "bytes": day.bytes,
                "waiting": day.waiting,
                "newest_hour": hour,
            }
            events.append(dg.AssetObservation(graph.key("snowplow_archive"), partition=f"{day.day}", metadata=metadata))
    return events


def _words(sight: Sight, verdicts: list[tuple[DaySight, str]]) -> str:
    """What was seen, and why nothing starts."""
    back = f", looked back at {sight.looked_back[0]} to {sight.looked_back[-1]}" if sight.looked_back else ""
    hours = " and ".join(sight.listed_hours) or "no hour"
    seen = f"listed {sight.listed_objects:,} objects in {hours}{back}"
    waits = [f"{day.day}: {_waiting(day)} wait, {reason}" for day, reason in verdicts]
    later = [
        f"{day.day}: {day.retried_later} broken objects are tried again later"
        for day in sight.days
        if day.retried_later
    ]
    never = sight.never_loaded
    backfill = f"never loaded before this sensor first ran, so a backfill is needed: {_range(never)}" if never else ""
    return "; ".join(filter(None, [seen, *(waits or ["nothing new"]), *later, backfill]))


def _waiting(day: DaySight) -> str:
    parts = [f"{day.waiting:,} files" if day.waiting else "", f"{day.unsent:,} unsent events" if day.unsent else ""]
    return " and ".join(filter(None, parts))


def _range(days: tuple[dt.date, ...]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]} ({len(days)} days)"
