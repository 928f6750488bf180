"""Faults that the stand-in plays on request: by the number of a request, or with a probability.

A fault says how much of the body is read, which share of its events is stored, how long the answer takes and
what the answer is: a status with a text, a connection reset, or nothing at all. The named constructors cover
what happens between a loader and PostHog (reference: posthog.md 7.2); the fields can be combined freely.

Request numbers are counted from 1 since the faults were last set, capture and query requests apart.
"""

import random
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Surface = Literal["capture", "query"]
OK_BODY = '{"status":"Ok"}'
BAD_GATEWAY_PAGE = (
    "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
)


class Fault(BaseModel):
    """One thing that goes wrong, and for which requests.

    Which requests: those numbered in `requests`, or with `probability` every one from `first` to `last`; at most
    `times` in all. Then `read` is the share of the body that is read before anything else happens (below 1 the
    connection is reset in the middle of the upload), `store` the share of its events that is stored, from the first
    on, and `action` what the client sees after `delay_seconds`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "fault"
    surface: Surface = "capture"
    requests: tuple[int, ...] | None = None
    first: int = Field(default=1, ge=1)
    last: int | None = None
    probability: float = Field(default=1.0, ge=0, le=1)
    times: int | None = None

    read: float = Field(default=1.0, gt=0, le=1)
    read_bytes_per_second: float | None = Field(default=None, gt=0)
    store: float = Field(default=0.0, ge=0, le=1)
    delay_seconds: float = Field(default=0.0, ge=0)
    action: Literal["answer", "reset", "hang"] = "answer"
    status: int = 503
    body: str = "transient error, please retry"
    content_type: str = "text/plain"
    retry_after_seconds: int | None = None
    retry_after_date_seconds: int | None = None
    answer_bytes_per_second: float | None = Field(default=None, gt=0)

    def hits(self, number: int, chance: random.Random) -> bool:
        """Whether the request with this number is struck."""
        if self.requests is not None:
            return number in self.requests
        if number < self.first or (self.last is not None and number > self.last):
            return False
        return self.probability == 1 or chance.random() < self.probability

    def headers(self) -> dict[str, str]:
        """The headers of the answer beside its length and type."""
        if self.retry_after_seconds is not None:
            return {"Retry-After": str(self.retry_after_seconds)}
        if self.retry_after_date_seconds is not None:
            moment = datetime.now(UTC) + timedelta(seconds=self.retry_after_date_seconds)
            return {"Retry-After": format_datetime(moment, usegmt=True)}
        return {}


class When(NamedTuple):
    """Which requests a fault strikes; see `Fault`."""

    requests: tuple[int, ...] | None = None
    first: int = 1
    last: int | None = None
    probability: float = 1.0
    times: int | None = None


ALWAYS = When()


def on(*numbers: int) -> When:
    """The requests with these numbers."""
    return When(requests=numbers)


def sometimes(probability: float, times: int | None = None) -> When:
    """Every request with this probability, at most `times`."""
    return When(probability=probability, times=times)


def status(code: int, when: When = ALWAYS, *, body: str = "", retry_after: int | None = None) -> Fault:
    """Nothing is stored and the answer is `code`: 408, 429, 500, 503, 401, 413, ..."""
    return Fault(
        name=f"status_{code}",
        status=code,
        body=body or f"answer {code}",
        retry_after_seconds=retry_after,
        **when._asdict(),
    )


def retry_after_date(seconds: int, when: When = ALWAYS, *, code: int = 429) -> Fault:
    """`code` with a Retry-After that is an HTTP date, `seconds` ahead."""
    return Fault(name="retry_after_date", status=code, retry_after_date_seconds=seconds, **when._asdict())


def bad_gateway(when: When = ALWAYS) -> Fault:
    """502 with a proxy's HTML page."""
    return Fault(name="bad_gateway", status=502, body=BAD_GATEWAY_PAGE, content_type="text/html", **when._asdict())


def other_answer(when: When = ALWAYS, *, body: str = BAD_GATEWAY_PAGE, content_type: str = "text/html") -> Fault:
    """200 with a body that is not PostHog's, as a captive portal or a misrouted host gives; nothing is stored."""
    return Fault(name="other_answer", status=200, body=body, content_type=content_type, **when._asdict())


def reset_while_reading(when: When = ALWAYS) -> Fault:
    """The connection is reset when half of the body has been read."""
    return Fault(name="reset_while_reading", read=0.5, action="reset", **when._asdict())


def reset_before_store(when: When = ALWAYS) -> Fault:
    """The connection is reset when the body has been read, nothing is stored."""
    return Fault(name="reset_before_store", action="reset", **when._asdict())


def reset_after_store(when: When = ALWAYS) -> Fault:
    """Everything is stored, then the connection is reset without an answer."""
    return Fault(name="reset_after_store", store=1.0, action="reset", **when._asdict())


def unavailable_after_part(when: When = ALWAYS, *, store: float = 0.5) -> Fault:
    """503 although a part of the batch is stored: PostHog produces event by event and returns the first error."""
    return Fault(name="unavailable_after_part", store=store, status=503, **when._asdict())


def timeout_after_store(when: When = ALWAYS, *, seconds: float = 60) -> Fault:
    """Everything is stored, then the connection stays silent for `seconds` and is closed."""
    return Fault(name="timeout_after_store", store=1.0, action="hang", delay_seconds=seconds, **when._asdict())


def slow_answer(seconds: float, when: When = ALWAYS) -> Fault:
    """Everything is stored and acknowledged, `seconds` late."""
    return Fault(
        name="slow_answer", store=1.0, delay_seconds=seconds, status=200, body=OK_BODY,
        content_type="application/json", **when._asdict(),
    )  # fmt: skip


def trickle(bytes_per_second: float, when: When = ALWAYS) -> Fault:
    """Everything is stored and acknowledged, but the answer arrives byte by byte."""
    return Fault(
        name="trickle", store=1.0, status=200, body=OK_BODY, content_type="application/json",
        answer_bytes_per_second=bytes_per_second, **when._asdict(),
    )  # fmt: skip


def slow_read(bytes_per_second: float, when: When = ALWAYS) -> Fault:
    """The body is read slowly, then stored and acknowledged."""
    return Fault(
        name="slow_read", store=1.0, status=200, body=OK_BODY, content_type="application/json",
        read_bytes_per_second=bytes_per_second, **when._asdict(),
    )  # fmt: skip


def query_throttled(when: When = ALWAYS, *, retry_after: int = 1) -> Fault:
    """429 of the query API, in its words."""
    detail = f"Request was throttled. Expected available in {retry_after} seconds."
    return Fault(
        name="query_throttled", surface="query", status=429, retry_after_seconds=retry_after,
        content_type="application/json",
        body=f'{{"type":"throttled_error","code":"throttled","detail":"{detail}","attr":null}}', **when._asdict(),
    )  # fmt: skip


class FaultPlan:
    """The faults in force; counts requests and picks the first fault that strikes one."""

    def __init__(self, faults: tuple[Fault, ...] = (), seed: int = 0) -> None:
        self._faults = faults
        # Reproducible, not secret.
        self._chance = random.Random(seed)  # noqa: S311
        self._lock = threading.Lock()
        self._numbers: dict[Surface, int] = {"capture": 0, "query": 0}
        self._struck: dict[int, int] = {}

    @property
    def struck(self) -> dict[str, int]:
        """How often each fault struck, by name."""
        counts: dict[str, int] = {}
        for position, times in self._struck.items():
            name = self._faults[position].name
            counts[name] = counts.get(name, 0) + times
        return counts

    def next(self, surface: Surface) -> Fault | None:
        """The fault for the next request of this surface, or None."""
        with self._lock:
            self._numbers[surface] += 1
            number = self._numbers[surface]
            for position, fault in enumerate(self._faults):
                spent = fault.times is not None and self._struck.get(position, 0) >= fault.times
                if fault.surface == surface and not spent and fault.hits(number, self._chance):
                    self._struck[position] = self._struck.get(position, 0) + 1
                    return fault
        return None


class Limit(BaseModel):
    """How many events a second the server takes, None for any number, and what it does with more.

    `429` and `503` refuse a body that does not fit, after at most one second's worth of events at once. `slow` takes
    everything, but answers only when its turn has come, so that clients run into their time-out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    events_per_second: float | None = Field(default=None, gt=0)
    over: Literal["429", "503", "slow"] = "429"
    retry_after_seconds: int | None = None


class Capacity:
    """A limit at work: a bucket of one second's events that refills with time."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._free_at = 0.0

    def admit(self, events: int, now: float) -> float | None:
        """Seconds to wait before the answer, or None when the body is refused. `now` is any monotonic clock."""
        rate = self.limit.events_per_second
        if rate is None:
            return 0.0
        with self._lock:
            backlog = max(self._free_at - now, 0.0)
            if self.limit.over != "slow" and backlog > 0 and backlog + events / rate > 1.0:
                return None
            self._free_at = max(self._free_at, now) + events / rate
            return max(self._free_at - now - 1.0, 0.0) if self.limit.over == "slow" else 0.0
