"""Where a value lies in a record: a column, or a field of an entity or of self-describing data.

    user_id                              the column
    client_session.userId                field `userId` of the entity `client_session`, of any vendor and version
    com.gitlab/gitlab_standard.user_id   the same with the vendor
    submit_form.elements.value           `value` of every item of the list `elements`
    gitlab_standard.extra.page_type      a field of a nested object

A text without a full stop after the last slash is a column. Lists are walked through on the way, so that one path
reaches all items, of all entities of the schema; where a single value is asked for, an id or a property of the person,
it is the first one's. Columns whose name is no column of Snowplow's are refused when the settings are read.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from snowplow_posthog_dagster.snowplow.columns import COLUMNS, INDEX, Kind

JSON_COLUMNS = frozenset(column.name for column in COLUMNS if column.kind in {Kind.CONTEXTS, Kind.UNSTRUCT})
TEXT_COLUMNS = frozenset(column.name for column in COLUMNS if column.kind is Kind.TEXT)

_SCHEMA_NAME = re.compile(r"(?:[A-Za-z0-9_.-]+/)?[A-Za-z0-9_-]+")


class EntityPath(NamedTuple):
    """A field of an entity: `schema` is `name` or `vendor/name`, `fields` leads from its data to the value."""

    schema: str
    fields: tuple[str, ...]


def parse_path(text: str) -> EntityPath | str:
    """An `EntityPath`, or the name of a column.

    Raises:
        ValueError: the text is neither; the message says what was expected.
    """
    vendor, slash, rest = text.rpartition("/")
    name, *fields = rest.split(".")
    if not fields and not slash:
        if name not in INDEX or name in JSON_COLUMNS:
            raise ValueError(f"{text!r} is no column of Snowplow's; expected a column or entity.field")
        return name
    if not is_schema_name(f"{vendor}{slash}{name}") or not fields or not all(fields):
        raise ValueError(f"{text!r} is no path; expected vendor/entity.field or entity.field")
    return EntityPath(f"{vendor}{slash}{name}", tuple(fields))


def without_vendor(path: str) -> str:
    """A path as `entity.field`, since `vendor/entity.field` may be the same value; a column as it is."""
    parsed = parse_path(path)
    if isinstance(parsed, EntityPath):
        return ".".join((parsed.schema.rpartition("/")[2], *parsed.fields))
    return parsed


def is_schema_name(text: str) -> bool:
    """Whether a text is `name` or `vendor/name`, as schemas are named in the settings: without `iglu:` and version."""
    return _SCHEMA_NAME.fullmatch(text) is not None


def find(data: Any, fields: tuple[str, ...]) -> Any:
    """The value at a path into parsed JSON, the first one where a list lies on the way, None when there is none."""
    for field in fields:
        if isinstance(data, list):
            data = data[0] if data else None
        if not isinstance(data, dict):
            return None
        data = data.get(field)
    return data


def find_all(data: Any, fields: tuple[str, ...]) -> list[Any]:
    """The values at a path into parsed JSON: one of each item where a list lies on the way or at its end."""
    if isinstance(data, list):
        return [value for item in data for value in find_all(item, fields)]
    if not fields:
        return [data]
    return find_all(data.get(fields[0]), fields[1:]) if isinstance(data, dict) else []


def change(data: Any, fields: tuple[str, ...], to: Callable[[Any], Any]) -> None:
    """Put `to(value)` where a value lies, in every item of lists on the way; None takes the field out."""
    if isinstance(data, list):
        for item in data:
            change(item, fields, to)
    elif isinstance(data, dict) and fields[0] in data:
        if len(fields) > 1:
            change(data[fields[0]], fields[1:], to)
            return
        value = to(data.pop(fields[0]))
        if value is not None:
            data[fields[0]] = value
