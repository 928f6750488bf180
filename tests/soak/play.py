"""The soak: some minutes of everything at once against a real `dagster dev`, and one line of what came of it.

    Arrivals (files every few seconds) ──> sandbox's S3 ──sensor, backfill──> Dagster ──> stand-in PostHog
    acts (faults of upstream, PostHog, machine, Slack) ──> expected messages ──compared──> local Slack

Lost and doubled are counted by uuid: those of the generator that must arrive against what PostHog is left with after
its deduplication (key: day, event, distinct_id, uuid). Dead letters are those of the logs, and must be as many as the
generator made. At the end the UI is asked for every day, and must say what the logs say.
"""

import datetime as dt
import json
import statistics
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, workspace_of
from snowplow_posthog_dagster.sandbox.servers import Sandbox
from snowplow_posthog_dagster.settings import ChecksSection, Environment, Settings, SettingsFile
from snowplow_posthog_dagster.storage.day_log import DayLog
from tests.automation.slack_server import TOKEN, SlackServer, running_slack
from tests.dagster.server import ENDED, Dagster, Home, running_dagster
from tests.soak import acts
from tests.soak.acts import Stage
from tests.soak.arrivals import Arrivals
from tests.soak.story import Story

ACTS = ("kill", "outage", "flaky")
_EVERY_SECONDS = 4.0
_QUIET_SECONDS = 15.0
_PATIENCE = 600.0
_PATIENCE_WITH_DEFAULTS = 900.0
_BACKFILL_DAYS = 3
_OUTAGE_DAYS = 2
QUICK = {"min_minutes_between_runs": 0, "sensor_seconds": 5}


@dataclass
class Result:
    """The line at the end. `latency` in seconds from the landing of a file to its last acknowledgement."""

    arrived: int
    delivered: int
    lost: int
    doubled: int
    dead_letters: int
    alerts_sent: int
    alerts_expected: int
    latency_p50_s: float
    latency_p95_s: float

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass
class Verdict:
    """What came of a soak: the result, what is wrong with it, and every message that Slack was told."""

    result: Result
    problems: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


@dataclass
class Soak:
    """One soak in a folder. `defaults` leaves the automation's settings alone and plays upstream's faults only."""

    folder: Path
    minutes: float
    seed: int
    chosen: Sequence[str] = ACTS
    defaults: bool = False
    say: Callable[[str], None] = print

    def run(self) -> Verdict:
        """The whole soak, with servers of its own."""
        sandbox = Sandbox(self.folder / "sandbox")
        sandbox.up()
        try:
            with running_slack() as slack, pytest.MonkeyPatch.context() as patch:
                home = self._home(sandbox, slack)
                for name, value in home.environment.items():
                    if name.startswith("AWS_"):
                        patch.setenv(name, value)
                return self._soak(home, slack)
        finally:
            sandbox.down()

    def _home(self, sandbox: Sandbox, slack: SlackServer) -> Home:
        home = Home(sandbox)
        alerts: dict[str, Any] = {"outside_production": True, "slack_api_url": slack.url}
        if self.defaults:
            home.settings(alerts=alerts)
        else:
            home.settings(
                alerts={**alerts, "seconds": 5}, automation=QUICK, delivery={"retry_seconds_per_body": 12.0},
                checks={"server_error_minutes": 0.5},
            )  # fmt: skip
            home.instance_settings(
                lambda content: content["run_monitoring"].update(
                    poll_interval_seconds=5, free_slots_after_run_end_seconds=5
                )
            )
        home.environment.update(SLACK_BOT_TOKEN=TOKEN, SNOWPLOW_POSTHOG_START_AUTOMATION="true")
        return home

    def _soak(self, home: Home, slack: SlackServer) -> Verdict:
        settings = settings_of(home)
        connection = connection_of(settings)
        today = dt.datetime.now(dt.UTC)
        arrivals = Arrivals(archive_of(settings, connection).bucket, workspace_of(settings, connection), today.date(),
                            self.seed)  # fmt: skip
        earlier = [today.date() - dt.timedelta(days=back) for back in range(_BACKFILL_DAYS, 0, -1)]
        due = hours_due(today)
        arrivals.begin(today, due=due, days=earlier)
        home.posthog.play()
        story = Story(slack)
        with running_dagster(home) as dagster:
            stage = Stage(
                home, dagster, arrivals, story, self.say, _PATIENCE_WITH_DEFAULTS if self.defaults else _PATIENCE
            )
            self.say(f"{dagster.address} (the UI), {home.posthog.host}/events (what arrived), seed {self.seed}")
            self._play(stage, earlier, due=due)
            return self._judge(stage)

    # -- playing ------------------------------------------------------------------------------------------

    def _play(self, stage: Stage, earlier: list[dt.date], *, due: int) -> None:
        end = acts.now() + self.minutes * 60
        over = threading.Event()
        stage.slow()
        watch = acts.in_background("logs", stage.arrivals.watch)
        landing = acts.in_background("arrivals", lambda: self._land(stage, over))
        telling = acts.in_background("slack", lambda: self._tell(stage))
        backfill = stage.dagster.backfill([f"{day}" for day in earlier])
        upstream = acts.in_background("upstream", lambda: self._upstream(stage, end, due=due))
        if not self.defaults:
            self._acts(stage, end, earlier[0])
        stage.until(lambda: stage.dagster.backfill_status(backfill) in ENDED, "the end of the first backfill")
        upstream.join()
        acts.pause(end - acts.now(), over)
        over.set()
        landing.join()
        self._drain(stage)
        stage.arrivals.over.set()
        watch.join()
        telling.join()

    def _tell(self, stage: Stage) -> None:
        """Show what Slack is told as it is told."""
        told = 0
        while not stage.arrivals.over.wait(1.0):
            for text in stage.story.slack.texts()[told:]:
                self.say("Slack: " + text.splitlines()[0])
                told += 1

    def _acts(self, stage: Stage, end: float, first: dt.date) -> None:
        """Round after round of acts while there is time; the first is played whole. Days before `first` are new."""
        while True:
            for name in self.chosen:
                if name == "flaky":
                    acts.flaky(stage)
                elif name == "kill":
                    acts.kill(stage)
                else:
                    first -= dt.timedelta(days=_OUTAGE_DAYS)
                    acts.outage(stage, [first + dt.timedelta(days=number) for number in range(_OUTAGE_DAYS)])
            if acts.now() > end:
                return

    def _land(self, stage: Stage, over: threading.Event) -> None:
        kinds: dict[str, int] = {}
        while acts.pause(_EVERY_SECONDS, over):
            kind = stage.arrivals.land()
            kinds[kind] = kinds.get(kind, 0) + 1
        self.say(f"landed: {', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))}")

    def _upstream(self, stage: Stage, end: float, *, due: int) -> None:
        if due:
            acts.withheld_hour(stage)
        acts.broken_file(stage)
        while acts.now() + 60 < end:
            acts.broken_file(stage)

    def _drain(self, stage: Stage) -> None:
        """Until everything is acknowledged, no run is under way, and Slack was silent for a while."""
        self.say("no more files; waiting for what is under way")
        stage.until(lambda: not stage.arrivals.waiting() and not stage.runs(), "the last events")
        told = -1
        while told != len(stage.story.slack.messages):
            told = len(stage.story.slack.messages)
            acts.pause(_QUIET_SECONDS if not self.defaults else 70.0, threading.Event())

    # -- judging ------------------------------------------------------------------------------------------

    def _judge(self, stage: Stage) -> Verdict:
        arrivals, story = stage.arrivals, stage.story
        merged = [row["uuid"] for row in stage.home.posthog.merged()]
        there = set(merged)
        latencies = sorted(arrivals.latencies()) or [0.0, 0.0]
        states = {day: DayLog(arrivals.workspace, day).state() for day in {one.day for one in arrivals.landed}}
        dead = sum(state.counts().dead_letters for state in states.values())
        result = Result(
            arrived=len(arrivals.must_arrive),
            delivered=len(arrivals.must_arrive & there),
            lost=len(arrivals.must_arrive - there),
            doubled=len(merged) - len(there),
            dead_letters=dead,
            alerts_sent=len(story.slack.messages),
            alerts_expected=len(story.expected),
            latency_p50_s=round(statistics.median(latencies), 1),
            latency_p95_s=round(statistics.quantiles(latencies, n=20, method="inclusive")[-1], 1),
        )
        problems = story.problems()
        if result.lost or result.doubled:
            problems.append(f"lost {result.lost}, doubled {result.doubled}")
        if there - arrivals.must_arrive:
            problems.append(f"{len(there - arrivals.must_arrive)} events that nobody generated")
        if dead != arrivals.dead_letters:
            problems.append(f"{dead} dead letters, {arrivals.dead_letters} generated")
        problems += [f"never acknowledged: {one.key}" for one in arrivals.waiting()[:5]]
        problems += [f"{day}: {problem}" for day, state in states.items() for problem in state.problems()]
        problems += [f"a rule of PostHog was broken: {name}" for name in stage.home.posthog.violations()]
        for day, state in states.items():
            problems += untrue(stage.dagster, f"{day}", asdict(state.counts()))
        problems += failed_ticks(stage.dagster)
        return Verdict(result, problems, story.slack.texts())


def hours_due(now: dt.datetime) -> int:
    """How many hours of the day of `now` the check `hours_present` asks for, under its default grace."""
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    over = now - begin - dt.timedelta(minutes=ChecksSection().hour_grace_minutes)
    return max(0, int(over.total_seconds() // 3600))


def settings_of(home: Home) -> Settings:
    """The settings that the home's environment means; AWS's variables must stand in our own."""
    names = {name.lower(): value for name, value in home.environment.items()}
    return Settings(Environment.model_validate(names), SettingsFile())


def untrue(dagster: Dagster, day: str, counts: dict[str, Any]) -> list[str]:
    """Where the UI's page of a day says something else than its log."""
    shown = dagster.metadata("posthog_events", day)
    if not shown:
        return [f"the UI has no materialization of {day}"]
    names = ("records", "mapped", "acknowledged", "pending", "dead_letters", "objects_broken")
    wrong = [name for name in names if shown[0].get(name) != counts[name]]
    return [f"the UI says {name} {shown[0].get(name)} of {day}, the log {counts[name]}" for name in wrong]


def failed_ticks(dagster: Dagster) -> list[str]:
    """Ticks of the sensors that ended in an error, or took ten seconds."""
    found = []
    for sensor in ("new_snowplow_files", "slack_on_failure", "slack_watch"):
        for tick in dagster.ticks(sensor):
            took = (tick["endTimestamp"] or tick["timestamp"]) - tick["timestamp"]
            if tick["status"] == "FAILURE" or took > 10:
                found.append(f"a tick of {sensor}: {tick['status']} after {took:.1f} s: {tick['error']}")
    return found


def soak(minutes: float, seed: int, **options: Any) -> Verdict:
    """A soak in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return Soak(Path(folder), minutes, seed, **options).run()
