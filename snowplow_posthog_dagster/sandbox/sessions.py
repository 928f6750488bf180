"""Sessions as PostHog sees them: events of one UUIDv7 `$session_id`, by its rules on time.

The time inside the id must not lie after the first event, and the last event must lie less than 24 hours after
it; PostHog counts no session that breaks one of them and says nothing (reference: posthog.md 3.1, 3.3). Start,
end and duration come from the events, not from the id.
"""

import sqlite3
from typing import NamedTuple

from snowplow_posthog_dagster.sandbox.timestamps import DAY, SECOND

# PostHog's default for `bounceRateDurationSeconds`.
BOUNCE_DURATION = 10 * SECOND

# Like PostHog's table of sessions these look at every copy of an event and count distinct uuids; no merge is needed.
SPANS = """
SELECT session_id, min(timestamp) AS start, max(timestamp) AS end FROM events
WHERE session_id IS NOT NULL GROUP BY token, session_id"""
TOTALS = """
SELECT token, session_id, min(timestamp) AS start, max(timestamp) AS end, count(DISTINCT uuid) AS events,
    count(DISTINCT CASE event WHEN '$pageview' THEN uuid END) AS pageviews,
    count(DISTINCT CASE event WHEN '$screen' THEN uuid END) AS screens,
    count(DISTINCT CASE event WHEN '$autocapture' THEN uuid END) AS autocaptures, min(distinct_id) AS distinct_id
FROM events WHERE session_id IS NOT NULL AND (? IS NULL OR token = ?)
GROUP BY token, session_id ORDER BY end DESC, session_id"""
# SQLite takes the bare column `id` from the row of the minimum or maximum.
URLS = """
SELECT token, session_id, json_extract(properties, '$."$current_url"') AS url FROM (
    SELECT token, session_id, id, {extreme}(timestamp) FROM events
    WHERE session_id IS NOT NULL AND event IN ('$pageview', '$screen') GROUP BY token, session_id
) JOIN properties ON event_id = id"""


class Session(NamedTuple):
    """One session; times in microseconds since 1970 UTC.

    `is_bounce` is None without a page view, screen view or autocaptured click. `broken_rule` names the rule on time
    that keeps PostHog from counting the session, None when it counts.
    """

    token: str
    session_id: str
    start: int
    end: int
    events: int
    pageviews: int
    screens: int
    autocaptures: int
    distinct_id: str
    entry_url: str | None
    exit_url: str | None
    is_bounce: bool | None
    broken_rule: str | None


def broken_rule(session_id: str, start: int, end: int) -> str | None:
    """Why PostHog leaves the session out: its id is younger than its first event, or a day older than its last."""
    id_time = int(session_id.replace("-", "")[:12], 16) * 1000
    if id_time > start:
        return "session_id_after_first_event"
    if end >= id_time + DAY:
        return "session_id_day_before_last_event"
    return None


def broken_rules(connection: sqlite3.Connection) -> list[str]:
    """The broken rule of every session that breaks one."""
    rows = connection.execute(SPANS)
    return [rule for row in rows if (rule := broken_rule(row["session_id"], row["start"], row["end"]))]


def sessions(connection: sqlite3.Connection, token: str | None = None) -> list[Session]:
    """All sessions, latest first, the ones that PostHog would not count included."""
    urls = {
        extreme: {
            (row["token"], row["session_id"]): row["url"] for row in connection.execute(URLS.format(extreme=extreme))
        }
        for extreme in ("min", "max")
    }
    found = []
    for row in connection.execute(TOTALS, (token, token)):
        key = (row["token"], row["session_id"])
        seen = row["pageviews"] + row["screens"] + row["autocaptures"]
        bounce = not (seen > 1 or row["end"] - row["start"] >= BOUNCE_DURATION) if seen else None
        rule = broken_rule(row["session_id"], row["start"], row["end"])
        found.append(
            Session(
                **dict(row),
                entry_url=urls["min"].get(key),
                exit_url=urls["max"].get(key),
                is_bounce=bounce,
                broken_rule=rule,
            )
        )
    return found
