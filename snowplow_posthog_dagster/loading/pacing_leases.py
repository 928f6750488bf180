"""One cap for all senders of a target, shared through leases in the workspace.

    every 5 s:  PUT leases/<sender>/<weight>, LIST leases/  ->  share = cap x own weight / sum of live weights

There is no coordinator and no GET: weights stand in the keys, and ages are S3's `LastModified` compared with that of
the lease just written, one clock for all. What keeps the sum of shares below the cap while senders come and go:

- A share is valid for 10 s from the renewal that gave it; without a newer one the sender stops. Others take its part
  over when its lease is 15 s old, so it has stopped before they do.
- A sender that joins, or comes back from weight 0 or from a stall, and sees others waits 12 s: by then each of them
  has either seen it or stopped. The first one starts at once.
- Its weight becomes 0 when it has nothing to send for a while (it backs off, it waits for the log, it is done), after
  it has stopped, so that the others use what it does not.
"""

import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from snowplow_posthog_dagster.errors import SnowplowPostHogError, StorageUnavailableError
from snowplow_posthog_dagster.posthog.pacing import Pace, Pacer, Spacing, body_events_of
from snowplow_posthog_dagster.storage.leases import (
    LAST_WORD_SECONDS,
    LIFE_SECONDS,
    RENEW_SECONDS,
    live_leases,
    remove_dead_leases,
)
from snowplow_posthog_dagster.storage.workspace import Workspace

LIVE_WEIGHT = 4
BACKFILL_WEIGHT = 1
"""Beside one backfill a live load gets four fifths of the cap, and a backfill alone all of it."""

_UNKNOWN_SHARE = 0.25


@dataclass(frozen=True)
class LeaseTiming:
    """Seconds; `renew < valid < join < life` is what the argument above needs. Tests shorten them all alike."""

    renew: float = RENEW_SECONDS
    valid: float = 10.0
    join: float = 12.0
    life: float = LIFE_SECONDS
    idle: float = 20.0
    patience: float = 120.0


class LeasedPace:
    """A sender's share of the cap, as a `Pacer` and a context manager.

    Nothing is written before the first use. Leaving deletes the lease. `wait` raises what keeps the lease from
    being renewed: a permission, or what nobody foresaw, at once; an S3 that does not answer after two minutes.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        cap: float,
        sender: str,
        weight: int,
        timing: LeaseTiming | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspace = workspace
        self._cap = cap
        self._sender = sender
        self._weight = weight
        self._timing = timing or LeaseTiming()
        self._clock = clock
        self._spacing = Spacing(self.share, clock=clock)
        self._folder = workspace.folder("leases")
        self._lock = threading.Lock()
        self._wake, self._over = threading.Event(), threading.Event()
        self._renewer: threading.Thread | None = None
        self._waiting = 0
        self._used = self._renewed = clock()
        self._key: str | None = None
        self._announced = 0
        self._share = 0.0
        self._starts, self._ends = float("inf"), float("-inf")
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ends = float("-inf")
        self._over.set()
        self._wake.set()
        leaving = threading.Thread(target=self._leave, name="pacing-lease-end", daemon=True)
        leaving.start()
        leaving.join(None if error is None else LAST_WORD_SECONDS)

    def _leave(self) -> None:
        if self._renewer:
            self._renewer.join(self._timing.renew)
        if self._key:
            # What S3 does not delete just now expires by itself within fifteen seconds.
            with suppress(SnowplowPostHogError):
                self._workspace.bucket.delete([self._key])

    @property
    def body_events(self) -> int:
        """Two seconds' worth of the share; of a quarter of the cap before the share is known."""
        with self._lock:
            return body_events_of(self._share or self._cap * _UNKNOWN_SHARE)

    def share(self) -> float:
        """Events per second that this sender may send just now; 0 while it may not."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            return self._share if self._starts <= self._clock() < self._ends else 0.0

    def wait(self, events: int, stop: threading.Event) -> bool:
        """Block until a body of so many events may start; False when `stop` was set first."""
        with self._lock:
            self._waiting += 1
            if self._renewer is None:
                self._renewed = self._clock()
                self._renewer = threading.Thread(target=self._renew_often, name="pacing-lease", daemon=True)
                self._renewer.start()
            elif not self._announced:
                self._wake.set()
        try:
            return self._spacing.wait(events, stop)
        finally:
            with self._lock:
                self._waiting -= 1
                self._used = self._clock()

    def _renew_often(self) -> None:
        while not self._over.is_set():
            pause = self._renew()
            self._wake.wait(pause)
            self._wake.clear()

    def _renew(self) -> float:
        """Write the lease and list the others; returns seconds until the next time."""
        began = self._clock()
        try:
            weight = self._announce(began)
            if weight:
                self._take(weight, began, self._clock())
        except StorageUnavailableError as error:
            if self._clock() - self._renewed > self._timing.patience:
                self._failure = StorageUnavailableError(
                    f"the pacing lease could not be renewed for {self._timing.patience:.0f} s: {error}"
                )
            return self._timing.renew / 5
        except Exception as error:  # noqa: BLE001 - raised by `share`; a thread that died would let senders wait for ever
            self._failure = error
            return self._timing.renew
        self._renewed = began
        return max(0.0, self._timing.renew - (self._clock() - began))

    def _announce(self, now: float) -> int:
        """Write the lease under the weight that holds now; the share ends before the key says that it is 0."""
        with self._lock:
            in_use = self._waiting > 0 or now - self._used < self._timing.idle
            weight = self._weight if in_use else 0
            if not weight:
                self._share, self._starts, self._ends = 0.0, float("inf"), float("-inf")
            self._announced = weight
        key = f"{self._folder}{urllib.parse.quote(self._sender, safe='')}/{weight}"
        self._workspace.bucket.put(key, b"{}")
        previous, self._key = self._key, key
        if previous is None:
            remove_dead_leases(self._workspace, self._folder, key)
        elif previous != key:
            self._workspace.bucket.delete([previous])
        return weight

    def _take(self, weight: int, began: float, listed: float) -> None:
        """Compute the share from a listing that started at `listed`, after a renewal that began at `began`."""
        weights: dict[str, int] = {}
        for lease in live_leases(self._workspace, self._folder, str(self._key), life=self._timing.life):
            if lease.role.isdigit():
                # A sender that is changing its weight stands there twice for a moment: the larger one counts.
                weights[lease.sender] = max(int(lease.role), weights.get(lease.sender, 0))
        if weights.pop(self._sender, None) is None:
            raise StorageUnavailableError(f"the lease {self._key} was written and is not listed")
        others = sum(weights.values())
        with self._lock:
            if self._over.is_set():
                return
            if self._ends < listed:
                self._starts = listed + self._timing.join if others else listed
            self._share = self._cap * weight / (weight + others)
            self._ends = began + self._timing.valid


@contextmanager
def shared_pace(workspace: Workspace, cap: float | None, *, sender: str, weight: int) -> Iterator[Pacer]:
    """The pace of one sender under the target's cap in events per second; without a cap there is no lease.

    Each process is a sender of its own: the next try of a killed run must not take the dead one's lease for its own.
    """
    if cap is None:
        yield Pace(None)
        return
    with LeasedPace(workspace, cap=cap, sender=f"{sender}-{uuid.uuid4().hex[:8]}", weight=weight) as pace:
        yield pace
