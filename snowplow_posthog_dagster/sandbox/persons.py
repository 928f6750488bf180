"""The persons that PostHog would hold, from every stored copy in the order of arrival.

Only events with person processing make or change a person. Properties follow the order of arrival, not the time of
the event: a backfill of old events therefore overwrites what a person is today, which is why a loader sends history
without `$set` and mostly without person processing (reference: posthog.md 0.10, 1.6, 1.8, 3.3).
"""

import sqlite3
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from snowplow_posthog_dagster.sandbox.capture import is_illegal

# Copied from the event by ingestion: to `$set`, and as `$initial_...` to `$set_once`.
COPIED_PROPERTIES = (
    "$app_build", "$app_name", "$app_namespace", "$app_version", "$browser", "$browser_version", "$device_type",
    "$current_url", "$pathname", "$os", "$os_name", "$os_version", "$referring_domain", "$referrer", "$screen_height",
    "$screen_width", "$viewport_height", "$viewport_width", "$raw_user_agent", "utm_source", "utm_medium",
    "utm_campaign", "utm_content", "utm_term", "gclid", "gad_source", "fbclid", "msclkid",
)  # fmt: skip
MERGING_EVENTS = {"$identify": "$anon_distinct_id", "$create_alias": "alias", "$merge_dangerously": "alias"}


class Person(NamedTuple):
    """One person of one project: its ids, its properties, and why merges into it were refused."""

    token: str
    distinct_ids: list[str]
    is_identified: bool
    properties: dict[str, Any]
    refused_merges: list[str]


@dataclass
class _Profile:
    token: str
    distinct_ids: list[str]
    is_identified: bool = False
    properties: dict[str, Any] = field(default_factory=dict)
    refused_merges: list[str] = field(default_factory=list)


def persons(connection: sqlite3.Connection) -> list[Person]:
    """All persons, in the order in which they appeared."""
    profiles: dict[tuple[str, str], _Profile] = {}
    events = connection.execute(
        "SELECT token, event, distinct_id, properties FROM events JOIN properties ON properties.event_id = events.id"
        " WHERE person_mode = 'full' ORDER BY events.id"
    )
    for token, event, distinct_id, text in events:
        properties = orjson.loads(text)
        profile = profiles.setdefault((token, distinct_id), _Profile(token, [distinct_id]))
        if event in MERGING_EVENTS:
            _merge(profiles, profile, event, properties.get(MERGING_EVENTS[event]))
            profile.is_identified = True
        _update(profile, properties)
    distinct = {id(profile): profile for profile in profiles.values()}
    return [
        Person(one.token, sorted(one.distinct_ids), one.is_identified, one.properties, one.refused_merges)
        for one in distinct.values()
    ]


def _merge(profiles: dict[tuple[str, str], _Profile], profile: _Profile, event: str, other_id: Any) -> None:
    """Join the person of `other_id` into `profile`, unless PostHog would refuse it."""
    if not isinstance(other_id, str) or not other_id:
        return
    other = profiles.setdefault((profile.token, other_id), _Profile(profile.token, [other_id]))
    if other is profile:
        return
    if is_illegal(other_id) or any(is_illegal(distinct_id) for distinct_id in profile.distinct_ids):
        profile.refused_merges.append("cannot_merge_with_illegal_distinct_id")
        return
    if other.is_identified and event != "$merge_dangerously":
        profile.refused_merges.append("cannot_merge_already_identified")
        return
    profile.properties = {**other.properties, **profile.properties}
    profile.distinct_ids.extend(other.distinct_ids)
    for distinct_id in other.distinct_ids:
        profiles[profile.token, distinct_id] = profile


def _update(profile: _Profile, properties: dict[str, Any]) -> None:
    copied = {name: properties[name] for name in COPIED_PROPERTIES if name in properties}
    once = {f"$initial_{name.removeprefix('$')}": value for name, value in copied.items()}
    profile.properties |= {**copied, **_object(properties, "$set")}
    profile.properties = {**once, **_object(properties, "$set_once"), **profile.properties}
    unset = properties.get("$unset")
    for name in unset if isinstance(unset, list) else ():
        profile.properties.pop(name, None)


def _object(properties: dict[str, Any], name: str) -> dict[str, Any]:
    value = properties.get(name)
    return value if isinstance(value, dict) else {}
