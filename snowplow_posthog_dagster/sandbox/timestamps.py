"""When an event happened, by the rules of PostHog's capture service (v0).

`timestamp`, `sent_at` and `offset` of a request come in, microseconds since 1970 UTC go out, together with
the names of what went wrong on the way. A loader of history must never cause one of them: each means that
PostHog stores another time than the one that was sent (reference: `parse_event_timestamp` in PostHog's
rust/common/types/src/timestamp.rs).
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# PostHog clamps what lies further ahead to now.
LARGEST_LEAD = 23 * HOUR
# The first moment that Python can tell; PostHog takes year 0 as well.
YEAR_1 = -62_135_596_800 * SECOND
YEAR_10000 = 253_402_300_800 * SECOND

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d(:?\d\d)?)")
UNIX_TIME = re.compile(r"\d{10}(\d{3})?")


class EventTime(NamedTuple):
    """The time that PostHog stores, in microseconds since 1970 UTC, and what it did to the time that was sent."""

    timestamp: int
    violations: tuple[str, ...] = ()


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC; a naive moment counts as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MICROSECOND


def parse(text: str) -> tuple[int | None, bool]:
    """Microseconds of `text`, or None, and whether it is RFC 3339 with an offset, the one form that all read alike."""
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        if UNIX_TIME.fullmatch(text):
            return int(text) * (SECOND if len(text) == 10 else 1000), False
        return None, False
    return to_microseconds(moment), moment.tzinfo is not None and RFC_3339.fullmatch(text) is not None


def event_time(timestamp: str | None, *, now: int, sent_at: int | None = None, offset: int | None = None) -> EventTime:
    """The five steps of PostHog's capture, in its order: parse, correct by sent_at, replace by offset, now, clamp.

    Args:
        timestamp: the event's own timestamp; None and "" mean now.
        now: microseconds at which the request arrived.
        sent_at: microseconds of the client's clock, None when absent or ignored by `$ignore_sent_at`.
        offset: milliseconds before now; replaces whatever the timestamp says.
    """
    violations: list[str] = []
    result = now
    if timestamp:
        parsed, exact = parse(timestamp)
        if parsed is None:
            violations.append("timestamp_unparsable")
        else:
            result = parsed
            if not exact:
                violations.append("timestamp_not_rfc3339")
            if sent_at is not None:
                result = parsed - (sent_at - now)
                violations.append("timestamp_shifted")
    if offset is not None:
        result = now - offset * 1000
        violations.append("timestamp_replaced_by_offset")
    if result > now + LARGEST_LEAD:
        result = now
        violations.append("timestamp_clamped")
    if not YEAR_1 <= result < YEAR_10000:
        result = 0
        violations.append("timestamp_out_of_range")
    return EventTime(result, tuple(violations))


def to_text(timestamp: int) -> str:
    """ISO 8601 as PostHog's API writes it: `Z`, and six digits of a fraction unless it is zero."""
    return (EPOCH + timedelta(microseconds=timestamp)).isoformat().replace("+00:00", "Z")
