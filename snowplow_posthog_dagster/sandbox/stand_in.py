"""The stand-in for PostHog without its HTTP: requests in, replies out.

A capture request passes the fault that is due, then PostHog's rules (`capture.py`), the capacity limit, the
project's settings (`projects.py`) and lands in the store; only then it is answered. One lock covers that whole way:
parsing is bound to one core anyway, and SQLite calls that compete for the interpreter lock row by row are slower
than taking turns.

The query API answers from the same rows: by default every copy, as PostHog may before it merges.
"""

import threading
import time
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field

from snowplow_posthog_dagster.sandbox import reports
from snowplow_posthog_dagster.sandbox.bodies import RefusedError
from snowplow_posthog_dagster.sandbox.capture import CapturedEvent, Outcome, Request, capture
from snowplow_posthog_dagster.sandbox.faults import Capacity, Fault, FaultPlan, Limit
from snowplow_posthog_dagster.sandbox.hogql import translate
from snowplow_posthog_dagster.sandbox.hogql_terms import HogQLError
from snowplow_posthog_dagster.sandbox.projects import PERSONAL_API_KEY, Project, default_projects, sort_out
from snowplow_posthog_dagster.sandbox.store import RequestRow, Store
from snowplow_posthog_dagster.sandbox.timestamps import SECOND

JSON = "application/json"


class Reply(NamedTuple):
    """What the client sees: an answer, a reset or silence, after `delay_seconds`."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    action: str = "answer"
    delay_seconds: float = 0.0
    bytes_per_second: float | None = None


class QueryOptions(BaseModel):
    """How the query API behaves.

    `lag_seconds`: a row is visible only so long after its arrival. `per_minute`: more queries are answered with 429,
    None for any number. `show_duplicates`: whether copies that PostHog has not merged yet are seen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lag_seconds: float = Field(default=0.0, ge=0)
    per_minute: int | None = None
    show_duplicates: bool = True


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def json_reply(value: Any, status: int = 200) -> Reply:
    """A reply of JSON."""
    return Reply(status, orjson.dumps(value), JSON)


def api_error(status: int, kind: str, code: str, detail: str) -> Reply:
    """An error as PostHog's own API (not capture) words it."""
    return json_reply({"type": kind, "code": code, "detail": detail, "attr": None}, status)


class StandIn:
    """One stand-in: its store, projects, faults, capacity and query options."""

    def __init__(self, store: Store, projects: list[Project] | None = None) -> None:
        self.store = store
        self._first_projects = projects or default_projects()
        self._in_flight = 0
        self._meter = threading.Lock()
        self._work = threading.Lock()
        self._settle()

    def _settle(self) -> None:
        self.projects = list(self._first_projects)
        self.faults = FaultPlan()
        self.capacity = Capacity(Limit())
        self.queries = QueryOptions()
        self.most_in_flight = 0
        self._query_times: list[float] = []

    def reset(self) -> None:
        """Forget what was stored and every setting made since the start."""
        self.store.reset()
        self._settle()

    # Capture.

    def enter(self) -> None:
        """A capture request begins."""
        with self._meter:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)

    def leave(self) -> None:
        """A capture request ends."""
        with self._meter:
            self._in_flight -= 1

    def take(self, request: Request, fault: Fault | None, client: str | None) -> Reply:
        """Judge, store and answer one capture request."""
        with self._work:
            outcome = capture(request)
            reply, events = self._struck(outcome, fault) if fault else self._served(outcome)
            self._record(request, outcome, reply, events, fault, client)
        return reply

    def interrupted(self, path: str, wire_bytes: int, fault: Fault, client: str | None) -> None:
        """Note a request whose connection was reset while its body came in."""
        row = RequestRow(now(), path, "reset", fault.name, 0, 0, 0, wire_bytes, 0, None, False, client)
        self.store.record(row, [])

    def _struck(self, outcome: Outcome, fault: Fault) -> tuple[Reply, list[CapturedEvent]]:
        count = int(len(outcome.events) * fault.store)
        if fault.store and fault.store != 1:
            count = max(count, min(1, len(outcome.events)))
        if fault.action == "answer" and fault.status == 200 and fault.store == 1 and outcome.status != 200:
            # A slow server still refuses what is wrong.
            reply = Reply(outcome.status, outcome.text.encode())
        else:
            reply = Reply(fault.status, fault.body.encode(), fault.content_type, tuple(fault.headers().items()))
        reply = reply._replace(
            action=fault.action, delay_seconds=fault.delay_seconds, bytes_per_second=fault.answer_bytes_per_second
        )
        return reply, outcome.events[:count]

    def _served(self, outcome: Outcome) -> tuple[Reply, list[CapturedEvent]]:
        if outcome.status != 200:
            return Reply(outcome.status, outcome.text.encode()), outcome.events
        wait = self.capacity.admit(outcome.received, time.monotonic())
        if wait is None:
            limit = self.capacity.limit
            after = limit.retry_after_seconds
            headers = (("Retry-After", str(after)),) if after is not None else ()
            return Reply(
                int(limit.over), b"rate limited" if limit.over == "429" else b"unavailable", headers=headers
            ), []
        return Reply(200, outcome.text.encode(), JSON, delay_seconds=wait), outcome.events

    def _record(
        self, request: Request, outcome: Outcome, reply: Reply, events: list[CapturedEvent], fault: Fault | None,
        client: str | None,
    ) -> None:  # fmt: skip
        project = next((project for project in self.projects if project.api_token == outcome.token), None)
        kept, lost = sort_out(events, project, request.now)
        answer = str(reply.status) if reply.action == "answer" else reply.action
        row = RequestRow(
            request.now, request.path, answer, fault.name if fault else None, outcome.received, len(kept), len(lost),
            len(request.body), outcome.raw_bytes, outcome.token, outcome.historical, client,
        )  # fmt: skip
        self.store.record(row, kept, lost)

    # The API with a personal key.

    def authenticated(self, authorization: str | None) -> Reply | None:
        """The refusal of a request without the personal API key, or None when it may pass."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return api_error(
                401, "authentication_error", "not_authenticated", "Authentication credentials were not provided."
            )
        if key.strip() != PERSONAL_API_KEY:
            detail = "Personal API key found in request Authorization header is invalid."
            return api_error(401, "authentication_error", "authentication_failed", detail)
        return None

    def project(self, name: str) -> Project | None:
        """The project with this id; `@current` is the first."""
        if name == "@current":
            return self.projects[0]
        return next((project for project in self.projects if str(project.id) == name), None)

    def describe(self, project: Project) -> Reply:
        """Who the project is, as `GET /api/projects/:id/` tells."""
        return json_reply({"id": project.id, "name": project.name, "api_token": project.api_token, "timezone": "UTC"})

    def query(self, project: Project, body: bytes) -> Reply:
        """Answer one HogQL query on the project's events."""
        if (wait := self._throttled()) is not None:
            detail = f"Request was throttled. Expected available in {wait} seconds."
            reply = api_error(429, "throttled_error", "throttled", detail)
            return reply._replace(headers=(("Retry-After", str(wait)),))
        try:
            text, values = _query_text(body)
            return json_reply(self._rows(project, text, values))
        except RefusedError as refused:
            return api_error(refused.status, "validation_error", "invalid_input", refused.text)
        except HogQLError as error:
            return api_error(400, "validation_error", "illegal_hogql", str(error))

    def _throttled(self) -> int | None:
        """Seconds until a query is allowed again, None when it is allowed now."""
        allowed = self.queries.per_minute
        if allowed is None:
            return None
        with self._meter:
            moment = time.monotonic()
            self._query_times = [other for other in self._query_times if other > moment - 60]
            if len(self._query_times) >= allowed:
                return int(self._query_times[0] + 60 - moment) + 1
            self._query_times.append(moment)
        return None

    def _rows(self, project: Project, text: str, values: dict[str, Any]) -> dict[str, Any]:
        options = self.queries
        table = "FROM events" if options.show_duplicates else reports.MERGED_ROWS
        source = f"{table}{reports.PROPERTIES} WHERE events.token = ? AND events.arrived <= ?"
        visible = now() - int(options.lag_seconds * SECOND)
        query = translate(text, values, source=source, source_values=(project.api_token, visible))
        with self.store.reading(merged=not options.show_duplicates) as connection:
            found = [query.present(tuple(row)) for row in connection.execute(query.sql, query.values)]
        return {
            "results": found[: query.limit],
            "columns": query.columns,
            "types": [[name, kind] for name, kind in zip(query.columns, query.kinds, strict=True)],
            "hogql": text,
            "limit": query.limit,
            "offset": query.offset,
            "hasMore": len(found) > query.limit,
            "is_cached": False,
        }


def _query_text(body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        query = orjson.loads(body)["query"]
        text, kind, values = query["query"], query.get("kind"), query.get("values") or {}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(400, "The body must be {query: {kind: HogQLQuery, query: ...}}") from error
    if kind != "HogQLQuery" or not isinstance(text, str) or not isinstance(values, dict):
        raise RefusedError(400, "Only queries of the kind HogQLQuery are supported")
    return text, values
