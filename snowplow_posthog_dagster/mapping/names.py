"""Event names: what Snowplow calls an event, as PostHog's own SDK would call it.

Page views and screen views get PostHog's names, because sessions and web analytics count by exactly these.
Structured events are named by a template, self-describing ones by their schema. Names that PostHog gives a meaning of
its own (all that begin with `$`, survey events) are never produced by data: an event called `$exception` or
`$identify` would go to another pipeline, another quota, or merge persons for good (posthog.md 1.6).

A name is part of the key by which PostHog finds duplicates, so it depends on the record and the settings alone.
"""

import string
from collections.abc import Callable
from typing import Any

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.paths import find
from snowplow_posthog_dagster.mapping.reading import Data, Entity
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.settings import EventSettings, template_fields
from snowplow_posthog_dagster.snowplow.schema import parse_schema

RULES = (
    Rule("event", "event = `page_view`", "`$pageview`."),
    Rule("event", "screen_view of com.snowplowanalytics.*", "`$screen`."),
    Rule("event", "event = `page_ping`", "`page_ping`, or not sent (`events.page_ping: drop`)."),
    Rule(
        "event", "event = `struct`", "The template `events.struct` over se_category, se_action, se_label, se_property."
    ),
    Rule(
        "event", "event = `unstruct`", "The name of the schema, else event_name; `events.self_describing` refines it."
    ),
    Rule("event", "any other event", "event_name, else event: `transaction`, `transaction_item`, `ad_impression`."),
    Rule("event", "names beginning with `$`, survey events", "`snowplow_` is put before them, `$` taken off."),
    Rule("event", "longer than 200 bytes", "Cut at a character, since PostHog cuts at 200."),
)

RESERVED = frozenset({"survey sent", "survey shown", "survey dismissed"})
MAX_BYTES = 200
_SURELY_SHORT = MAX_BYTES // 4
_JOINTS = " \t:;,/|_-."
_FIXED = {"page_view": "$pageview", "page_ping": "page_ping"}
_UNNAMED = "unnamed"

NameOf = Callable[[Columns, Entity | None], str]


def compile_names(settings: EventSettings) -> NameOf:
    """The function that names an event, at most 200 bytes of UTF-8, never empty."""
    struct_name = _compile_struct(settings.struct)
    templates = {schema: _compile_data(template) for schema, template in settings.self_describing.items()}

    def name_of(columns: Columns, event: Entity | None) -> str:
        kind = columns.event
        fixed = _FIXED.get(kind)
        if fixed is not None:
            return fixed
        if kind == "struct":
            return safe_name(struct_name(columns)) or "struct"
        return _other_name(columns, event, templates)

    return name_of


def safe_name(name: str) -> str:
    """The name without what PostHog reserves, cut to 200 bytes; empty when nothing is left."""
    name = name.strip()
    if name[:1] == "$" or name.casefold() in RESERVED:
        name = f"snowplow_{name.lstrip('$')}"
    if len(name) > _SURELY_SHORT:
        name = name.encode()[:MAX_BYTES].decode(errors="ignore").rstrip()
    return name


def _other_name(columns: Columns, event: Entity | None, templates: dict[str, Callable[[Data], str]]) -> str:
    schema = parse_schema(event.schema) if event is not None else None
    vendor, name = (schema.vendor, schema.name) if schema else (columns.event_vendor, columns.event_name)
    if name == "screen_view" and vendor.startswith("com.snowplowanalytics."):
        return "$screen"
    if templates and event is not None:
        template = templates.get(f"{vendor}/{name}") or templates.get(name)
        from_template = safe_name(template(event.data)) if template is not None else ""
        if from_template:
            return from_template
    own = columns.event_name if columns.event != "unstruct" or not schema else schema.name
    return safe_name(own or columns.event_name) or safe_name(columns.event) or _UNNAMED


def _compile_struct(template: str) -> Callable[[Columns], str]:
    fields = template_fields(template)
    if template == f"{{{fields[0]}}}":
        only = fields[0]
        return lambda columns: str(getattr(columns, only))
    return lambda columns: _filled(template, {field: getattr(columns, field) for field in fields})


def _compile_data(template: str) -> Callable[[Data], str]:
    fields = template_fields(template)

    def from_data(data: Data) -> str:
        values = {field: find(data, (field,)) for field in fields}
        usable = {field: str(value) for field, value in values.items() if isinstance(value, str | int)}
        # Without any of its fields a template would give one name to different things.
        return _filled(template, usable) if usable or not fields else ""

    return from_data


def _filled(template: str, values: dict[str, Any]) -> str:
    """The template with its values; punctuation around missing ones is taken off at the ends."""
    text = string.Formatter().vformat(template, (), _Missing(values))
    return text.strip(_JOINTS) if len(values) < len(template_fields(template)) or not all(values.values()) else text


class _Missing(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""
