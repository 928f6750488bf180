"""How many connections and events per second are allowed just now.

Two independent questions. `AdaptiveConnections` finds how much the server takes: it grows slowly while all
is well and halves at the first 429, 503 or timeout. `Pace` keeps to the cap that the operator allows: bodies
start so far apart that the rate holds over any stretch of time, without bursts.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

_GROW_AFTER = 4
_SHRINK_PAUSE_SECONDS = 1.0


class Pacer(Protocol):
    """Says when the next body may start."""

    def wait(self, events: int, stop: threading.Event) -> bool:
        """Block until a body of so many events may start; False when `stop` was set first."""
        ...


class Pace:
    """A fixed rate in events per second; None means as fast as the server takes.

    The next body starts `events / rate` after the last one started, so nothing is saved up for a burst.
    Retries and splits are charged like first tries, because PostHog's side pays for them too.
    """

    def __init__(self, events_per_second: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = events_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self, events: int, stop: threading.Event) -> bool:
        """Block until a body of so many events may start."""
        if self._rate is None:
            return not stop.is_set()
        with self._lock:
            start = max(self._next, self._clock())
            self._next = start + events / self._rate
        return not stop.wait(max(0.0, start - self._clock()))


class AdaptiveConnections:
    """The number of bodies in flight: +1 after a few successes in a row, half when the server is overloaded."""

    def __init__(self, most: int, *, start: int = 2, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._changed = threading.Condition()
        self._allowed = min(start, most)
        self._in_flight = 0
        self._successes = 0
        self._shrunk_at = float("-inf")

    @property
    def allowed(self) -> int:
        """How many bodies may be in flight just now."""
        return self._allowed

    def enter(self, stop: threading.Event) -> bool:
        """Wait for a place; False when `stop` was set first."""
        with self._changed:
            while self._in_flight >= self._allowed:
                if stop.is_set():
                    return False
                self._changed.wait(0.1)
            if stop.is_set():
                return False
            self._in_flight += 1
            return True

    def leave(self) -> None:
        """Give the place back."""
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def succeeded(self) -> None:
        """A body was taken: grow by one after as many successes as there are places, at least four."""
        with self._changed:
            self._successes += 1
            if self._successes >= max(_GROW_AFTER, self._allowed) and self._allowed < self._most:
                self._allowed += 1
                self._successes = 0
                self._changed.notify_all()

    def overloaded(self) -> None:
        """The server asked for less: halve, once a second at most, so that one incident is not counted k times."""
        with self._changed:
            now = self._clock()
            if now - self._shrunk_at >= _SHRINK_PAUSE_SECONDS:
                self._allowed = max(1, self._allowed // 2)
                self._shrunk_at = now
            self._successes = 0
