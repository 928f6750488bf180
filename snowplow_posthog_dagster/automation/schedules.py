"""The night: the days of the last week and of recent backfills are held against archive and PostHog, and closed.

    listing against log ──> complete? ──> close ──> PostHog against log ──> checks of the day
    every day of which something is stored ──> purge what is no longer needed ──> Dagster's old runs

The job sends nothing: late files were asked a run for before (late_files.py). What is still missing becomes a failing
check, and so a message in Slack. A day that a run is working on is left for the next night. One day's trouble does
not keep the others from their turn.
"""

import contextlib
import datetime as dt
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg
from pydantic import Field

from snowplow_posthog_dagster.assets.checks import (
    Verdict,
    check_evaluation,
    judge_completeness,
    judge_day,
    night_facts,
)
from snowplow_posthog_dagster.assets.day_report import DAYS, picture_metadata
from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.assets.metadata import Metadata
from snowplow_posthog_dagster.automation.housekeeping import Housekeeping, keep_house, stored_days
from snowplow_posthog_dagster.automation.job import asset_keys
from snowplow_posthog_dagster.automation.night_days import night_days, unsettled_days
from snowplow_posthog_dagster.automation.old_runs import delete_old_runs
from snowplow_posthog_dagster.errors import SnowplowPostHogError
from snowplow_posthog_dagster.loading.day import DayLoad, what_is_left, writer_name
from snowplow_posthog_dagster.loading.load_report import report_of
from snowplow_posthog_dagster.loading.reconcile import Reconciliation
from snowplow_posthog_dagster.loading.setup import archive_of, query_client_of, workspace_of
from snowplow_posthog_dagster.posthog.query import QueryClient
from snowplow_posthog_dagster.resources.s3 import SnowplowS3Resource
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.leases import DayLease, holder_of
from snowplow_posthog_dagster.storage.s3 import Connection
from snowplow_posthog_dagster.storage.target import current_pause
from snowplow_posthog_dagster.storage.workspace import Workspace

_NIGHT_CHECKS = {"hours_present", "records_present", "broken_objects", "volume", "schema_drift", "reconciled"}


class NightConfig(dg.Config):
    """Run config of the nightly job."""

    days: int | None = Field(None, description="How many past days; empty: automation.night_days", ge=1, le=400)
    dry_run: bool | None = Field(None, description="Delete nothing, only say what would go; empty: as the settings say")
    wait_seconds: float = Field(
        60.0, description="How long PostHog's ingestion may lag before a missing event is a gap"
    )


@dataclass
class NightReport:
    """What one night found, a line per day."""

    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    house: Housekeeping = field(default_factory=Housekeeping)
    picture: Metadata = field(default_factory=dict)


def build_nightly_schedule(graph: Graph) -> dg.ScheduleDefinition:
    """The nightly job on its schedule; it ships stopped."""
    running = dg.DefaultScheduleStatus.RUNNING if graph.settings.starts_automation else dg.DefaultScheduleStatus.STOPPED
    return dg.ScheduleDefinition(
        name=graph.name("nightly"),
        job=build_nightly_job(graph),
        cron_schedule=graph.settings.file.automation.nightly_cron,
        execution_timezone="UTC",
        default_status=running,
        description="Reconciles and closes the last days, and deletes what they no longer need.",
    )


def build_nightly_job(graph: Graph) -> dg.JobDefinition:
    """A job of one op; it materializes nothing and reports checks."""

    @dg.op(name=graph.name("reconcile_and_tidy"))
    def reconcile_and_tidy(context: dg.OpExecutionContext, config: NightConfig, s3: SnowplowS3Resource) -> None:
        night = Night(graph, s3.connection(), context.instance, config, dt.datetime.now(dt.UTC))
        report = night.run()
        for line in report.lines:
            context.log.info(line)
        context.add_output_metadata({"days": "\n".join(report.lines), "deleted": report.house.summary()})
        if report.picture:
            context.log_event(dg.AssetObservation(graph.key("posthog"), metadata=report.picture))
        if report.errors:
            raise dg.Failure("; ".join(report.errors), allow_retries=False)

    @dg.job(name=graph.name("nightly_job"), description="Reconciles and closes the last days; sends nothing.")
    def nightly() -> None:
        reconcile_and_tidy()

    return nightly


@dataclass
class Night:
    """One night's work at `now` (UTC)."""

    graph: Graph
    connection: Connection
    instance: dg.DagsterInstance
    config: NightConfig
    now: dt.datetime

    def run(self) -> NightReport:
        """Look at every day, then at Dagster's old runs."""
        report = NightReport()
        settings = self.graph.settings
        workspace, query = workspace_of(settings, self.connection), query_client_of(settings)
        days = night_days(settings, workspace, self.now, self._days)
        older = unsettled_days(settings, workspace, self.now, self._days) if query is not None else []
        for day in dict.fromkeys([*days, *older]):
            try:
                report.lines.append(f"{day}: {self._day(workspace, query, day)}")
            except SnowplowPostHogError as error:
                report.errors.append(f"{day}: {error}")
        for day in stored_days(workspace):
            try:
                self._tidy(workspace, day, report.house)
            except SnowplowPostHogError as error:
                report.errors.append(f"housekeeping of {day}: {error}")
        try:
            report.picture = self._picture(workspace)
        except SnowplowPostHogError as error:
            report.errors.append(f"the picture of the last {DAYS} days: {error}")
        sensor = self.graph.name("new_snowplow_files")
        old = delete_old_runs(self.instance, sensor, asset_keys(self.graph), self.now, dry_run=self._dry_run)
        would = "would delete" if self._dry_run else "deleted"
        report.lines.append(f"{would} {report.house.summary()}, and {old:,} old runs of {sensor}")
        return report

    def _picture(self, workspace: Workspace) -> Metadata:
        """The last days as the archive and the logs have them now."""
        archive = archive_of(self.graph.settings, self.connection)
        grace = self.graph.settings.file.checks.hour_grace_minutes
        month = report_of(workspace, archive, now=self.now, days=DAYS, grace_minutes=grace)
        return picture_metadata(month)

    @property
    def _days(self) -> int:
        return self.config.days or self.graph.settings.file.automation.night_days

    @property
    def _dry_run(self) -> bool:
        given = self.config.dry_run
        return self.graph.settings.file.automation.housekeeping_dry_run if given is None else given

    def _load(self, workspace: Workspace, day: dt.date) -> DayLoad:
        return DayLoad(
            archive=archive_of(self.graph.settings, self.connection),
            workspace=workspace,
            day=day,
            writer=writer_name(f"nightly-{self.now.isoformat()}"),
        )

    def _tidy(self, workspace: Workspace, day: dt.date, house: Housekeeping) -> None:
        """Today is left alone, and so is a day that a run is working on."""
        if day >= self.now.date() or holder_of(workspace, day):
            return
        load = self._load(workspace, day)
        retention = self.graph.settings.file.workspace.dead_letter_retention_days
        # What only looks holds nobody up.
        with contextlib.nullcontext() if self._dry_run else self._lease(load):
            house.add(keep_house(load, dry_run=self._dry_run, retention_days=retention, now=self.now.timestamp()))

    def _day(self, workspace: Workspace, query: QueryClient | None, day: dt.date) -> str:
        holder = holder_of(workspace, day)
        if holder:
            return f"is being worked on by {holder[:8]}, left for the next night"
        load = self._load(workspace, day)
        with self._lease(load):
            listing = load.archive.list_day(day)
            complete, words = self._close(load, listing)
            if complete and query is not None:
                words += f", {self._reconcile(load, query)}"
            limits, pause = self.graph.settings.file.checks, current_pause(workspace, self.now)
            in_time = judge_completeness(day, complete=complete, left=words, now=self.now, limits=limits, pause=pause)
            self._report_checks(load, listing, in_time)
        return words

    @contextlib.contextmanager
    def _lease(self, load: DayLoad) -> Iterator[None]:
        who = f"the nightly job on {socket.gethostname()}"
        with DayLease(load.workspace, load.day, sender=f"nightly-{load.writer}", who=who):
            yield

    def _close(self, load: DayLoad, listing: list[ArchiveObject]) -> tuple[bool, str]:
        """Whether the day is complete now, in words: logs against listing."""
        if load.is_finished(listing):
            return True, "complete"
        state = load.log.state()
        left = what_is_left(state, listing) or ("" if listing else "no file in the archive")
        problems = state.problems()
        if problems:
            return False, f"does not add up: {problems[0]}"
        if left:
            return False, f"not complete: {left}"
        closed = load.close(listing)
        return closed, "closed" if closed else "not complete"

    def _reconcile(self, load: DayLoad, query: QueryClient) -> str:
        """PostHog against the log, once per day: a day that agreed and did not change is not asked for again."""
        state = load.log.state()
        if state.agreed:
            return "agreed with PostHog before"
        api_key = self.graph.settings.project_api_key
        report = Reconciliation(load, query, api_key=api_key, wait_seconds=self.config.wait_seconds).run()
        return report.summary()

    def _report_checks(self, load: DayLoad, listing: list[ArchiveObject], in_time: Verdict) -> None:
        state = load.log.state()
        limits = self.graph.settings.file.checks
        judged = judge_day(night_facts(load, state, listing, self.now, limits), limits)
        key = self.graph.key("posthog_events")
        # Nobody waits for a day of a backfill by the hour of the day after it; that it is complete ends an alert.
        due = [in_time] if in_time.passed or (self.now.date() - load.day).days <= self._days else []
        for verdict in [*due, *(one for one in judged if one.check in _NIGHT_CHECKS)]:
            self.instance.report_runless_asset_event(check_evaluation(verdict, key, load.day, state))
