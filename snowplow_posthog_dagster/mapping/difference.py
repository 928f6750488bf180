"""What a change of settings does to real records, before anything is sent: the counting behind `fields --diff`."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from snowplow_posthog_dagster.mapping.mapper import Mapper, Outcome
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.snowplow.record import Record

_EXAMPLES = 3
_PROVENANCE = frozenset({"snowplow_mapping_version", "snowplow_object", "snowplow_archive_day"})


@dataclass
class Difference:
    """Counts over the records that were compared."""

    records: int = 0
    same: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """`sent -> filtered (bots)` and the like, for records that are not sent by both."""
    twins: int = 0
    """Events that PostHog would keep beside the old ones: uuid, event, distinct_id or the day differ."""
    parts: Counter[str] = field(default_factory=Counter)
    """Part of the envelope or property -> events in which it differs, appears or disappears."""
    examples: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)
    """The same -> up to three pairs of old and new value; None stands for missing."""


def compare(old: Mapper, new: Mapper, records: Iterable[Record]) -> Difference:
    """Map records under two settings and count what differs. The provenance properties are left out."""
    difference = Difference()
    mappings = [mapper.for_object(object_id="difference", archive_day="difference") for mapper in (old, new)]
    for record in records:
        difference.records += 1
        before, after = (mapping(record) for mapping in mappings)
        if isinstance(before, Mapped) and isinstance(after, Mapped):
            _compare_events(difference, json.loads(before.event), json.loads(after.event))
        elif _in_words(before) == _in_words(after):
            difference.same += 1
        else:
            difference.outcomes[f"{_in_words(before)} -> {_in_words(after)}"] += 1
    return difference


def _compare_events(difference: Difference, before: dict[str, Any], after: dict[str, Any]) -> None:
    if _key(before) != _key(after):
        difference.twins += 1
    old, new = _flat(before), _flat(after)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    difference.same += not changed
    for name in changed:
        difference.parts[name] += 1
        examples = difference.examples.setdefault(name, [])
        if len(examples) < _EXAMPLES:
            examples.append((old.get(name), new.get(name)))


def _key(event: dict[str, Any]) -> tuple[str, ...]:
    """By what PostHog knows an event again."""
    return event["timestamp"][:10], event["event"], event["distinct_id"], event["uuid"]


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    """Envelope and properties side by side; the column `event` is a property, and the envelope has one as well."""
    envelope = {name: value for name, value in event.items() if name != "properties"}
    properties = {name: value for name, value in event["properties"].items() if name not in _PROVENANCE}
    return envelope | {f"{name} (property)" if name in envelope else name: properties[name] for name in properties}


def _in_words(outcome: Outcome) -> str:
    if isinstance(outcome, Mapped):
        return "sent"
    return f"filtered ({outcome.rule})" if isinstance(outcome, Filtered) else "dead letter"
