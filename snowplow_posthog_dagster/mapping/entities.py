"""Entities and self-describing data: what is carried, under which name, and what else they mean to PostHog.

Every entity goes into the list `contexts_<vendor>_<name>_<model>`, those of both columns joined, each with its
version as `_schema_version`; self-describing data is the object `unstruct_event_<vendor>_<name>_<model>`. A rule of the
settings drops or flattens them, or takes groups and `$feature/...` out of them. What a schema needs is worked out once,
when it is first met, and kept as a `Carrier`; per entity there remain a look-up and an append.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from snowplow_posthog_dagster.mapping.paths import change
from snowplow_posthog_dagster.mapping.privacy import Change
from snowplow_posthog_dagster.mapping.properties import PROPERTY_NAMES, Properties
from snowplow_posthog_dagster.mapping.reading import Data, Entity
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.settings import EntityRule, MappingSettings
from snowplow_posthog_dagster.snowplow.schema import contexts_key, parse_schema, snake_case, unstruct_event_key

RULES = (
    Rule(
        "contexts_<vendor>_<name>_<model>",
        "contexts, derived_contexts",
        "List of all entities of one schema and model.",
    ),
    Rule("unstruct_event_<vendor>_<name>_<model>", "unstruct_event", "The data of the self-describing event."),
    Rule(
        "<schema>_<field>",
        "`entities.rules`: flatten",
        "Each field of the first entity of a schema a property of its own. Further ones stay whole in the list, and so "
        "does one of which a name is taken.",
    ),
    Rule(
        "$groups", "`entities.rules`: groups", "Group type and key; PostHog reads them on events with a person profile."
    ),
    Rule("$feature/<experiment>", "`entities.rules`: features", "The variant of an experiment."),
)

VERSION = "_schema_version"
KEEP, DROP = EntityRule(), EntityRule(carry="drop")
NOT_ALLOWED = "entity_not_allowed"

_MOST_SCHEMAS = 10_000
"""Carriers that are kept; a tracker that makes up schemas must not fill the memory."""


class Carrier(msgspec.Struct, frozen=True, gc=False):
    """What happens to entities of one schema URI."""

    key: str
    version: str
    slots: tuple[str, ...]
    """Names under which rules look for the data: `vendor/name`, `name`, or none."""
    is_plain: bool
    """Kept whole and unchanged, as nearly all are."""
    rule: EntityRule
    changes: tuple[tuple[tuple[str, ...], Change], ...]
    prefix: str
    is_forbidden: bool


class Carriers:
    """The carriers of all schemas met so far, for entities or for self-describing data."""

    def __init__(
        self,
        settings: MappingSettings,
        *,
        changes: Mapping[str, tuple[tuple[tuple[str, ...], Change], ...]],
        wanted: Iterable[str],
        of_events: bool = False,
    ) -> None:
        """`changes` are the privacy's by schema; `wanted` the schemas that a rule or a path of the settings reads."""
        strict, entities = settings.privacy.preset == "strict", settings.entities
        default = "keep" if of_events else entities.default or ("drop" if strict else "keep")
        self._default = KEEP if default == "keep" else DROP
        self._rules, self._changes, self._wanted = entities.rules, changes, frozenset(wanted)
        self._key_of = unstruct_event_key if of_events else contexts_key
        self._known: dict[str, Carrier] = {}
        self.get = self._known.get

    def learn(self, uri: str) -> Carrier:
        """The carrier of a schema that is met for the first time.

        Raises:
            ValueError: the URI is no Iglu schema.
        """
        schema, key = parse_schema(uri), self._key_of(uri)
        if schema is None or key is None:
            raise ValueError(uri)
        names = (f"{schema.vendor}/{schema.name}", schema.name)
        rule = next((self._rules[name] for name in names if name in self._rules), None)
        changes = tuple(change for name in names for change in self._changes.get(name, ()))
        carrier = Carrier(
            key,
            schema.version,
            tuple(name for name in names if name in self._wanted),
            (rule or self._default) == KEEP and not changes,
            rule or self._default,
            changes,
            (rule.prefix if rule else "") or f"{snake_case(schema.name)}_",
            rule is None and self._default is DROP,
        )
        if len(self._known) >= _MOST_SCHEMAS:
            self._known.clear()
        self._known[uri] = carrier
        return carrier


Pending = list[tuple[Carrier, Data]]
"""Entities to which something must be done, once the filters have seen them."""


def gather(
    entities: list[Entity], event: Entity | None, carriers: Carriers, event_carriers: Carriers
) -> tuple[dict[str, Data], Properties, Pending]:
    """Sort the entities and the event's data: those that rules read, properties beside the columns, what is pending.

    Raises:
        ValueError: a schema URI is malformed.
    """
    found: dict[str, Data] = {}
    properties: Properties = {}
    pending: Pending = []
    known = carriers.get
    for entity in entities:
        carrier = known(entity.schema) or carriers.learn(entity.schema)
        data = entity.data
        if carrier.slots and type(data) is dict:
            for slot in carrier.slots:
                found.setdefault(slot, data)
        if not carrier.is_plain:
            pending.append((carrier, data))
            continue
        if type(data) is dict:
            data[VERSION] = carrier.version
        if carrier.key in properties:
            properties[carrier.key].append(data)
        else:
            properties[carrier.key] = [data]
    if event is not None:
        _gather_event(event, event_carriers, found, properties, pending)
    return found, properties, pending


def _gather_event(
    event: Entity, carriers: Carriers, found: dict[str, Data], properties: Properties, pending: Pending
) -> None:
    carrier = carriers.get(event.schema) or carriers.learn(event.schema)
    if type(event.data) is dict:
        for slot in carrier.slots:
            found[slot] = event.data
    if not carrier.is_plain:
        pending.append((carrier, event.data))
    elif event.data:
        properties[carrier.key] = event.data


def finish(pending: list[tuple[Carrier, Data]], properties: Properties, event: Entity | None, notes: list[str]) -> None:
    """Apply privacy and the settings' rules to what is pending."""
    for carrier, data in pending:
        for fields, to in carrier.changes:
            change(data, fields, to)
    flattened: set[str] = set()
    for carrier, data in pending:
        rule = carrier.rule
        if isinstance(data, dict):
            _add_groups(properties, rule, data)
            _add_features(properties, rule, data)
        if carrier.is_forbidden:
            notes.append(NOT_ALLOWED)
        if rule.carry != "drop":
            is_event = event is not None and data is event.data
            _carry(properties, carrier, _allowed(data, rule), flattened, is_event=is_event)


def _append(properties: Properties, carrier: Carrier, data: Data) -> None:
    if type(data) is dict:
        data[VERSION] = carrier.version
    if carrier.key in properties:
        properties[carrier.key].append(data)
    else:
        properties[carrier.key] = [data]


def _allowed(data: Any, rule: EntityRule) -> Any:
    if rule.fields is None or not isinstance(data, dict):
        return data
    return {field: data[field] for field in rule.fields if field in data}


def _carry(properties: Properties, carrier: Carrier, data: Any, flattened: set[str], *, is_event: bool) -> None:
    """Add the data. Only the first of a schema is flattened: of two, one could not tell whose field is whose."""
    if carrier.rule.carry == "flatten" and isinstance(data, dict) and carrier.key not in flattened:
        flattened.add(carrier.key)
        if _flatten(properties, carrier, data):
            return
    if not is_event:
        _append(properties, carrier, data)
    elif data not in (None, "", {}, []):
        properties[carrier.key] = data


def _flatten(properties: Properties, carrier: Carrier, data: Data) -> bool:
    """Give each field a property, unless one of the names is taken: then the data stays whole."""
    flat = {f"{carrier.prefix}{field}": value for field, value in data.items() if value not in (None, "", {}, [])}
    if any(name in properties for name in flat):
        return False
    for name, value in flat.items():
        properties[f"{carrier.key}_{name}" if name in PROPERTY_NAMES or name in RESERVED_PROPERTIES else name] = value
    return True


RESERVED_PROPERTIES = frozenset({"distinct_id", "token", "capture_internal"})
"""Names that PostHog's capture reads in properties (posthog.md 1.6), so that data must not use them."""


def _add_groups(properties: Properties, rule: EntityRule, data: Data) -> None:
    for group_type, field in rule.groups.items():
        key = data.get(field)
        if type(key) in {str, int} and key != "":
            properties.setdefault("$groups", {}).setdefault(group_type, str(key))


def _add_features(properties: Properties, rule: EntityRule, data: Data) -> None:
    for name_field, variant_field in rule.features.items():
        name, variant = data.get(name_field), data.get(variant_field)
        if type(name) is str and name and type(variant) in {str, bool, int} and variant != "":
            properties[f"$feature/{name}"] = str(variant) if type(variant) is int else variant
