"""The drill: five faults for whoever is on call for the first time, one after the other.

    fault strikes ──> the message in Slack ──> the runbook's chapter ──> commands that are typed ──> cured?

In a terminal the newcomer types; with `--auto` the drill types the cure itself, by the same way, so that it is tested.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.dagster.server import REPOSITORY
from tests.drill.faults import Fault, unfinished
from tests.drill.ground import Ground

ALERT_SECONDS = 300.0
CURE_SECONDS = 300.0
_HELP = (
    "Type a command (snowplow-posthog, dagster, dg, curl, or export NAME=VALUE for the deployment);"
    " `hint` shows the next one, `check` says what is left, `give up` ends this fault."
)

Ask = Callable[[str], str]


@dataclass
class Played:
    """What came of one fault. `problem` is empty when the alert came and the cure worked."""

    name: str
    chapter: str
    alert: str = ""
    over: str = ""
    problem: str = ""
    seconds: float = 0.0


def chapter_of(name: str) -> str:
    """A chapter of the runbook, as it stands there. Raises LookupError."""
    text = (REPOSITORY / "docs" / "runbook.md").read_text()
    found = re.search(rf'<a id="{re.escape(name)}"></a>\n(.*?)(?=\n<a id=|\n# |\Z)', text, re.DOTALL)
    if not found:
        raise LookupError(f"docs/runbook.md has no chapter {name}")
    return found.group(1).strip()


def quiet(ground: Ground) -> None:
    """Wait until everything that landed is in PostHog and no run is under way."""
    ground.dagster.wait_for(lambda: not unfinished(ground) and not _runs(ground), "a quiet moment", CURE_SECONDS)


def _runs(ground: Ground) -> list[str]:
    return [run["runId"] for run in ground.dagster.runs() if run["status"] in {"QUEUED", "STARTING", "STARTED"}]


def message_with(ground: Ground, words: tuple[str, ...], after: int) -> str:
    """The first message since the `after`-th that holds all these words; empty when there is none yet."""
    texts = ground.slack.texts()[after:]
    return next((text for text in texts if all(word in text for word in words)), "")


def play(ground: Ground, fault: Fault, ask: Ask) -> Played:
    """Play one fault to its end."""
    began, told = time.monotonic(), len(ground.slack.messages)
    played = Played(fault.name, fault.chapter)
    fault.strike(ground)
    ground.say("Something has happened. Waiting for Slack ...")
    played.alert = _wait_for(ground, fault.alert(ground), told, ALERT_SECONDS)
    if not played.alert:
        played.problem = "Slack said nothing"
        return played
    ground.say(f"\nSlack:\n{played.alert}\n\n{chapter_of(fault.chapter)}\n\n{_HELP}")
    if f"runbook.md#{fault.chapter}" not in played.alert:
        played.problem = f"the message does not name the chapter {fault.chapter}"
    if not _cured(ground, fault, ask):
        played.problem = f"not cured: {fault.left(ground) or 'given up'}"
        return played
    played.over = _wait_for(ground, fault.over(ground), told, CURE_SECONDS)
    played.problem = played.problem or ("" if played.over else "Slack did not say that it is over")
    played.seconds = time.monotonic() - began
    ground.say(f"\nSlack:\n{played.over}\n\nCured: {fault.name}.\n")
    return played


def _wait_for(ground: Ground, words: tuple[str, ...], after: int, seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := message_with(ground, words, after):
            return found
        time.sleep(0.5)
    return ""


def _cured(ground: Ground, fault: Fault, ask: Ask) -> bool:
    """Take commands until nothing is left; False when the newcomer gives up."""
    hints = iter(fault.cure(ground))
    while True:
        command = ask("on call> ").strip()
        if command == "give up":
            return False
        if command == "hint":
            ground.say(next(hints, "That was the last one; `check` says what is left."))
            continue
        if command and command != "check":
            ground.type(command)
            fault.after(ground, command)
        if _settled(ground, fault):
            return True
        ground.say(f"Not yet: {fault.left(ground)}")


def _settled(ground: Ground, fault: Fault) -> bool:
    """Whether nothing is left; what a run has begun is waited for."""
    until = time.monotonic() + CURE_SECONDS
    while left := fault.left(ground):
        if not _runs(ground) or left != fault.left(ground) or time.monotonic() > until:
            return False
        time.sleep(1)
    return True
