"""The faults of the soak, one act each: what is played, what must be said in Slack, and until when it lasts.

    withheld hour, broken file     upstream's faults, beside everything else
    flaky, kill, outage            in turn, so that each alert can be foretold and none hides another

An act knows nothing of how the product alerts but the words of a message: it plays, waits for the words, mends as
somebody on call would, and waits for the recovery.
"""

import datetime as dt
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snowplow_posthog_dagster.sandbox import faults
from tests.dagster.server import ENDED, Dagster, Home
from tests.soak.arrivals import Arrivals
from tests.soak.story import Story

SLOW_SECONDS = 0.7
_STUCK_SECONDS = 6.0
_UNFINISHED = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}


@dataclass
class Stage:
    """Everything that an act plays on."""

    home: Home
    dagster: Dagster
    arrivals: Arrivals
    story: Story
    say: Callable[[str], None]
    patience: float
    """Seconds until a message or a run is given up: several runs of the slowest kind, with what lies between them."""

    @property
    def today(self) -> str:
        return f"{self.arrivals.day}"

    def slow(self) -> None:
        """PostHog as it is when nothing else is played: every answer takes a while."""
        self.home.posthog.play(faults.slow_answer(SLOW_SECONDS))

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """Runs that are queued or under way."""
        return [run for run in self.dagster.runs(**tags) if run["status"] in _UNFINISHED]

    def only_live_runs(self) -> bool:
        """Whether nothing but runs of today is under way, and nothing waits on other days."""
        others = [run for run in self.runs() if run["tags"].get("dagster/partition") != self.today]
        return not others and not self.arrivals.waiting(elsewhere=True, live=True)

    def until(self, ready: Callable[[], Any], what: str) -> Any:
        """Wait for something; an act that waits in vain says so and goes on, and the verdict shows what it cost."""
        try:
            return self.dagster.wait_for(ready, what, self.patience, every=0.4)
        except TimeoutError:
            self.say(f"in vain: {what}")
            return None


def withheld_hour(stage: Stage) -> None:
    """An hour of today that is over has no file; later its files come."""
    stage.say("an hour of today has no file")
    failing = stage.story.expect("check *hours_present*", "fails for", stage.today)
    stage.story.wait(failing, stage.patience)
    stage.arrivals.release_withheld()
    stage.story.wait(stage.story.expect("check *hours_present*", "passes again", stage.today), stage.patience)


def broken_file(stage: Stage) -> None:
    """A file that is cut in the middle, and the whole one under the same name once somebody asked for it."""
    made = stage.arrivals.next()
    key = f"{stage.arrivals.folder()}{made.key.rsplit('/', 1)[-1]}"
    stage.say("a file is cut short")
    cut = stage.arrivals.put_bytes(key, made.body[: len(made.body) // 2], live=False)
    # It is never acknowledged: it is mended by another object of its key.
    cut.replaced = True
    stage.story.wait(stage.story.expect("check *broken_objects*", "fails for", stage.today, key), stage.patience)
    stage.arrivals.put(key, made)
    stage.story.wait(stage.story.expect("check *broken_objects*", "passes again", stage.today), stage.patience)


def flaky(stage: Stage) -> None:
    """PostHog answers three requests of one run with 503, and everything after them: the run succeeds."""
    stage.until(stage.only_live_runs, "a moment with live runs only")
    stage.say("PostHog refuses three requests")
    stage.home.posthog.play(
        faults.status(503, faults.When(times=3)), faults.slow_answer(SLOW_SECONDS, faults.When(first=4))
    )
    stage.story.wait(stage.story.expect("check *posthog_errors*", "fails for"), stage.patience)
    stage.slow()
    stage.story.wait(stage.story.expect("check *posthog_errors*", "passes again"), stage.patience)


def kill(stage: Stage) -> None:
    """The worker of a live run is killed while it delivers; Slack does not answer at first; a late file comes."""
    stage.home.posthog.play(faults.slow_answer(_STUCK_SECONDS))
    run = stage.until(lambda: _delivering(stage), "a delivery")
    pid = run and stage.until(lambda: _worker_of(stage, run), "the worker")
    if not pid:
        stage.slow()
        return
    stage.story.slack.answers += [(503, {"ok": False, "error": "service_unavailable"}, {})]
    stage.say(f"SIGKILL to the worker of run {run[:8]}")
    failed = stage.story.expect("*posthog_events* failed for", stage.today, "vanished", run)
    os.kill(pid, signal.SIGKILL)
    stage.slow()
    late = stage.arrivals.next()
    earlier = [one for one in stage.arrivals.landed if one.day != stage.arrivals.day]
    if earlier and not [one for one in earlier if one.acknowledged is None]:
        key = f"{earlier[0].key.rsplit('/', 1)[0]}/{late.key.rsplit('/', 1)[-1]}"
        stage.arrivals.put(key, late, day=earlier[0].day)
    stage.story.wait(failed, stage.patience)
    stage.story.wait(stage.story.expect("*posthog_events* recovered", stage.today), stage.patience)


def _delivering(stage: Stage) -> str:
    for run in stage.runs(dagster__sensor_name="new_snowplow_files", dagster__partition=stage.today):
        if any(step["stepKey"] == "posthog_events" and step["status"] == "IN_PROGRESS" for step in run["stepStats"]):
            return str(run["runId"])
    return ""


def _worker_of(stage: Stage, run_id: str) -> int:
    """The process that works on a run: it says its own id when it starts a step."""
    words = stage.dagster.log.read_text(errors="replace")
    found = re.search(rf"{run_id} - (\d+) - posthog_events - STEP_WORKER_STARTING", words)
    return int(found.group(1)) if found else 0


def outage(stage: Stage, earlier: list[dt.date]) -> None:
    """PostHog refuses everything for longer than the retry budget, while a backfill runs; then it is back.

    `earlier` are days that were never loaded.
    """
    stage.arrivals.fill(earlier)
    days = [f"{day}" for day in earlier]
    stage.until(stage.only_live_runs, "a moment with live runs only")
    stage.say(f"PostHog is down, and a backfill of {days[0]} to {days[-1]} begins")
    stage.home.posthog.play(faults.status(503))
    backfill = stage.dagster.backfill(days)
    live = stage.story.expect("*posthog_events* failed for", stage.today, "CaptureUnavailableError")
    several = stage.story.expect(f"backfill *{backfill}*", f"{len(days)} of {len(days)} runs failed", days[0])
    stage.until(lambda: stage.dagster.backfill_status(backfill) in ENDED, "the end of the backfill")
    stage.story.wait(live, stage.patience)
    stage.until(lambda: not stage.runs(), "a moment without runs")
    stage.slow()
    stage.say("PostHog is back, and the failed days are started again")
    stage.story.wait(several, stage.patience)
    again = stage.dagster.backfill(days)
    stage.story.wait(stage.story.expect(f"backfill *{backfill}* recovered"), stage.patience)
    stage.story.wait(stage.story.expect("*posthog_events* recovered", stage.today), stage.patience)
    stage.until(lambda: stage.dagster.backfill_status(again) in ENDED, "the end of the backfill")


def in_background(name: str, act: Callable[[], None]) -> threading.Thread:
    """Play something beside everything else."""
    thread = threading.Thread(target=act, name=name, daemon=True)
    thread.start()
    return thread


def pause(seconds: float, over: threading.Event) -> bool:
    """Wait; False when it is over meanwhile."""
    return not over.wait(max(0.0, seconds))


def now() -> float:
    """A clock for durations."""
    return time.monotonic()
