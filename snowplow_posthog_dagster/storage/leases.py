"""Leases: who works just now. The only mutable keys of the workspace, and never state.

A holder writes its lease again every 5 seconds and it lives for 15. Ages are S3's own `LastModified` compared
with that of the reader's just-written lease: one clock, however wrong those of the machines are.

The day lease lets one run at a time work on a day of a target. Nothing breaks without it (the log is a
union, identities are deterministic), but two runs would send the same events twice over the wire.
"""

import datetime as dt
import json
import logging
import random
import threading
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from snowplow_posthog_dagster.errors import GoneObjectError
from snowplow_posthog_dagster.storage.workspace import Workspace

_log = logging.getLogger(__name__)

RENEW_SECONDS = 5.0
LIFE_SECONDS = 15.0
DEAD_SECONDS = 3600.0
LAST_WORD_SECONDS = 1.0
"""An interrupted step, which has five seconds in all, waits so long for its lease to be given back."""
_HOLDING = "holding"
_WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Live:
    """A live lease: who, in which role or with which weight, and its age in seconds."""

    sender: str
    role: str
    age: float


def live_leases(workspace: Workspace, folder: str, own_key: str, *, life: float | None = None) -> list[Live]:
    """The leases under `folder` that are younger than `life` (15 s), measured against `own_key`, just written."""
    life = LIFE_SECONDS if life is None else life
    listed = list(workspace.bucket.listing(folder))
    own = next((item.modified for item in listed if item.key == own_key), None)
    if own is None:
        return []
    found = []
    for item in listed:
        sender, _, role = item.key[len(folder) :].partition("/")
        if own - item.modified < life:
            found.append(Live(urllib.parse.unquote(sender), role, own - item.modified))
    return found


def remove_dead_leases(workspace: Workspace, folder: str, own_key: str) -> None:
    """Delete what killed holders have left under `folder` more than an hour before `own_key` was written."""
    listed = list(workspace.bucket.listing(folder))
    own = next((item.modified for item in listed if item.key == own_key), None)
    if own is not None:
        workspace.bucket.delete([item.key for item in listed if own - item.modified > DEAD_SECONDS])


class DayLease:
    """The right to work on one day of one target, as a context manager.

    Entering waits until no other run holds the day, calling `on_wait(who)` about every 5 seconds. With
    `wait=False` (the `--now` flag) it takes the day at once. `sender` names the run: steps of one run share
    the lease. `who` is what a waiting run shows to people.
    """

    def __init__(
        self,
        workspace: Workspace,
        day: dt.date,
        *,
        sender: str,
        who: str,
        wait: bool = True,
        on_wait: Callable[[str], None] = lambda who: None,
        stop: threading.Event | None = None,
    ) -> None:
        self._workspace = workspace
        self._folder = workspace.key("leases", None, f"day={day:%Y-%m-%d}") + "/"
        self._name = urllib.parse.quote(sender, safe="")
        self._sender = sender
        self._who = who
        self._wait = wait
        self._on_wait = on_wait
        self._stop = stop or threading.Event()
        self._released = threading.Event()
        self._renewer: threading.Thread | None = None

    def _key(self, role: str) -> str:
        return f"{self._folder}{self._name}/{role}"

    def _write(self, role: str) -> None:
        self._workspace.bucket.put(self._key(role), json.dumps({"who": self._who}).encode())

    def __enter__(self) -> Self:
        while self._wait and not self._stop.is_set() and (holder := self._contender() or self._rival()):
            self._on_wait(holder)
            self._stop.wait(RENEW_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311
        self._write(_HOLDING)
        self._workspace.bucket.delete([self._key(_WAITING)])
        self._renewer = threading.Thread(target=self._renew, name="day-lease", daemon=True)
        self._renewer.start()
        return self

    def _contender(self) -> str | None:
        """Who must be waited for: a holder, or a waiting run whose name sorts before ours."""
        self._write(_WAITING)
        others = [
            lease
            for lease in live_leases(self._workspace, self._folder, self._key(_WAITING))
            if lease.sender != self._sender
        ]
        ahead = [lease for lease in others if lease.role == _HOLDING] or [
            lease for lease in others if lease.role == _WAITING and lease.sender < self._sender
        ]
        return self._description(min(ahead, key=lambda lease: lease.sender)) if ahead else None

    def _rival(self) -> str | None:
        """Claim the day; give it back when another run claimed it at the same moment.

        Each writes first and looks afterwards, so at least one of two sees the other; whoever sees one
        withdraws and comes back after a random wait.
        """
        self._write(_HOLDING)
        live = live_leases(self._workspace, self._folder, self._key(_HOLDING))
        rival = next((lease for lease in live if lease.sender != self._sender and lease.role == _HOLDING), None)
        if rival is None:
            return None
        self._workspace.bucket.delete([self._key(_HOLDING)])
        return self._description(rival)

    def _description(self, lease: Live) -> str:
        key = f"{self._folder}{urllib.parse.quote(lease.sender, safe='')}/{lease.role}"
        try:
            return str(json.loads(self._workspace.bucket.get(key))["who"])
        except (GoneObjectError, ValueError, TypeError, KeyError):
            return lease.sender

    def _renew(self) -> None:
        while not self._released.wait(RENEW_SECONDS):
            try:
                self._write(_HOLDING)
            except Exception as error:  # noqa: BLE001 - the thread goes on: the next renewal may succeed
                # A lease that cannot be renewed expires; only double sending, not correctness, depends on it.
                _log.warning("the lease of the day could not be renewed: %s: %s", type(error).__name__, error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        giving = threading.Thread(target=self._give_back, name="day-lease-end", daemon=True)
        giving.start()
        giving.join(None if error is None else LAST_WORD_SECONDS)

    def _give_back(self) -> None:
        """Delete the lease. An S3 that is away must not end a run that is done, nor hide why another one ended."""
        if self._renewer:
            self._renewer.join()
        try:
            self._workspace.bucket.delete([self._key(_HOLDING), self._key(_WAITING)])
        except Exception as error:  # noqa: BLE001 - it expires by itself within 15 s
            _log.warning("the lease of the day was left to expire: %s: %s", type(error).__name__, error)


def holder_of(workspace: Workspace, day: dt.date) -> str | None:
    """Who holds a day just now, for the sensor and for `status`; None when nobody does.

    A reader has no lease of its own to compare ages with, so it writes a marker under a name that nobody else has: one
    that another reader deletes would make a held day look free.
    """
    folder = workspace.key("leases", None, f"day={day:%Y-%m-%d}") + "/"
    if not any(item.key.endswith("/" + _HOLDING) for item in workspace.bucket.listing(folder)):
        return None
    marker = f"{folder}-reader-{uuid.uuid4().hex}/looking"
    workspace.bucket.put(marker, b"{}")
    live = live_leases(workspace, folder, marker)
    workspace.bucket.delete([marker])
    return next((lease.sender for lease in live if lease.role == _HOLDING), None)
