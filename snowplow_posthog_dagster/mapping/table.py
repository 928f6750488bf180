"""The mapping as a document, and as a list of what leaves: both made from what the code itself declares.

`mapping_table` is docs/mapping.md; a test holds the committed file to it. `fields` is the same under given settings,
for a security review: every column and every kind of entity, under which name it leaves, and by which rule.
"""

import ast
import inspect
import itertools
import textwrap
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
from snowplow_posthog_dagster.snowplow.schema import snake_case

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


HOW = """\
A record is read and its columns are typed; then come, in this order:

1. **Filters** see it as it was collected, people on the list of the forgotten first. What they keep out is counted
   under the filter's name.
2. **Privacy** drops, hashes, truncates and strips, before any rule reads the value: what is made of it cannot give
   it away.
3. **The key** by which PostHog knows an event again: uuid, event, distinct_id, timestamp. Dropped page pings go here,
   and, now that the distinct_id is known, those whom the sample leaves out.
4. **The properties**, by the rules below; then what `properties.drop` names is left out.

Nothing empty is sent: no null, no empty text, list or object. Nothing depends on another record, so that a replay, a
retry or another split of the files gives the same events again.""".splitlines()
"""Head of the page."""

DIFFERENCES = """\
PostHog counts what the events say. Snowplow's dbt models leave some of them out. These are the rules; without them the
numbers of the sample days are equal (tests/mapping/test_analyst_checklist.py):

| Snowplow's models | PostHog |
| --- | --- |
| one session over midnight | two, since the id of a session must be of its day (session.py) |
| quarantine what comes more than 3 days after the start of a session | counts it, on its own day |
| leave out what was sent more than 3 days after it happened, or does not say when | counts it, on the day it happened |
| leave out page views without a page view id | counts them |
| leave out events without a session id | counts them |
| leave out bots by words in the user agent | counts them, unless a filter drops `bot: [useragent]` |
| count each page view id (screen view id) once | counts events |
| keep, of copies with one event_id, the one collected first | keeps the one that was loaded last |
| make sessions of page views and page pings only | of any event with a session |
| begin a session that starts with a page ping 5 s earlier, with a page view | at the ping, without a page view |
| stitch users over all their events | a user is a distinct_id |

Page pings carry the session and lengthen it: `events.page_ping: drop` makes sessions shorter and bounces more.
A field of Snowplow's that PostHog seems to lack is there under PostHog's name: look it up in *Columns*.""".splitlines()
"""What an analyst who knows Snowplow's own numbers would ask about."""

SETTINGS = """\
The `mapping:` section of the settings file; [examples/gitlab-mapping.yaml](../examples/gitlab-mapping.yaml) is a
commented one. Where a value lies in a record is written like this:

| path | means |
| --- | --- |
| `user_id` | the column |
| `client_session.userId` | a field of the entity, or of the self-describing event, of any vendor and version |
| `com.gitlab/gitlab_standard.user_id` | the same with its vendor |
| `gitlab_standard.extra.page_type` | a field of a nested object |
| `submit_form.elements.value` | `value` of every item of the list `elements` |

Of several values, in a list or in several entities of one schema, privacy changes all and filters look at all; an id or
a property of a person is the first one. What cannot be a column, path, schema or template stops the loading of the code
location with words.""".splitlines()
"""Head of the settings."""

ADDING_A_RULE = """\
Say phones report `batteryLevel` in mobile_context, and it shall be the property `battery_level`.

1. Find the module by its name (the last column of the first table): app.py. A new one goes into `MODULES` of table.py.
2. Write it. Columns are attributes of `columns`, entities lie in `found` by vendor and name; add to `properties`, and
   never anything empty: `_set(properties, "battery_level", mobile.get("batteryLevel"))`. A new name goes into
   `ADDED_PROPERTIES` of properties.py, an entity that no rule has read before into `ENTITIES_READ` of describing.py.
3. Say what it does in the module's `RULES`: `Rule("battery_level", "mobile_context.batteryLevel", "As it is.")`.
4. State it in tests/mapping/test_app_and_commerce.py:
   `assert properties(entities=[(MOBILE, {"batteryLevel": 7})])["battery_level"] == "7"`.
5. Raise `MAPPING_CODE` in versions.py, or `IDENTITY_CODE` if uuid, event, distinct_id or timestamp change: loaded days
   are then known to be of older rules. Write the golden events and this page anew, and look at what changed:

       python -m tests.mapping.test_versions
       python -m snowplow_posthog_dagster.mapping.table > docs/mapping.md
       git diff docs/mapping.md tests/mapping/data
       python -m pytest tests/mapping

What it does to real records, beside the rules of before: `snowplow-posthog fields FILE --diff OTHER.yaml` for
settings, `snowplow-posthog map FILE` before and after for code.""".splitlines()
"""The half hour that a new rule takes."""


class FieldRow(NamedTuple):
    """One line of `fields`: where a value comes from, as what it leaves, and by which rule."""

    source: str
    target: str
    rule: str


def fields(settings: MappingSettings) -> list[FieldRow]:
    """Every column and kind of entity under these settings; `-` as target is what does not leave."""
    actions = compile_privacy(settings, b"only a listing").actions
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
    if rule.target == "distinct_id":
        return FieldRow(", ".join(settings.identity.distinct_id), rule.target, rule.text)
    person = settings.identity.person_properties
    if rule.target == "$set, $set_once" and not (person.set or person.set_once):
        return FieldRow(rule.source, "-", "nothing is allowed")
    unsent = {property_name(name) for name in settings.properties.drop}
    gone = {action.path for action in actions if action.verb == "drop"}
    sources = {part.removeprefix("else ") for part in rule.source.split(", ")}
    if set(rule.target.split(", ")) <= unsent:
        return FieldRow(rule.source, "-", "properties.drop")
    if sources <= gone:
        return FieldRow(rule.source, "-", "privacy: drop")
    if settings.geo == "none" and sources <= set(geo.GEO_COLUMNS):
        return FieldRow(rule.source, "-", "geo: none")
    return FieldRow(rule.source, rule.target, rule.text)


def _entity_rows(settings: MappingSettings) -> list[FieldRow]:
    person = settings.identity.person_properties
    rows = [
        FieldRow(path, f"{part}.{name}", "identity.person_properties")
        for part, named in (("$set", person.set), ("$set_once", person.set_once))
        for name, path in named.items()
    ]
    for schema, rule in settings.entities.rules.items():
        prefix = rule.prefix or f"{snake_case(schema.rpartition('/')[2])}_"
        target = {"keep": "contexts_... or unstruct_event_...", "drop": "-", "flatten": f"{prefix}..."}
        chosen = f", only {', '.join(rule.fields)}" if rule.fields is not None else ""
        rows.append(FieldRow(schema, target[rule.carry], f"entities.rules: {rule.carry}{chosen}"))
        rows += [
            FieldRow(f"{schema}.{field}", f"$groups.{kind}", "entities.rules: groups")
            for kind, field in rule.groups.items()
        ]
        rows += [
            FieldRow(f"{schema}.{field}", "$feature/...", "entities.rules: features")
            for pair in rule.features.items()
            for field in pair
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
        "rule, not the page.",
        "",
        *HOW,
        "",
        "## What counts differently than in Snowplow's models",
        "",
        *DIFFERENCES,
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
        + " and whatever `identity.distinct_id` names, strips all query",
        "parameters but campaign parameters and click ids, takes fragments and user names off URLs, and drops every",
        "entity that `entities.rules` does not name. What is dropped stays away: no rule makes it anew out of other",
        "columns. Of an entity that is dropped as a whole the rules still set what they read by name (the name of a",
        "screen, the model of a device): `snowplow-posthog fields` lists it, `privacy.drop` with the path stops it.",
        "An id that stands for nobody (`anonymous`, all zeros) is not hashed but left out: its hash would be a person.",
        "",
        "## Counters",
        "",
        *_table(("note", "meaning"), NOTES.items()),
        "",
        "## Settings",
        "",
        *SETTINGS,
        "",
        *_table(("setting", "default", "meaning"), _setting_lines(MappingSettings, "")),
        "",
        "## Adding a rule",
        "",
        *ADDING_A_RULE,
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
    texts = _texts_below_fields(model)
    for name, field in model.model_fields.items():
        inner = _section_of(field)
        if inner is None:
            yield f"`{prefix}{name}`", f"`{_default(field)}`", texts.get(name, "")
        else:
            marker = "[]" if get_origin(field.annotation) in {tuple, dict} else ""
            if name in texts:
                yield f"`{prefix}{name}`", "", texts[name]
            yield from _setting_lines(inner, f"{prefix}{name}{marker}.")


def _texts_below_fields(model: type[BaseModel]) -> dict[str, str]:
    """What stands in the source below each field.

    pydantic would read it at every import (`use_attribute_docstrings`): 30 ms of each process, for this page alone.
    """
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    below = itertools.pairwise(definition.body) if isinstance(definition, ast.ClassDef) else ()
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in below
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


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
