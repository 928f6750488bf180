"""When it happened: the timestamp that PostHog gets.

`derived_tstamp` is Snowplow's best guess, the collector's arrival time corrected by the device's own clock. When that
clock was broken the guess is absurd, and PostHog would move a timestamp of the future to the moment of the load,
another one in every replay. So a time before 2000 or more than 23 h after arrival is replaced by the time of arrival;
the event is noted and keeps the original as `derived_tstamp` (GitLab found the same trap in a tracker that sent 1970).
Where the collector's time is missing, the enrichment's is the latest that arrival can have been: it only tells that a
clock was ahead, and the record is then a dead letter, since no time of it can be trusted.

Timestamps are RFC 3339 with `Z` and milliseconds here: in this form texts compare like times.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.rules import Rule

RULES = (
    Rule(
        "timestamp",
        "derived_tstamp, else collector_tstamp",
        "RFC 3339, UTC, milliseconds. collector_tstamp also when derived_tstamp is before 2000 or more than 23 h after "
        "it; then the original stays as the property `derived_tstamp`, counted as `timestamp_replaced`. Without "
        "collector_tstamp, a derived_tstamp more than 23 h after etl_tstamp makes a dead letter.",
    ),
)

EARLIEST = "2000-01-01T00:00:00.000Z"
"""Before Snowplow, and before any clock that was ever set."""
LATEST = "2100-01-01T00:00:00.000Z"
"""A collector that says so is broken; PostHog would replace the timestamp by the time of the load."""
FUTURE_MS = 23 * 3_600_000
"""PostHog clamps what is more than 23 h ahead of its own clock (posthog.md 1.5)."""
DAY_MS = 86_400_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class EventTime(msgspec.Struct, gc=False):
    """The timestamp of an event, as text and in milliseconds since 1970 UTC."""

    text: str
    milliseconds: int
    replaced: bool


def event_time(columns: Columns) -> EventTime | None:
    """The timestamp to send, None when no column holds a usable one."""
    derived = columns.derived_tstamp
    if not (EARLIEST <= derived <= columns.collector_tstamp < LATEST) and not _is_usable(columns):
        return _arrival(columns)
    return EventTime(derived, _milliseconds(derived), replaced=False)


def _is_usable(columns: Columns) -> bool:
    """Whether the derived time, which is not simply before arrival, is a time that may be sent."""
    derived, collector = columns.derived_tstamp, columns.collector_tstamp
    if not EARLIEST <= derived < LATEST:
        return False
    arrival = collector if EARLIEST <= collector < LATEST else columns.etl_tstamp
    return not EARLIEST <= arrival < LATEST or not _ahead(derived, arrival)


def _arrival(columns: Columns) -> EventTime | None:
    collector = columns.collector_tstamp
    if not EARLIEST <= collector < LATEST:
        return None
    return EventTime(collector, _milliseconds(collector), replaced=bool(columns.derived_tstamp))


def _ahead(derived: str, collector: str) -> bool:
    """Whether a time lies more than 23 h after arrival."""
    return _milliseconds(derived) > _milliseconds(collector) + FUTURE_MS


def _milliseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
