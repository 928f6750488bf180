"""The five faults of the drill: what strikes, what Slack will say, which chapter it names, and what cures it.

A fault is cured when the log and Slack say so, whoever did it and how: `left` names what is still wrong.
"""

import datetime as dt
import gzip
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, workspace_of
from snowplow_posthog_dagster.sandbox import faults
from snowplow_posthog_dagster.sandbox.projects import Project, default_projects
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.target import current_pause
from tests.drill.ground import Ground

NEW_KEY = "phc_sandbox_rotated"
_EMPTY_HOUR = 5


@dataclass(frozen=True)
class Fault:
    """One fault. `alert` are words of its message, `over` of the message when it is over; `cure` is what to type."""

    name: str
    chapter: str
    strike: Callable[[Ground], None]
    alert: Callable[[Ground], tuple[str, ...]]
    cure: Callable[[Ground], list[str]]
    left: Callable[[Ground], str]
    over: Callable[[Ground], tuple[str, ...]]
    after: Callable[[Ground, str], None] = lambda ground, command: None
    """Called after each command that was typed: what the rest of the world does meanwhile."""


def state_of(ground: Ground, day: dt.date) -> DayState:
    """What the day log says now."""
    return DayLog(workspace_of(ground.settings, connection_of(ground.settings)), day).state()


def unfinished(ground: Ground) -> str:
    """What of today is not in PostHog yet."""
    listing = archive_of(ground.settings, connection_of(ground.settings)).list_day(ground.today)
    state = state_of(ground, ground.today)
    waiting = [found for found in listing if found.object_id not in state.objects]
    parts = [f"{len(waiting)} files" if waiting else "", f"{state.counts().pending:,} unsent events"]
    return " and ".join(filter(None, parts)) if waiting or state.counts().pending else ""


def _recovered(ground: Ground) -> tuple[str, ...]:
    return "*posthog_events* recovered", f"{ground.today}"


# -- a broken object --------------------------------------------------------------------------------------


def _cut_a_file(ground: Ground) -> None:
    made = ground.arrivals.next()
    ground.broken_key = f"{ground.arrivals.folder()}{made.key.rsplit('/', 1)[-1]}"
    ground.arrivals.put_bytes(ground.broken_key, made.body[: len(made.body) // 2])
    ground.land()


def _not_given_up(ground: Ground) -> str:
    objects = state_of(ground, ground.today).objects.values()
    broken = [known for known in objects if known.key == ground.broken_key and known.status == "broken"]
    return f"{ground.broken_key} is still broken, and the day open" if broken else ""


def _next_file(ground: Ground, _: str) -> None:
    """The next file of the hour comes, so that a run looks at the day again."""
    if not _not_given_up(ground):
        ground.land()


BROKEN = Fault(
    name="an archive object that cannot be read",
    chapter="broken-objects",
    strike=_cut_a_file,
    alert=lambda ground: ("check *broken_objects*", "fails for", f"{ground.today}"),
    cure=lambda ground: [
        f"snowplow-posthog status --from {ground.today}",
        f'snowplow-posthog skip {ground.today} {ground.broken_key} --reason "lost upstream, drill"',
    ],
    left=_not_given_up,
    over=lambda ground: ("check *broken_objects*", "passes again", f"{ground.today}"),
    after=_next_file,
)

# -- the key was rotated ----------------------------------------------------------------------------------


def _rotate_the_key(ground: Ground) -> None:
    first, *others = default_projects()
    ground.posthog.set_projects([Project(**{**first.model_dump(), "api_token": NEW_KEY}), *others])
    ground.posthog.play(faults.status(401, body="API key invalid"))
    ground.say(f"(The owner of the PostHog project told the team: the project's new key is {NEW_KEY}.)")
    ground.land()


def _new_key_works(ground: Ground, _: str) -> None:
    """PostHog refuses the old key only."""
    if ground.home.environment["POSTHOG_PROJECT_API_KEY"] == NEW_KEY:
        ground.posthog.play()


def _key_left(ground: Ground) -> str:
    if ground.home.environment["POSTHOG_PROJECT_API_KEY"] != NEW_KEY:
        return "the deployment still has the old key: `export POSTHOG_PROJECT_API_KEY=...`"
    return unfinished(ground)


WRONG_KEY = Fault(
    name="a project key that PostHog refuses",
    chapter="wrong-key",
    strike=_rotate_the_key,
    alert=lambda ground: ("*posthog_events* failed for", "AuthenticationError", f"{ground.today}"),
    cure=lambda ground: [
        "snowplow-posthog doctor",
        f"export POSTHOG_PROJECT_API_KEY={NEW_KEY}",
        "snowplow-posthog target accept-key",
        f"snowplow-posthog load {ground.today}",
    ],
    left=_key_left,
    over=_recovered,
    after=_new_key_works,
)

# -- PostHog is down --------------------------------------------------------------------------------------


def _posthog_down(ground: Ground) -> None:
    ground.posthog.play(faults.status(503))
    ground.land()


def _back_when_paused(ground: Ground, _: str) -> None:
    workspace = workspace_of(ground.settings, connection_of(ground.settings))
    if current_pause(workspace):
        ground.posthog.play()
        ground.say("(An hour later: https://status.posthog.com says that the incident is over.)")


def _pause_left(ground: Ground) -> str:
    pause = current_pause(workspace_of(ground.settings, connection_of(ground.settings)))
    return f"the target is still paused by {pause.by}: {pause.reason}" if pause else unfinished(ground)


DOWN = Fault(
    name="PostHog that does not answer",
    chapter="posthog-down",
    strike=_posthog_down,
    alert=lambda ground: ("*posthog_events* failed for", "CaptureUnavailableError", f"{ground.today}"),
    cure=lambda ground: [
        "curl -i $POSTHOG_HOST/_readiness",
        'snowplow-posthog pause --reason "PostHog is down, drill"',
        "snowplow-posthog resume",
    ],
    left=_pause_left,
    over=_recovered,
    after=_back_when_paused,
)

# -- an hour without records ------------------------------------------------------------------------------


def _backfill_an_empty_hour(ground: Ground) -> None:
    """Yesterday, with an hour whose only file holds no line."""
    ground.arrivals.fill([ground.yesterday])
    folder = f"output/{ground.yesterday:%Y/%m/%d}/{_EMPTY_HOUR:02d}/"
    for one in list(ground.arrivals.landed):
        if one.key.startswith(folder):
            ground.arrivals.put_bytes(one.key, gzip.compress(b"\n"), day=ground.yesterday)
    ground.dagster.backfill([f"{ground.yesterday}"])


def _not_accepted(ground: Ground) -> str:
    found = state_of(ground, ground.yesterday).acknowledged_check("records_present", f"{ground.today}")
    return "" if found else "nobody has said yet that the hour is known to be empty"


def _next_run(ground: Ground, _: str) -> None:
    """Somebody materializes the day again."""
    if not _not_accepted(ground):
        ground.dagster.materialize(f"{ground.yesterday}")


EMPTY = Fault(
    name="an hour with no records",
    chapter="records-present",
    strike=_backfill_an_empty_hour,
    alert=lambda ground: ("check *records_present*", "fails for", f"{ground.yesterday}"),
    cure=lambda ground: [
        f"snowplow-posthog preview s3://snowplow-archive/output/{ground.yesterday:%Y/%m/%d}/{_EMPTY_HOUR:02d}/",
        (
            f"snowplow-posthog check acknowledge {ground.yesterday} --check records_present"
            f' --reason "the collector was down, ticket 42" --until {ground.today + dt.timedelta(days=7)}'
        ),
    ],
    left=_not_accepted,
    over=lambda ground: ("check *records_present*", "fails on", f"{ground.yesterday}"),
    after=_next_run,
)

# -- a killed worker --------------------------------------------------------------------------------------


def _kill_a_worker(ground: Ground) -> None:
    ground.posthog.play(faults.slow_answer(8.0))
    ground.land()
    run = ground.dagster.wait_for(lambda: _delivering(ground), "a delivery", 240)
    pid = ground.dagster.wait_for(lambda: _worker_of(ground, run), "the worker", 60)
    os.kill(pid, signal.SIGKILL)
    ground.posthog.play()


def _delivering(ground: Ground) -> str:
    for run in ground.dagster.runs(dagster__partition=f"{ground.today}"):
        steps = [step for step in run["stepStats"] if step["stepKey"] == "posthog_events"]
        if run["status"] == "STARTED" and any(step["status"] == "IN_PROGRESS" for step in steps):
            return str(run["runId"])
    return ""


def _worker_of(ground: Ground, run_id: str) -> int:
    words = ground.dagster.log.read_text(errors="replace")
    found = re.search(rf"{run_id} - (\d+) - posthog_events - STEP_WORKER_STARTING", words)
    return int(found.group(1)) if found else 0


KILLED = Fault(
    name="a worker that was killed",
    chapter="killed-run",
    strike=_kill_a_worker,
    alert=lambda ground: ("*posthog_events* failed for", "vanished", f"{ground.today}"),
    cure=lambda ground: [f"snowplow-posthog load {ground.today}"],
    left=unfinished,
    over=_recovered,
)

FAULTS = {"broken": BROKEN, "key": WRONG_KEY, "down": DOWN, "empty": EMPTY, "killed": KILLED}
