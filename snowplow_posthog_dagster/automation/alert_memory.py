"""What the alerts remember between ticks, in Dagster's own storage: open alerts and unsent messages.

A run-failure sensor gets every failed run once: its cursor moves on even when Slack is down. So a message is put into
the outbox first and posted second, and `slack_watch` posts what is left, at growing intervals, for a week.
"""

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

import dagster as dg

_MOST_MESSAGES = 500
_KEPT = dt.timedelta(days=7)
_lock = threading.RLock()
Stored = TypeVar("Stored", "Message", "OpenAlert", "FailingBackfill", "HeldDays")

Failures = dict[str, dict[str, float]]
"""Day -> failed asset -> end of its last failed run, in seconds since 1970."""


@dataclass
class Message:
    """A message for a channel; `fallback` is the channel when Slack does not know the first one."""

    channel: str
    text: str
    at: float
    fallback: str = ""
    tries: int = 0
    not_before: float = 0.0


@dataclass
class OpenAlert:
    """Something that was reported and is not over: one partition of an asset, a backfill, or a check."""

    kind: str
    asset: str
    partitions: list[str]
    channels: list[str]
    last_said: float
    last_failed: float
    count: int = 1
    check: str = ""
    failures: Failures | None = None
    """Of a backfill: what has to succeed before it is over."""
    ended: bool = False
    """Whether the end of a backfill was told, after a first message with fewer days; it is the last word."""
    passes: bool = False
    """Of a check of the target: whether its newest evaluation passed, which may be too early for an end."""
    job: str = ""
    """Of a step that makes no asset, such as the night's: the job that has to succeed."""


@dataclass
class FailingBackfill:
    """A backfill with failed runs, told in one message; `done` once it is over and everything about it is told."""

    since: float
    asset: str
    channels: list[str]
    cause: str
    run_id: str
    told: bool = False
    done: bool = False
    failures: Failures = field(default_factory=dict)


@dataclass
class HeldDays:
    """Days of history for which a check fails, told with the next message of that check (check_alerts.py)."""

    last_said: float = 0.0
    days: list[str] = field(default_factory=list)
    words: str = ""


@dataclass
class AlertMemory:
    """All of it, small: it is read and written as one value."""

    outbox: list[Message] = field(default_factory=list)
    open: dict[str, OpenAlert] = field(default_factory=dict)
    backfills: dict[str, FailingBackfill] = field(default_factory=dict)
    checks_seen: dict[str, int] = field(default_factory=dict)
    held: dict[str, HeldDays] = field(default_factory=dict)

    def say(self, channels: list[str], text: str, *, now: float, fallback: str) -> None:
        """Put a message into the outbox, once per channel."""
        self.outbox += [Message(channel, text, now, fallback) for channel in dict.fromkeys(channels)]

    def text(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self))


def _memory_of(text: str | None) -> AlertMemory:
    found: dict[str, Any] = json.loads(text or "{}")
    return AlertMemory(
        outbox=[_of(Message, one) for one in found.get("outbox", [])],
        open={name: _of(OpenAlert, one) for name, one in found.get("open", {}).items()},
        backfills={name: _of(FailingBackfill, one) for name, one in found.get("backfills", {}).items()},
        checks_seen=found.get("checks_seen", {}),
        held={name: _of(HeldDays, one) for name, one in found.get("held", {}).items()},
    )


def _of(kind: type[Stored], stored: dict[str, Any]) -> Stored:
    """What another release may have stored: fields that are new here have defaults, those not known here are left out.

    A roll-back that met an unknown field would otherwise end every tick of both sensors, and nobody would be told.
    """
    known = {one.name for one in fields(kind)}
    return kind(**{name: value for name, value in stored.items() if name in known})


@contextmanager
def remembered(instance: dg.DagsterInstance, target: str, now: float) -> Iterator[AlertMemory]:
    """Read the memory and write it back, also after an error. Both sensors live in one process, hence one lock."""
    name = f"snowplow_posthog/alerts/{target}"
    with _lock:
        storage = instance.daemon_cursor_storage
        memory = _memory_of(storage.get_cursor_values({name}).get(name))
        before = memory.text()
        try:
            yield memory
        finally:
            oldest = now - _KEPT.total_seconds()
            memory.outbox = [one for one in memory.outbox if one.at > oldest][-_MOST_MESSAGES:]
            kept = (item for item in memory.backfills.items() if item[1].since > oldest or not item[1].done)
            memory.backfills = dict(kept)
            if memory.text() != before:
                storage.set_cursor_values({name: memory.text()})
