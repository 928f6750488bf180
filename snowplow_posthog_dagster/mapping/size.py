"""Size: no event above 900 KiB leaves, and most of those above are saved without their largest parts.

PostHog's Kafka takes 1,000,000 bytes for an event inside an envelope that escapes its quotes; one event above it makes
PostHog refuse the whole body after storing a part of it (posthog.md 1.4). PostHog's own clients stop at 900 KiB.

What is shed, in this order and only until the event fits; `snowplow_shed` lists it:

1. lists of entities, the largest first, 2. self-describing data and flattened fields, the largest first,
3. text columns longer than 1,000 characters, cut to 1,000, the longest first.

An event that is still too large becomes a dead letter.
"""

from collections.abc import Callable
from typing import Any

import orjson

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.properties import PROPERTY_NAMES, Properties, property_name
from snowplow_posthog_dagster.mapping.rules import Rule

MAX_EVENT_BYTES = 900 * 1024
MARKER = "snowplow_shed"
SHED = "shed"
CUT_TEXT = 1_000

RULES = (
    Rule(
        MARKER,
        "events above 900 KiB",
        "Names of the properties that were left out or cut so that it fits: first lists of entities, then "
        "self-describing data and flattened fields, then texts, cut to 1,000 characters; the largest first, no more "
        "than it takes.",
    ),
)

_ROOM = 4_096  # for the marker and for separators
Encode = Callable[[], bytes]


def shrink(encode: Encode, size: int, columns: Columns, properties: Properties) -> bytes | None:
    """The event without its largest parts, None when it does not fit even then. Changes columns and properties."""
    excess = size - MAX_EVENT_BYTES + _ROOM
    shed: list[str] = []
    for name in _by_weight(properties):
        if excess <= 0:
            break
        excess -= _weight(properties.pop(name))
        shed.append(name)
    for column in sorted(_long_texts(columns), key=lambda name: -len(getattr(columns, name))):
        if excess <= 0:
            break
        text = getattr(columns, column)
        setattr(columns, column, text[:CUT_TEXT])
        excess -= len(text[CUT_TEXT:].encode())
        shed.append(property_name(column))
    properties[MARKER] = shed
    event = encode()
    return event if len(event) <= MAX_EVENT_BYTES else None


def _by_weight(properties: Properties) -> list[str]:
    """Entities, then what else data brought with it, each the largest first; what rules add is not shed."""
    names = [name for name in properties if name not in PROPERTY_NAMES]
    return sorted(names, key=lambda name: (not name.startswith("contexts_"), -_weight(properties[name])))


def _weight(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:  # integers of more than 64 bits
        return len(str(value))


def _long_texts(columns: Columns) -> list[str]:
    values = ((name, getattr(columns, name)) for name in Columns.__struct_fields__)
    return [name for name, value in values if isinstance(value, str) and len(value) > CUT_TEXT]
