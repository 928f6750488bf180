"""Size: no event above 900 KiB leaves, and most of those above are saved without their largest parts.

PostHog's Kafka takes 1,000,000 bytes for an event inside an envelope, where the event's JSON is a string: each quote
and each backslash becomes two bytes. One event above it makes PostHog refuse the whole body after storing a part of it
(posthog.md 1.4). PostHog's own clients stop at 900 KiB before that. Both limits hold for every event.

What is shed, in this order and only until the event fits; `snowplow_shed` lists it:

1. lists of entities, the largest first, 2. self-describing data and flattened fields, the largest first,
3. text columns longer than 1,000 characters, cut to 1,000, the longest first.

An event that is still too large becomes a dead letter.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.properties import PROPERTY_NAMES, Properties, property_name
from snowplow_posthog_dagster.mapping.rules import Rule

MAX_EVENT_BYTES = 900 * 1024
CERTAINLY_FITS = 450_000
"""Bytes of an event that no escaping can bring above PostHog's limit, so that nearly no event is looked at twice."""
MARKER = "snowplow_shed"
SHED = "shed"
CUT_TEXT = 1_000

RULES = (
    Rule(
        MARKER,
        "events above 900 KiB, or above 1 MB once escaped",
        "Names of the properties that were left out or cut so that it fits: first lists of entities, then "
        "self-describing data and flattened fields, then texts, cut to 1,000 characters; the largest first, no more "
        "than it takes.",
    ),
)

_MAX_ESCAPED_BYTES = 1_000_000 - 4_096  # the envelope around the string: ids, times, token, project
_ROOM = 4_096  # for the marker and for separators
Encode = Callable[[], bytes]


class _Weight(NamedTuple):
    """Bytes of JSON as it is, and inside a string of JSON."""

    plain: int
    escaped: int


def excess_bytes(event: bytes) -> int:
    """By how many bytes an event is larger than PostHog takes; 0 or less when it fits."""
    return max(_excess(_weight_of_json(event)))


def shrink(encode: Encode, event: bytes, columns: Columns, properties: Properties) -> bytes | None:
    """The event without its largest parts, None when it does not fit even then. Changes columns and properties."""
    excess = _Weight(*(each + _ROOM for each in _excess(_weight_of_json(event))))
    shed: list[str] = []
    for name in _by_weight(properties):
        if max(excess) <= 0:
            break
        excess = _less(excess, _weight(properties.pop(name)))
        shed.append(name)
    for column in sorted(_long_texts(columns), key=lambda name: -len(getattr(columns, name))):
        if max(excess) <= 0:
            break
        text = getattr(columns, column)
        setattr(columns, column, text[:CUT_TEXT])
        excess = _less(excess, _weight(text[CUT_TEXT:]))
        shed.append(property_name(column))
    properties[MARKER] = shed
    shrunk = encode()
    return shrunk if excess_bytes(shrunk) <= 0 else None


def _excess(weight: _Weight) -> _Weight:
    return _Weight(weight.plain - MAX_EVENT_BYTES, weight.escaped - _MAX_ESCAPED_BYTES)


def _less(excess: _Weight, weight: _Weight) -> _Weight:
    return _Weight(excess.plain - weight.plain, excess.escaped - weight.escaped)


def _by_weight(properties: Properties) -> list[str]:
    """Entities, then what else data brought with it, each the largest first; what rules add is not shed."""
    names = [name for name in properties if name not in PROPERTY_NAMES]
    return sorted(names, key=lambda name: (not name.startswith("contexts_"), -_weight(properties[name]).plain))


def _weight(value: Any) -> _Weight:
    try:
        return _weight_of_json(orjson.dumps(value))
    except orjson.JSONEncodeError:  # integers of more than 64 bits
        return _weight_of_json(str(value).encode())


def _weight_of_json(text: bytes) -> _Weight:
    return _Weight(len(text), len(text) + text.count(b'"') + text.count(b"\\"))


def _long_texts(columns: Columns) -> list[str]:
    values = ((name, getattr(columns, name)) for name in Columns.__struct_fields__)
    return [name for name, value in values if isinstance(value, str) and len(value) > CUT_TEXT]
