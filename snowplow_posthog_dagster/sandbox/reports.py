"""Questions about what the stand-in has stored: totals, days, violations, rates, rows.

Each function takes a reading connection of the store (`Store.reading`) and answers with plain values; those that
look at merged rows need one with the merge caught up.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from snowplow_posthog_dagster.sandbox.sessions import broken_rules
from snowplow_posthog_dagster.sandbox.timestamps import SECOND, to_text

MERGED_ROWS = "FROM merged JOIN events ON events.id = merged.latest"
# A LEFT JOIN that nobody reads costs nothing: SQLite leaves it out.
PROPERTIES = " LEFT JOIN properties ON properties.event_id = events.id"
WINDOWS_SECONDS = (1, 10, 60)


def progress(connection: sqlite3.Connection) -> dict[str, Any]:
    """Sums over the capture requests, cheap enough to be asked for every second."""
    sums = connection.execute(
        "SELECT count(*) AS requests, coalesce(sum(received), 0) AS received, coalesce(sum(stored), 0) AS raw_rows,"
        " coalesce(sum(lost), 0) AS lost_events, coalesce(sum(wire_bytes), 0) AS wire_bytes,"
        " coalesce(sum(raw_bytes), 0) AS raw_bytes,"
        " coalesce(sum(CASE WHEN historical THEN stored ELSE 0 END), 0) AS historical_rows FROM requests"
    ).fetchone()
    answers = dict(connection.execute("SELECT answer, count(*) FROM requests GROUP BY answer").fetchall())
    return {**dict(sums), "answers": answers}


def totals(connection: sqlite3.Connection) -> dict[str, Any]:
    """What `progress` tells, merged rows, lost events by reason, violations, and the peaks by window in seconds."""
    bodies = arrivals(connection)
    return {
        **progress(connection),
        "merged_rows": connection.execute("SELECT count(*) FROM merged").fetchone()[0],
        "lost": lost_by_reason(connection),
        "violations": violations(connection),
        "peaks": {str(window): peak(bodies, window) for window in WINDOWS_SECONDS},
    }


def violations(connection: sqlite3.Connection) -> dict[str, int]:
    """How often each thing happened that a loader must never cause; sessions that break a rule on time included."""
    counts: dict[str, int] = dict(
        connection.execute("SELECT kind, count(*) FROM violations GROUP BY kind ORDER BY kind")
    )
    for rule in broken_rules(connection):
        counts[rule] = counts.get(rule, 0) + 1
    return counts


def lost_by_reason(connection: sqlite3.Connection) -> dict[str, int]:
    """Events that were answered with 200 and dropped, by the reason."""
    return dict(connection.execute("SELECT reason, count(*) FROM lost GROUP BY reason ORDER BY reason"))


def lost_events(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """The events that were answered with 200 and dropped."""
    rows = connection.execute("SELECT reason, token, uuid, event, distinct_id, timestamp FROM lost ORDER BY rowid")
    return [{**dict(row), "timestamp": to_text(row["timestamp"])} for row in rows]


def arrivals(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    """When each body arrived (microseconds) and how many events it carried, whatever the answer was."""
    rows = connection.execute("SELECT arrived, received FROM requests WHERE received > 0 ORDER BY arrived, id")
    return [(row[0], row[1]) for row in rows]


def peak(bodies: Iterable[tuple[int, int]], window_seconds: float) -> int:
    """The most events that arrived within any `window_seconds`, over all connections."""
    window = window_seconds * SECOND
    inside: list[tuple[int, int]] = []
    oldest = total = highest = 0
    for arrived, events in bodies:
        inside.append((arrived, events))
        total += events
        while inside[oldest][0] <= arrived - window:
            total -= inside[oldest][1]
            oldest += 1
        highest = max(highest, total)
    return highest


def by_day_and_event(connection: sqlite3.Connection, token: str | None = None) -> list[dict[str, Any]]:
    """Merged rows by UTC day of the timestamp and event name, with the number of distinct ids, newest day first."""
    rows = connection.execute(
        "SELECT date(day * 86400, 'unixepoch') AS day, event, count(*) AS events, count(DISTINCT distinct_id) AS ids"
        " FROM merged WHERE ? IS NULL OR token = ?"
        " GROUP BY merged.day, event ORDER BY merged.day DESC, events DESC, event",
        (token, token),
    )
    return [dict(row) for row in rows]


def requests(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Every capture request in the order of its recording; `arrived` in microseconds."""
    return [dict(row) for row in connection.execute("SELECT * FROM requests ORDER BY id")]


def rows(connection: sqlite3.Connection, *, merged: bool, token: str | None = None) -> Iterator[dict[str, Any]]:
    """Stored events, properties as orjson fragments: every copy in the order of arrival, or the merged ones by uuid."""
    source = f"merged.copies {MERGED_ROWS}" if merged else "1 AS copies FROM events"
    source += PROPERTIES
    order = "merged.uuid, merged.token, merged.day, merged.event, merged.distinct_id" if merged else "events.id"
    query = f"SELECT events.*, properties, {source} WHERE ? IS NULL OR events.token = ? ORDER BY {order}"
    for row in connection.execute(query, (token, token)):
        yield {
            "uuid": row["uuid"],
            "event": row["event"],
            "distinct_id": row["distinct_id"],
            "timestamp": to_text(row["timestamp"]),
            "properties": orjson.Fragment(row["properties"]),
            "token": row["token"],
            "session_id": row["session_id"],
            "person_mode": row["person_mode"],
            "historical": bool(row["historical"]),
            "arrived": to_text(row["arrived"]),
            "copies": row["copies"],
        }
