"""How many connections and events per second are allowed just now.

Three independent questions, each with a class of its own:

    Pace                 the cap that the operator allows; loading/pacing_leases.py shares it among senders
    AdaptivePace         the rate that the server takes, halved when it asks for less and found again
    AdaptiveConnections  the bodies in flight, grown slowly and halved likewise

All pacing is by spacing: the next body starts `events / rate` after the last one, so nothing is saved up for a
burst, and the rate holds over any stretch of time. Retries and splits are charged like first tries, because
PostHog's side pays for them too.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from snowplow_posthog_dagster.posthog.batches import MAX_EVENTS

BODY_SECONDS = 2.0
"""A joined body holds at most so many seconds' worth of the rate: the share may have changed after them."""

_LOOK_SECONDS = 0.1
_FORGIVEN_SECONDS = 0.05

_GROW_AFTER = 4
_SHRINK_PAUSE_SECONDS = 1.0

_MEASURED_SECONDS = 5.0
_RECOVERY_SECONDS = 10.0
_UNLIMITED_AFTER_SECONDS = 40.0
_FIRST_GUESS = 10_000.0
_TRUSTED = 1.5
_LEAST_RATE = 10.0


class Pacer(Protocol):
    """Says when the next body may start, and how large a joined one may be."""

    @property
    def body_events(self) -> int:
        """The most events that bodies should be joined to just now."""
        ...

    def wait(self, events: int, stop: threading.Event) -> bool:
        """Block until a body of so many events may start; False when `stop` was set first."""
        ...


def body_events_of(rate: float | None) -> int:
    """The most events of a joined body at a rate; None is no limit, and at least one event always fits."""
    return MAX_EVENTS if rate is None else max(1, min(MAX_EVENTS, int(BODY_SECONDS * rate)))


class Spacing:
    """Starts bodies so far apart that `rate()` holds, though it may change while one waits.

    `rate()` is in events per second; None is no limit, and 0 means to wait until it is asked again. A thread
    that woke up to 50 ms late makes that up with the next body, so that a small delay does not cost the rate.
    """

    def __init__(self, rate: Callable[[], float | None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._turn = threading.Lock()
        self._started = float("-inf")
        self._charged = 0

    def wait(self, events: int, stop: threading.Event) -> bool:
        """Block until a body of so many events may start; False when `stop` was set first."""
        while not self._turn.acquire(timeout=_LOOK_SECONDS):
            if stop.is_set():
                return False
        try:
            while not stop.is_set():
                now, rate = self._clock(), self._rate()
                due = self._due(rate)
                if due <= now:
                    self._started = due if now - due < _FORGIVEN_SECONDS else now
                    self._charged = events
                    return True
                stop.wait(min(due - now, _LOOK_SECONDS))
            return False
        finally:
            self._turn.release()

    def _due(self, rate: float | None) -> float:
        if rate is None or not self._charged:
            return float("-inf") if rate is None or rate > 0 else float("inf")
        return self._started + self._charged / rate if rate > 0 else float("inf")


class Pace:
    """A fixed rate in events per second for one sender; None means as fast as the server takes."""

    def __init__(self, events_per_second: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._events_per_second = events_per_second
        self._spacing = Spacing(lambda: events_per_second, clock=clock)

    @property
    def body_events(self) -> int:
        """Two seconds' worth of the rate."""
        return body_events_of(self._events_per_second)

    def wait(self, events: int, stop: threading.Event) -> bool:
        """Block until a body of so many events may start."""
        return self._spacing.wait(events, stop)


class AdaptivePace:
    """The rate that the server takes. None, as fast as the connections go, until it first asks for less.

    Then the rate is half of what it was, comes back to the old one within ten seconds and goes on beyond it,
    first carefully and then fast (the curve of TCP's CUBIC): close to a steady limit most of the time, a tenth
    of it within five seconds, ten times of it within half a minute. Forty seconds without an objection end it.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spacing = Spacing(self.rate, clock=clock)
        self._ceiling: float | None = None
        self._reduced_at = float("-inf")
        self._taken: deque[tuple[float, int]] = deque()

    def wait(self, events: int, stop: threading.Event) -> bool:
        """Block until a body of so many events may start."""
        return self._spacing.wait(events, stop)

    def rate(self) -> float | None:
        """Events per second that are tried just now; None when there is no limit."""
        if self._ceiling is None:
            return None
        passed = (self._clock() - self._reduced_at) / _RECOVERY_SECONDS
        if passed * _RECOVERY_SECONDS > _UNLIMITED_AFTER_SECONDS:
            return None
        factor = 1 - 0.5 * (1 - passed) ** 3 if passed < 1 else 1 + (passed - 1) ** 3
        return max(_LEAST_RATE, self._ceiling * factor)

    def taken(self, events: int) -> None:
        """So many events were acknowledged."""
        with self._lock:
            self._taken.append((self._clock(), events))
            self._forget()

    def overloaded(self) -> None:
        """The server asked for less: halve, once a second at most, because one incident strikes many bodies."""
        with self._lock:
            now = self._clock()
            if now - self._reduced_at < _SHRINK_PAUSE_SECONDS:
                return
            measured, tried = self._measured(now), self.rate()
            # A rate far above what was taken lately is a guess of ours, which need not be halved step by step.
            known = [rate for rate in (tried, _TRUSTED * measured if tried else measured) if rate]
            self._ceiling = min(known, default=_FIRST_GUESS)
            self._reduced_at = now

    def _measured(self, now: float) -> float:
        """Events per second that were acknowledged lately; 0 when none were."""
        self._forget()
        if not self._taken:
            return 0.0
        return sum(events for _, events in self._taken) / max(1.0, now - self._taken[0][0])

    def _forget(self) -> None:
        while self._taken and self._taken[0][0] < self._clock() - _MEASURED_SECONDS:
            self._taken.popleft()


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
