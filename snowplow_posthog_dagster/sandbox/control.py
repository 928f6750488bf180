"""The stand-in's control and counts under /_sandbox/, for tests, the demo and people with curl.

    GET  progress | totals | days | violations | lost | requests | sessions | persons | faults    JSON
    GET  merged | raw                                          stored events as JSON lines
    PUT  faults {"faults": [...], "seed": 0} | limit {...} | queries {...} | projects [...]
    PUT  reset                                                 forget all requests, events, faults and settings

`?token=` narrows days, sessions, merged and raw to one project. Changes are PUT, which a browser sends to another site
only after asking it; so no page that a developer has open can wipe the sandbox.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from snowplow_posthog_dagster.sandbox import reports
from snowplow_posthog_dagster.sandbox.faults import Capacity, Fault, FaultPlan, Limit
from snowplow_posthog_dagster.sandbox.persons import persons
from snowplow_posthog_dagster.sandbox.projects import Project
from snowplow_posthog_dagster.sandbox.sessions import sessions
from snowplow_posthog_dagster.sandbox.stand_in import QueryOptions, Reply, StandIn, json_reply

LINES_PER_WRITE = 500


class FaultScript(BaseModel):
    """The faults in force from now on; request numbers start again at 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    faults: tuple[Fault, ...] = ()
    seed: int = 0


def control(
    stand_in: StandIn, method: str, name: str, query: Mapping[str, str], body: bytes
) -> Reply | Iterator[bytes]:
    """The reply to one control request, or the lines of an export."""
    if method == "GET" and name in {"merged", "raw"}:
        return _lines(stand_in, name == "merged", query.get("token"))
    if method == "GET" and name in _REPORTS:
        return json_reply(_REPORTS[name](stand_in, query.get("token")))
    if method == "PUT" and name in _SETTINGS:
        try:
            _SETTINGS[name](stand_in, body)
        except ValidationError as error:
            return json_reply(
                {"errors": error.errors(include_url=False, include_context=False, include_input=False)}, 400
            )
        return json_reply({"status": "ok"})
    return json_reply({"error": f"unknown: {method} {name}"}, 404)


def _lines(stand_in: StandIn, merged: bool, token: str | None) -> Iterator[bytes]:
    with stand_in.store.reading(merged=merged) as connection:
        pending: list[bytes] = []
        for row in reports.rows(connection, merged=merged, token=token):
            pending.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            if len(pending) >= LINES_PER_WRITE:
                yield b"".join(pending)
                pending.clear()
        yield b"".join(pending)


def _progress(stand_in: StandIn, _token: str | None) -> Any:
    with stand_in.store.reading() as connection:
        return reports.progress(connection)


def _totals(stand_in: StandIn, _token: str | None) -> Any:
    with stand_in.store.reading(merged=True) as connection:
        totals = reports.totals(connection)
    return {**totals, "most_in_flight": stand_in.most_in_flight, "faults": stand_in.faults.struck}


def _days(stand_in: StandIn, token: str | None) -> Any:
    with stand_in.store.reading(merged=True) as connection:
        return reports.by_day_and_event(connection, token)


def _violations(stand_in: StandIn, _token: str | None) -> Any:
    with stand_in.store.reading() as connection:
        return reports.violations(connection)


def _lost(stand_in: StandIn, _token: str | None) -> Any:
    with stand_in.store.reading() as connection:
        return reports.lost_events(connection)


def _requests(stand_in: StandIn, _token: str | None) -> Any:
    with stand_in.store.reading() as connection:
        return reports.requests(connection)


def _sessions(stand_in: StandIn, token: str | None) -> Any:
    with stand_in.store.reading() as connection:
        return [session._asdict() for session in sessions(connection, token)]


def _persons(stand_in: StandIn, _token: str | None) -> Any:
    with stand_in.store.reading() as connection:
        return [person._asdict() for person in persons(connection)]


def _faults(stand_in: StandIn, _token: str | None) -> Any:
    return stand_in.faults.struck


def _set_faults(stand_in: StandIn, body: bytes) -> None:
    script = FaultScript.model_validate_json(body)
    stand_in.faults = FaultPlan(script.faults, script.seed)


def _set_limit(stand_in: StandIn, body: bytes) -> None:
    stand_in.capacity = Capacity(Limit.model_validate_json(body))


def _set_queries(stand_in: StandIn, body: bytes) -> None:
    stand_in.queries = QueryOptions.model_validate_json(body)


def _set_projects(stand_in: StandIn, body: bytes) -> None:
    stand_in.projects = TypeAdapter(list[Project]).validate_json(body)


def _reset(stand_in: StandIn, _body: bytes) -> None:
    stand_in.reset()


_REPORTS: dict[str, Callable[[StandIn, str | None], Any]] = {
    "progress": _progress,
    "totals": _totals,
    "days": _days,
    "violations": _violations,
    "lost": _lost,
    "requests": _requests,
    "sessions": _sessions,
    "persons": _persons,
    "faults": _faults,
}
_SETTINGS: dict[str, Callable[[StandIn, bytes], None]] = {
    "faults": _set_faults,
    "limit": _set_limit,
    "queries": _set_queries,
    "projects": _set_projects,
    "reset": _reset,
}
