"""Pages for people: the events that landed, as in PostHog's activity view, and the sessions they make.

    /events                  newest merged events, with a filter; totals by day and event; violations; lost events
    /events/<number>         one event with all its properties
    /sessions                sessions as PostHog counts them, the ones that break a rule on time marked

Rendered on the server from the store. The templates escape every value, and a content security policy keeps a page from
loading or running anything: what is shown was typed by strangers.
"""

import sqlite3
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from snowplow_posthog_dagster.sandbox import reports
from snowplow_posthog_dagster.sandbox.sessions import sessions
from snowplow_posthog_dagster.sandbox.store import Store
from snowplow_posthog_dagster.sandbox.timestamps import SECOND, to_text

ROWS_PER_PAGE = 100
MOST_SESSIONS = 500
MOST_DAY_ROWS = 300
EPOCH_DAY = date(1970, 1, 1)
HEADERS = (
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)

# CROSS JOIN keeps SQLite from walking all merged rows first: the newest events are found from the end of the table.
NEWEST = """
SELECT events.id, events.timestamp, events.arrived, events.event, events.distinct_id, events.person_mode,
    events.session_id, events.token, merged.copies,
    coalesce(json_extract(properties, '$."$current_url"'), json_extract(properties, '$."$screen_name"')) AS place
FROM events CROSS JOIN merged ON merged.uuid = events.uuid AND merged.token = events.token AND merged.day = events.day
    AND merged.event = events.event AND merged.distinct_id = events.distinct_id AND merged.latest = events.id
    CROSS JOIN properties ON properties.event_id = events.id
WHERE {conditions} ORDER BY events.id DESC LIMIT ?"""


class Filter(NamedTuple):
    """What the form of the events page asks for; "" means anything. `before` is the number of an event."""

    event: str = ""
    distinct_id: str = ""
    day: str = ""
    text: str = ""
    token: str = ""
    before: str = ""
    live: str = ""

    def link(self, **changes: str) -> str:
        """The address of the events page with this filter, some of it changed."""
        chosen = {name: value for name, value in self._replace(**changes)._asdict().items() if value}
        return "/events" + ("?" + urlencode(chosen) if chosen else "")

    def day_number(self) -> int | None:
        """Days since 1970 of `day`, None when it is empty or no day."""
        try:
            return (date.fromisoformat(self.day) - EPOCH_DAY).days
        except ValueError:
            return None

    def conditions(self) -> tuple[str, list[Any]]:
        """SQL and its values."""
        parts: list[tuple[str, Any]] = []
        if self.event:
            parts.append(("events.event = ?", self.event))
        if self.distinct_id:
            parts.append(("events.distinct_id = ?", self.distinct_id))
        if (day := self.day_number()) is not None:
            parts.append(("events.day = ?", day))
        if self.text:
            parts.append(("instr(lower(properties), lower(?)) > 0", self.text))
        if self.token:
            parts.append(("events.token = ?", self.token))
        if self.before.isdecimal():
            parts.append(("events.id < ?", int(self.before)))
        return " AND ".join(["1", *(sql for sql, _ in parts)]), [value for _, value in parts]


def page(store: Store, route: str, query: Mapping[str, list[str]]) -> str | None:
    """The HTML of a route, or None when there is no such page."""
    if route == "/events":
        chosen = Filter(**{name: query[name][0].strip() for name in Filter._fields if name in query})
        with store.reading(merged=True) as connection:
            return _render("events.html", **_events(connection, chosen))
    if route == "/sessions":
        with store.reading() as connection:
            return _render("sessions.html", **_sessions(connection))
    _, _, number = route.rpartition("/")
    if route == f"/events/{number}" and number.isdecimal():
        with store.reading() as connection:
            event = _event(connection, int(number))
        return _render("event.html", **event) if event else None
    return None


def _events(connection: sqlite3.Connection, chosen: Filter) -> dict[str, Any]:
    conditions, values = chosen.conditions()
    rows = connection.execute(NEWEST.format(conditions=conditions), [*values, ROWS_PER_PAGE + 1]).fetchall()
    days = reports.by_day_and_event(connection, chosen.token or None)
    totals = reports.progress(connection)
    return {
        "rows": rows[:ROWS_PER_PAGE],
        "older": rows[ROWS_PER_PAGE - 1]["id"] if len(rows) > ROWS_PER_PAGE else None,
        "chosen": chosen,
        "wrong_day": chosen.day and chosen.day_number() is None,
        "days": days,
        "MOST_DAY_ROWS": MOST_DAY_ROWS,
        "names": sorted({row["event"] for row in days}),
        "tokens": [row[0] for row in connection.execute("SELECT DISTINCT token FROM merged ORDER BY token")],
        "merged": sum(row["events"] for row in days),
        "totals": totals,
        "violations": reports.violations(connection),
        "lost": reports.lost_by_reason(connection),
    }


def _sessions(connection: sqlite3.Connection) -> dict[str, Any]:
    found = sessions(connection)
    counted = [session for session in found if session.broken_rule is None]
    judged = [session for session in counted if session.is_bounce is not None]
    return {
        "sessions": found[:MOST_SESSIONS],
        "total": len(found),
        "counted": len(counted),
        "bounce_rate": sum(session.is_bounce is True for session in judged) / len(judged) if judged else None,
        "mean_seconds": sum(s.end - s.start for s in counted) / len(counted) / SECOND if counted else 0,
    }


def _event(connection: sqlite3.Connection, number: int) -> dict[str, Any] | None:
    row = connection.execute("SELECT * FROM events JOIN properties ON event_id = id WHERE id = ?", (number,)).fetchone()
    if row is None:
        return None
    properties = orjson.loads(row["properties"])
    shown = [(name, _shown(properties[name])) for name in sorted(properties, key=lambda name: (name[:1] != "$", name))]
    found = connection.execute(
        "SELECT kind FROM violations WHERE request = ? AND uuid = ?", (row["request"], row["uuid"])
    )
    return {"row": row, "properties": shown, "violations": sorted({kind for (kind,) in found})}


def _shown(value: Any) -> str:
    """A property as text: strings as they are, everything else as JSON, objects over several lines."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _moment(timestamp: int) -> str:
    """Microseconds as `2021-03-01 20:11:04.123`, UTC."""
    text = to_text(timestamp // 1000 * 1000).removesuffix("Z").replace("T", " ")
    return text[:23]


def _length(microseconds: float) -> str:
    """A duration for people: `42 s`, `3 min 05 s`, `2 h 07 min`."""
    seconds = round(microseconds / SECOND)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


def _words(name: str) -> str:
    return name.replace("_", " ")


@cache
def _environment() -> Environment:
    loader = PackageLoader("snowplow_posthog_dagster.sandbox")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(moment=_moment, length_of=_length, words=_words)
    return environment


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)
