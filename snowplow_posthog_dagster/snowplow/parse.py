"""A whole record as the analytics SDKs would give it: typed, flat, empty columns left out.

The shape is the Python SDK's, whose differences from the others were weighed one by one. Wanted differences:

* timestamps are checked (the SDK makes `yesterdayZ` of `yesterday`); the common forms of other tools are read too,
* `se_value` is a number, `refr_dvce_tstamp` has Enrich's name,
* hyphens in schema names become `_`, MODEL 0 is accepted,
* entities of one schema in `contexts` and `derived_contexts` are joined, where all SDKs let the second overwrite the
  first,
* numbers are strict, so that the result is always valid JSON.

Every error of a record is collected, not only the first. Which errors reject it:

==================================================  ==========================================================
dead letter                                         kept, with a note
==================================================  ==========================================================
number, boolean or timestamp that is none           event_id that is no UUID or is missing (a uuid is derived)
JSON column that is no JSON or no envelope          JSON column that is `masked`, `{}`, `null` or without data
entity without schema or data, malformed schema     lone surrogate or overflowing number inside JSON (replaced)
neither collector_tstamp nor derived_tstamp         one of v_collector, v_etl, collector_tstamp missing
==================================================  ==========================================================

The left side is what both or the stricter of the Scala and Python SDKs refuse and what cannot be mapped; the right side
costs no event, although Scala refuses some of it.
"""

import json
import re
from typing import Any, NamedTuple

import orjson

from snowplow_posthog_dagster.snowplow.columns import COLUMNS, INDEX, Column, Kind
from snowplow_posthog_dagster.snowplow.entities import (
    EnvelopeError,
    entities,
    loads_exactly,
    repairs,
    self_describing,
)
from snowplow_posthog_dagster.snowplow.numbers import to_boolean, to_double, to_integer
from snowplow_posthog_dagster.snowplow.record import FieldError, Record, Rejected, field_error
from snowplow_posthog_dagster.snowplow.schema import contexts_key, unstruct_event_key
from snowplow_posthog_dagster.snowplow.timestamps import to_sdk

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_SCALARS = {
    Kind.INTEGER: (to_integer, "expected a whole number of 32 bits"),
    Kind.DOUBLE: (to_double, "expected a finite decimal number"),
    Kind.BOOLEAN: (to_boolean, "expected 0 or 1"),
    Kind.TIMESTAMP: (to_sdk, "expected a timestamp yyyy-MM-dd HH:mm:ss.SSS"),
}
_REQUIRED = ("event_id", "collector_tstamp", "v_collector", "v_etl")


class ParsedEvent(NamedTuple):
    """A good record: the event in the SDKs' shape, and what was odd about it without costing the event."""

    event: dict[str, Any]
    notes: tuple[FieldError, ...]


class _Findings:
    """Collects the event and the errors of one record."""

    def __init__(self) -> None:
        self.event: dict[str, Any] = {}
        self.errors: list[FieldError] = []
        self.notes: list[FieldError] = []


def parse(record: Record) -> ParsedEvent | Rejected:
    """Read all columns of a record. Raises nothing: what is wrong with it is in the result."""
    fields = record.fields
    found = _Findings()
    latitude, longitude = fields[INDEX["geo_latitude"]], fields[INDEX["geo_longitude"]]
    if latitude and longitude:
        found.event["geo_location"] = f"{latitude},{longitude}"
    for column, value in zip(COLUMNS, fields, strict=True):
        if value:
            _read_column(column, value, found)
    _check_required(fields, found)
    if found.errors:
        return Rejected(record.ordinal, record.line, record.offset, record.raw, tuple(found.errors + found.notes))
    return ParsedEvent(found.event, tuple(found.notes))


def to_json(event: dict[str, Any]) -> bytes:
    """One line of strict JSON; integers of any size are written out."""
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:  # an integer of more than 64 bits
        return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _read_column(column: Column, value: str, found: _Findings) -> None:
    name, kind = column
    if kind is Kind.TEXT:
        found.event[name] = value
    elif kind is Kind.CONTEXTS or kind is Kind.UNSTRUCT:
        try:
            _read_json(name, kind, value, found)
        except EnvelopeError as error:
            (found.notes if error.keep else found.errors).append(field_error(name, value, str(error)))
    else:
        convert, expected = _SCALARS[kind]
        converted = convert(value)
        if converted is None:
            found.errors.append(field_error(name, value, expected))
        else:
            found.event[name] = converted


def _read_json(name: str, kind: Kind, value: str, found: _Findings) -> None:
    """Add the data of a JSON column. Raises EnvelopeError."""
    if kind is Kind.UNSTRUCT:
        schema, data = self_describing(value)
        found.event[_checked(unstruct_event_key(schema))] = loads_exactly(data)
    else:
        for schema, data in entities(value):
            found.event.setdefault(_checked(contexts_key(schema)), []).append(loads_exactly(data))
    found.notes.extend(field_error(name, value, message) for message in repairs(value))


def _checked(key: str | None) -> str:
    if key is None:
        raise EnvelopeError("expected a schema iglu:vendor/name/format/model-revision-addition", keep=False)
    return key


def _check_required(fields: list[str], found: _Findings) -> None:
    """Scala refuses a record without these columns; we refuse it only when it has no time at all."""
    no_time = not fields[INDEX["collector_tstamp"]] and not fields[INDEX["derived_tstamp"]]
    for name in _REQUIRED:
        if name == "collector_tstamp" and no_time:
            found.errors.append(FieldError(name, "", "a record needs this or derived_tstamp for its time"))
        elif not fields[INDEX[name]]:
            found.notes.append(FieldError(name, "", "is missing"))
    event_id = fields[INDEX["event_id"]]
    if event_id and not _UUID.fullmatch(event_id):
        found.notes.append(field_error("event_id", event_id, "expected a UUID"))
