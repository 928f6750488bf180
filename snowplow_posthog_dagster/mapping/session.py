"""`$session_id`: a Snowplow session as one that PostHog's session table accepts.

PostHog takes a session id only if it is a UUID of version 7 whose own time is not after the first event of the session
and less than 24 h before the last one; events with any other id are kept but never reach the session table, without a
word (posthog.md 3.1). Snowplow's ids are of version 4, and a session's first event may lie in another archive object.

So the time in the id is 00:00 UTC of the day of the timestamp that is sent: both rules hold for every event by
construction, no state is needed, and start, end and duration stay right because PostHog takes them from the events. The
price is that a session over midnight becomes two. The other 74 bits are the first of SHA-256 of Snowplow's id.
"""

from functools import lru_cache

from snowplow_posthog_dagster.mapping.digests import short_sha256
from snowplow_posthog_dagster.mapping.event_time import DAY_MS
from snowplow_posthog_dagster.mapping.rules import Rule

RULES = (
    Rule(
        "$session_id",
        "domain_sessionid, else client_session.sessionId; timestamp",
        "UUIDv7 of 00:00 UTC of the timestamp's day and the first 74 bits of SHA-256 of the id; so a session over "
        "midnight becomes two. The id itself stays as domain_sessionid, or in the entity.",
    ),
)

_VARIANT = 1 << 63
_LOW_BITS = (1 << 62) - 1


def session_uuid(session: str, timestamp: int) -> str:
    """The UUIDv7 of a session on the day of a timestamp in milliseconds."""
    digits = short_sha256(session.encode()).hexdigest()
    # The first 12 bits stand beside the version, the next 62 behind the variant.
    tail = "%016x" % (int(digits[3:19], 16) >> 2 & _LOW_BITS | _VARIANT)
    return f"{_midnight(timestamp // DAY_MS)}-7{digits[:3]}-{tail[:4]}-{tail[4:]}"


@lru_cache(64)
def _midnight(day: int) -> str:
    """The time that a UUIDv7 begins with: 00:00 UTC of a day, counted since 1970."""
    digits = f"{day * DAY_MS:012x}"
    return f"{digits[:8]}-{digits[8:]}"
