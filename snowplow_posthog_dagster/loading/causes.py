"""Why events that PostHog acknowledged are not there: the likely cause, from which ones are missing.

PostHog drops events after a 200 for a handful of reasons, and each leaves another pattern in what is missing:

    all of them, the key is another project's      unknown token
    the older ones, or all while others arrive     "drop events older than" of the project
    whole event names or distinct_ids              event restrictions
    all while nothing arrives, or the newer ones   billing limit
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

_FEW_IDS = 5


class Sent(NamedTuple):
    """An event of the sample as it was sent; `timestamp` in milliseconds since 1970 UTC."""

    uuid: str
    event: str
    distinct_id: str
    timestamp: int
    properties: dict[str, Any]


class Evidence(NamedTuple):
    """What else the project tells; `now` in milliseconds."""

    key_belongs: bool
    project_id: str
    recent_events: int
    now: int
    waited_seconds: float


def likely_cause(missing: Sequence[Sent], found: Sequence[Sent], evidence: Evidence) -> str:
    """The likely cause of a gap, in words that say what to look at."""
    if not evidence.key_belongs:
        return (
            f"unknown token: POSTHOG_PROJECT_API_KEY is not the key of project {evidence.project_id}; PostHog answers"
            " 200 and drops the events, or another project has them"
        )
    oldest, newest = min(sent.timestamp for sent in missing), max(sent.timestamp for sent in missing)
    age = f"{(evidence.now - newest) / 86_400_000:,.0f} days old and more"
    if not found:
        return _all_missing(evidence, age)
    if newest < min(sent.timestamp for sent in found):
        return (
            f"the project drops events older than a limit (those missing are {age}, all younger ones are there); see"
            " its settings, `drop events older than`"
        )
    restricted = _restricted(missing, found)
    if restricted:
        return f"event restrictions of the project: no event with {restricted} is there"
    if oldest > max(sent.timestamp for sent in found):
        when = dt.datetime.fromtimestamp(oldest / 1000, dt.UTC)
        return f"billing limit reached while the day was sent: everything from {when:%Y-%m-%d %H:%M} on is missing"
    return (
        f"unknown: ingestion may be more than {evidence.waited_seconds:.0f} s behind, a transformation may drop events,"
        " or they exceed 1 MB after enrichment; see the project's ingestion warnings"
    )


def _all_missing(evidence: Evidence, age: str) -> str:
    if evidence.recent_events:
        return (
            f"the project drops events older than a limit (all are missing and {age}, while"
            f" {evidence.recent_events:,} events of the last day are there); see its settings, `drop events older than`"
        )
    return (
        "billing limit: none of the events is there and nothing of the last day either; see the project's billing. If"
        f" it takes no live events, `drop events older than` does the same to events {age}"
    )


def _restricted(missing: Sequence[Sent], found: Sequence[Sent]) -> str:
    """The event names, or the few distinct_ids, of which everything is missing; empty when that is no pattern."""
    names = _only_missing([sent.event for sent in missing], [sent.event for sent in found])
    if names:
        return "the name " + ", ".join(map(repr, names[:_FEW_IDS]))
    ids = _only_missing([sent.distinct_id for sent in missing], [sent.distinct_id for sent in found])
    # Most people are sampled once, so single missing events always have ids that nobody else has.
    if ids and len(ids) <= _FEW_IDS and len(missing) > len(ids):
        # Not which: this goes into the day log, and ids of people must not.
        return f"{len(ids)} distinct_id{'s' if len(ids) > 1 else ''} of the sample"
    return ""


def _only_missing(missing: Sequence[str], found: Sequence[str]) -> list[str]:
    """The values of the missing, sorted, when none of them is among the found."""
    values = set(missing)
    return sorted(values) if values.isdisjoint(found) else []
