"""What an alert says: the cause in the user's words, what to do next, within Slack's limits. Pure."""

import re
from dataclasses import dataclass

LONGEST_TEXT = 3_000
"""Slack cuts a section at 3,000 characters."""
RUNBOOK = "docs/runbook.md"

_STACK_TRACE = re.compile(r"\s*Stack Trace:\n(?:\s+File .*\n(?:\s{4,}.*\n?)*)*")

_KILLED = (
    "the run was killed, probably out of memory",
    "give the run more memory or lower transform.processes, then start it again: it goes on where it stopped",
)
# Which words of Dagster, Kubernetes and the kernel mean that a run ended without an error of its own.
# The first that is found counts: Kubernetes still tells of a late node or image when the run died of something else.
_ENDINGS = (
    (
        re.compile(
            r"\bOOM|out of memory|low on resource: memory|exit.?code:? ?(-9|137)\b|signal 9\b|SIGKILL", re.IGNORECASE
        ),
        *_KILLED,
    ),
    (
        re.compile(r"ErrImagePull|ImagePullBackOff|InvalidImageName|pull(ing)? image", re.IGNORECASE),
        "the image could not be pulled",
        "look at the image's name and the pull secret: `kubectl describe pod`; then start the run again",
    ),
    (
        re.compile(
            r"unschedulable|FailedScheduling|Insufficient (cpu|memory)|nodes are available|untolerated taint"
            r"|taking longer than .* to start|start_timeout",
            re.IGNORECASE,
        ),
        "the pod could not be scheduled",
        "no node has room for it, or its selector fits none: `kubectl describe pod`; then start the run again",
    ),
    (re.compile(r"no active pods", re.IGNORECASE), *_KILLED),
    (
        re.compile(
            r"unexpectedly exited|has been marked as? failed|marking (the )?run .*as failed|exited unexpectedly"
            r"|heartbeat|crashed|evicted|low on resource",
            re.IGNORECASE,
        ),
        "the run's process vanished: killed, out of memory, or its machine went away",
        "look at the machine's memory at that time, then start the run again: it goes on where it stopped",
    ),
)

_NEXT_STEPS = {
    "AuthenticationError": ("set POSTHOG_PROJECT_API_KEY to the project's key and start the day again", "wrong-key"),
    "TargetError": (
        "compare POSTHOG_HOST and key with the target, or run `snowplow-posthog target accept-key`",
        "wrong-project",
    ),
    "SettingsError": ("set what the message names and start the day again", "settings"),
    "WorkspaceError": ("use the release that wrote the workspace, or another workspace prefix", "workspace"),
    "AccountingError": (
        "load no further day; run `snowplow-posthog status`; escalate",
        "records-accounted-for",
    ),
    "PoisonedError": ("look at the delivery dead letters before anything else is sent", "poisoned"),
    "PausedError": ("`snowplow-posthog resume` when the pause is over", "paused"),
    "StorageUnavailableError": ("look at S3's status; the day goes on where it stopped when it is started again", "s3"),
    "CaptureUnavailableError": (
        "see PostHog's status page; a new run sends only what is open",
        "posthog-down",
    ),
    "InterruptedRunError": ("start the day again; what was acknowledged is not sent twice", "interrupted"),
    "DagsterAssetCheckFailedError": ("look at the failed check on the asset's page", "records-accounted-for"),
}
_OTHERWISE = ("read the run's log; the day can always be started again", "unknown-error")


@dataclass(frozen=True)
class Cause:
    """Why a run failed: the name of the error, its words, what to do, and where the runbook speaks of it."""

    name: str
    words: str
    next_step: str
    chapter: str


def cause_of(name: str, words: str) -> Cause:
    """The cause that an exception names."""
    short = name.rsplit(".", 1)[-1]
    if short == "ChildProcessCrashException":  # It has no words: the kernel killed the process of the step.
        return Cause("killed", *_KILLED, "killed-run")
    next_step, chapter = _NEXT_STEPS.get(short, _OTHERWISE)
    words = re.sub(rf"^(\w+\.)*{re.escape(short)}:\s*", "", words.strip())
    return Cause(short, words or short, next_step, chapter)


def ending_of(message: str) -> Cause:
    """The cause of a run that ended without a failed step, from Dagster's words about it without their traces."""
    message = _STACK_TRACE.sub("", message).strip()
    for pattern, words, next_step in _ENDINGS:
        if pattern.search(message):
            return Cause("killed", f"{words} ({message})", next_step, "killed-run")
    return Cause("no failed step", message or "Dagster gives no reason", *_OTHERWISE)


def escaped(text: str) -> str:
    """Text that Slack shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shortened(text: str, limit: int = LONGEST_TEXT) -> str:
    """Head and tail of a text that is too long: the head names it, the tail often holds the reason."""
    if len(text) <= limit:
        return text
    mark = "\n ... shortened ... \n"
    head = (limit - len(mark)) * 2 // 3
    return text[:head] + mark + text[-(limit - len(mark) - head) :]


def message(headline: str, cause: str, next_step: str, *, chapter: str, link: str) -> str:
    """The layout of every alert, at most LONGEST_TEXT characters; only the cause is shortened."""
    end = f"\n*Next:* {escaped(next_step)}\n{link + ' · ' if link else ''}{RUNBOOK}#{chapter}"
    room = LONGEST_TEXT - len(headline) - len(end) - 8
    quoted = "\n".join(
        f"> {line}" for line in shortened(escaped(cause), room - 2 * (cause.count("\n") + 4)).splitlines()
    )
    return f"{headline}\n{quoted}{end}"


def days(partitions: list[str], most: int = 5) -> str:
    """Partitions in words: all of few, the first of many."""
    named = ", ".join(sorted(partitions)[:most])
    return named if len(partitions) <= most else f"{named} and {len(partitions) - most} more"
