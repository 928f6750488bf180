"""What the mapping makes of a record: a PostHog event, or a filter's name; the third way is `Rejected`.

NamedTuples, because one is made per record: a frozen dataclass costs three times as much.
"""

from typing import NamedTuple


class Mapped(NamedTuple):
    """A PostHog event, ready to be joined with others."""

    event: bytes
    """JSON of `{uuid, event, distinct_id, timestamp, properties}`: strict JSON, valid UTF-8, no newline."""
    timestamp: int
    """The timestamp that is sent, milliseconds since 1970 UTC."""
    uuid: str
    notes: tuple[str, ...]
    """Names of counters, such as `timestamp_replaced`; empty for nearly all events."""


class Filtered(NamedTuple):
    """A record that a rule of the settings keeps out."""

    rule: str
    """Name of the rule, under which the record is counted."""
