r"""A record as the rules read it: typed columns, entities and self-describing data; or why it cannot be read.

The quick way reads what is usual and checks it on the way, in C: numbers, timestamps and JSON of the usual forms.
Whatever it does not take is read again the slow way, by the functions of `snowplow`: they decide what is good, so
the mapping and `snowplow.parse` never differ about a record, and they mend what can be mended.

What must never reach a body is stopped here: NaN and infinite numbers are refused by both ways, NUL becomes U+FFFD
(PostHog's own replacement), lone surrogates and numbers beyond a double are mended by `snowplow.entities`.
"""

from typing import Any, NamedTuple

import msgspec

from snowplow_posthog_dagster.mapping.properties import Properties, typed_columns
from snowplow_posthog_dagster.snowplow import entities as envelopes
from snowplow_posthog_dagster.snowplow.columns import INDEX
from snowplow_posthog_dagster.snowplow.parse import parse
from snowplow_posthog_dagster.snowplow.record import Record, Rejected, field_error

_CONTEXTS, _DERIVED, _UNSTRUCT = INDEX["contexts"], INDEX["derived_contexts"], INDEX["unstruct_event"]
_NUL, _REPLACEMENT = "\x00", "\ufffd"

Data = dict[str, Any]


class Entity(msgspec.Struct, gc=False):
    """One self-describing JSON."""

    schema: str
    data: Data


class _Contexts(msgspec.Struct, gc=False):
    data: list[Entity]


class _SelfDescribing(msgspec.Struct, gc=False):
    data: Entity


class Reading(NamedTuple):
    """A record that can be mapped."""

    properties: Properties
    entities: list[Entity]
    """Those of `contexts`, then those of `derived_contexts`."""
    event: Entity | None
    """The self-describing data of the event itself."""
    notes: list[str]
    """Names of counters; the rules add theirs."""


_decode_contexts = msgspec.json.Decoder(_Contexts).decode
_decode_self_describing = msgspec.json.Decoder(_SelfDescribing).decode


class _UnusualError(Exception):
    """The quick way does not take this record; the slow one looks at it."""


def read(record: Record) -> Reading | Rejected:
    """Read a record the quick way, else the slow way."""
    fields = record.fields
    contexts, derived, unstruct = fields[_CONTEXTS], fields[_DERIVED], fields[_UNSTRUCT]
    try:
        if b"\0" in record.raw:
            raise _UnusualError
        properties = typed_columns(fields)
        found = _decode_contexts(_usual(contexts)).data if contexts else []
        if derived:
            found += _decode_contexts(_usual(derived)).data
        event = _decode_self_describing(_usual(unstruct)).data if unstruct else None
    except (ValueError, msgspec.DecodeError, RecursionError, _UnusualError):
        return read_slowly(record)
    if properties.derived_tstamp or properties.collector_tstamp:
        return Reading(properties, found, event, [])
    return read_slowly(record)


def _usual(text: str) -> str:
    r"""The text of a JSON column, unless it may be nested too deeply or holds `\u0000`."""
    if text.count("{") + text.count("[") > envelopes.MAX_DEPTH or ("\\" in text and "\\u0000" in text):
        raise _UnusualError
    return text


def read_slowly(record: Record) -> Reading | Rejected:
    """Read a record as `snowplow.parse` does, with integers of any size and everything mended."""
    verdict = parse(record)
    if isinstance(verdict, Rejected):
        return verdict
    notes: list[str] = []
    fields = record.fields
    if b"\0" in record.raw:
        fields = [field.replace(_NUL, _REPLACEMENT) for field in fields]
        notes.append("nul_replaced")
    found = [
        Entity(schema, data)
        for column in (_CONTEXTS, _DERIVED)
        for schema, data in _pieces(fields[column], many=True, notes=notes)
    ]
    event = [Entity(schema, data) for schema, data in _pieces(fields[_UNSTRUCT], many=False, notes=notes)]
    try:
        properties = typed_columns(fields)
    except ValueError as error:  # NUL in a number is refused by parse, so this would be a defect of ours
        refused = field_error(None, str(error), "the mapping cannot read a value that the parser accepts")
        return Rejected(record.ordinal, record.line, record.offset, record.raw, (refused,))
    return Reading(properties, found, event[0] if event else None, notes)


def _pieces(text: str, *, many: bool, notes: list[str]) -> list[tuple[str, Any]]:
    """Schema and exact data of what a JSON column holds; nothing when it is masked or empty."""
    if not text:
        return []
    try:
        pieces = envelopes.entities(text) if many else [envelopes.self_describing(text)]
    except envelopes.EnvelopeError:  # one that may be kept: parse has accepted the record
        notes.append("json_column_empty")
        return []
    if envelopes.repairs(text):
        notes.append("json_repaired")
    return [(schema, envelopes.loads_exactly(envelopes.without_nul(data))) for schema, data in pieces]
