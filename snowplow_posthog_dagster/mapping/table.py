"""The mapping as a document, and as a list of what leaves: both made from what the code itself declares.

`mapping_table` is docs/mapping.md; a test holds the committed file to it. `fields` is the same under given settings,
for a security review: every column and every kind of entity, under which name it leaves, and by which rule.
"""

from collections.abc import Iterable
from typing import NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from snowplow_posthog_dagster.mapping import (
    app,
    browser,
    campaign,
    commerce,
    entities,
    event_time,
    geo,
    identity,
    mapper,
    names,
    page,
    referrer,
    session,
    size,
)
from snowplow_posthog_dagster.mapping.describing import ENTITIES_READ
from snowplow_posthog_dagster.mapping.paths import parse_path
from snowplow_posthog_dagster.mapping.privacy import (
    DROPPED_BY_DEFAULT,
    STRICT_DROPS,
    STRICT_HASHES,
    Action,
    compile_privacy,
)
from snowplow_posthog_dagster.mapping.properties import PROPERTY_NAMES, TAKEN_UP, property_name
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.settings import MappingSettings, Section
from snowplow_posthog_dagster.snowplow.columns import COLUMNS

MODULES = (
    names,
    identity,
    session,
    event_time,
    page,
    referrer,
    campaign,
    browser,
    app,
    geo,
    commerce,
    entities,
    size,
    mapper,
)
"""The modules that declare RULES, in the order of the document."""

NOTES = {
    "timestamp_replaced": "the device's clock was broken; arrival was sent instead",
    "no_distinct_id": "no legal id; the event is nobody's",
    "entity_not_allowed": "an entity that no rule allows was dropped (preset `strict`); counted per entity",
    "json_column_empty": "a JSON column was masked, `{}` or `null`",
    "json_repaired": "a lone surrogate or a number beyond a double was replaced in a JSON column",
    "nul_replaced": "NUL characters became U+FFFD",
    "shed": "the event was above 900 KiB and lost its largest parts, see `snowplow_shed`",
}
"""Counters of events that are sent, but not quite as they came."""


class FieldRow(NamedTuple):
    """One line of `fields`: where a value comes from, as what it leaves, and by which rule."""

    source: str
    target: str
    rule: str


def fields(settings: MappingSettings) -> list[FieldRow]:
    """Every column and kind of entity under these settings; `-` as target is what does not leave."""
    actions = compile_privacy(settings.privacy, b"only a listing").actions
    rows = [_column_row(column.name, settings, actions) for column in COLUMNS]
    rows += [_rule_row(rule, settings, actions) for module in MODULES for rule in module.RULES]
    rows += [
        FieldRow(action.path, "-" if action.verb == "drop" else "as the entity", f"privacy: {action.verb}")
        for action in actions
        if not isinstance(parse_path(action.path), str)
    ]
    return rows + _entity_rows(settings)


def _column_row(name: str, settings: MappingSettings, actions: tuple[Action, ...]) -> FieldRow:
    applied = [action.verb for action in actions if action.path == name]
    if "drop" in applied:
        return FieldRow(name, "-", "privacy: drop")
    if {name, property_name(name)} & set(settings.properties.drop):
        return FieldRow(name, "-", "properties.drop; other rules read it")
    if settings.geo == "none" and name in geo.GEO_COLUMNS:
        return FieldRow(name, "-", "geo: none")
    text = TAKEN_UP.get(name, "as it is")
    return FieldRow(name, property_name(name), f"privacy: {', '.join(applied)}" if applied else text)


def _rule_row(rule: Rule, settings: MappingSettings, actions: tuple[Action, ...]) -> FieldRow:
    """A rule that sets a property, or `-` when privacy drops all that it reads or its properties are not sent."""
    unsent = {property_name(name) for name in settings.properties.drop}
    gone = {action.path for action in actions if action.verb == "drop"}
    sources = {part.removeprefix("else ") for part in rule.source.split(", ")}
    if set(rule.target.split(", ")) <= unsent:
        return FieldRow(rule.source, "-", "properties.drop")
    if sources <= gone:
        return FieldRow(rule.source, "-", "privacy: drop")
    return FieldRow(rule.source, rule.target, rule.text)


def _entity_rows(settings: MappingSettings) -> list[FieldRow]:
    rows = []
    for schema, rule in settings.entities.rules.items():
        target = {"keep": "contexts_... or unstruct_event_...", "drop": "-", "flatten": f"{rule.prefix or schema}..."}
        chosen = f", only {', '.join(rule.fields)}" if rule.fields is not None else ""
        rows.append(FieldRow(schema, target[rule.carry], f"entities.rules: {rule.carry}{chosen}"))
        rows += [
            FieldRow(f"{schema}.{field}", f"$groups.{kind}", "entities.rules: groups")
            for kind, field in rule.groups.items()
        ]
        rows += [
            FieldRow(f"{schema}.{field}", "$feature/...", "entities.rules: features")
            for field in rule.features.values()
        ]
    keeps = settings.entities.default or ("drop" if settings.privacy.preset == "strict" else "keep")
    rows.append(FieldRow("any other entity", "contexts_..." if keeps == "keep" else "-", f"entities.default: {keeps}"))
    rows.append(FieldRow("any other self-describing event", "unstruct_event_...", "as it is"))
    return rows


def mapping_table() -> str:
    """docs/mapping.md as Markdown."""
    parts = [
        "# The mapping",
        "",
        "What a Snowplow record becomes in PostHog. This page is made from the code (`mapping/table.py`); change the",
        "rule, not the page. Empty columns are never sent. Rules are asked in the order of this page.",
        "",
        "## Rules",
        "",
        *_table(("PostHog", "from", "rule", "module"), _rule_lines()),
        "",
        "## Columns",
        "",
        "Columns with a PostHog name are sent under it alone; all others under Snowplow's canonical name.",
        "",
        *_table(("column", "property", "remark"), _column_lines()),
        "",
        "## Entities that the rules read",
        "",
        *(f"- `{schema}`" for schema in ENTITIES_READ),
        "",
        "All entities, these included, are also sent as they are, unless a rule of the settings says otherwise.",
        "",
        "## Privacy",
        "",
        "Dropped unless `privacy.keep` names them: " + _listed(DROPPED_BY_DEFAULT) + ".",
        "",
        "The preset `strict` also drops "
        + _listed(STRICT_DROPS)
        + ", hashes "
        + _listed(STRICT_HASHES)
        + ", strips all query",
        "parameters but campaign parameters and click ids, takes fragments off URLs, and drops every entity that",
        "`entities.rules` does not name.",
        "",
        "## Counters",
        "",
        *_table(("note", "meaning"), NOTES.items()),
        "",
        "## Settings",
        "",
        "The `mapping:` section of the settings file.",
        "",
        *_table(("setting", "default", "meaning"), _setting_lines(MappingSettings, "")),
        "",
        "## Adding a rule",
        "",
        "1. Find the module by its name (the last column of the first table), or add one to `MODULES` in table.py.",
        "2. Read columns as attributes of `columns` and entities from `found`; add yours to `properties` under",
        "   PostHog's name, never anything empty. A new name goes into `ADDED_PROPERTIES` of properties.py, an entity",
        "   that no rule has read before into `ENTITIES_READ` of describing.py.",
        "3. Say what it does in the module's `RULES`: that is this page.",
        '4. State it as a test in tests/mapping with `properties(column="value")`, raise `MAPPING_CODE` (or',
        "   `IDENTITY_CODE`) in versions.py, and write page and golden events anew: their tests name the commands.",
        "",
    ]
    return "\n".join(parts)


def _rule_lines() -> Iterable[tuple[str, ...]]:
    for module in MODULES:
        name = module.__name__.rpartition(".")[2]
        rules: tuple[Rule, ...] = module.RULES
        for rule in rules:
            yield _code(rule.target), rule.source, rule.text, f"{name}.py"


def _column_lines() -> Iterable[tuple[str, ...]]:
    for column in COLUMNS:
        name = column.name
        sent_as = "" if name in TAKEN_UP else property_name(name)
        yield f"`{name}`", f"`{sent_as}`" if sent_as else "", TAKEN_UP.get(name, "")


def _setting_lines(model: type[BaseModel], prefix: str) -> Iterable[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        inner = _section_of(field)
        if inner is None:
            yield f"`{prefix}{name}`", f"`{_default(field)}`", " ".join((field.description or "").split())
        else:
            marker = "[]" if get_origin(field.annotation) in {tuple, dict} else ""
            if field.description:
                yield f"`{prefix}{name}`", "", " ".join(field.description.split())
            yield from _setting_lines(inner, f"{prefix}{name}{marker}.")


def _section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a setting holds, alone, in a list, as values of a mapping, or optionally."""
    candidates = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Section)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    if value is None or value == "":
        return "-"
    return str(value).replace("'", "").lower() if isinstance(value, bool) else str(value).replace("'", "")


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> list[str]:
    rows = [head, tuple("---" for _ in head), *lines]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def _code(text: str) -> str:
    return ", ".join(f"`{part}`" for part in text.split(", "))


def _listed(paths: Iterable[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def declared_properties() -> frozenset[str]:
    """Names of properties that the rules declare; a test compares them with `PROPERTY_NAMES`."""
    targets = {part for module in MODULES for rule in module.RULES for part in rule.target.split(", ")}
    return frozenset(targets | {property_name(column.name) for column in COLUMNS}) & PROPERTY_NAMES


if __name__ == "__main__":
    import sys

    sys.stdout.write(mapping_table())
