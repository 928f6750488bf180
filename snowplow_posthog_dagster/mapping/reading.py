r"""A record as the rules read it: typed columns, entities and self-describing data; or why it cannot be read.

The quick way reads what is usual and checks it on the way, in C: numbers, timestamps and JSON of the usual forms.
Whatever it does not take is read again the slow way, by the functions of `snowplow`: they decide what is good, so
the mapping and `snowplow.parse` never differ about a record, and they mend what can be mended.

What must never reach a body is stopped here: NaN and infinite numbers are refused by both ways, NUL becomes U+FFFD
(PostHog's own replacement), lone surrogates and numbers beyond a double are mended by `snowplow.entities`.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from snowplow_posthog_dagster.mapping.columns import Columns, typed_columns
from snowplow_posthog_dagster.snowplow import entities as envelopes
from snowplow_posthog_dagster.snowplow.columns import INDEX
from snowplow_posthog_dagster.snowplow.parse import parse
from snowplow_posthog_dagster.snowplow.record import Record, Rejected, field_error

_CONTEXTS, _DERIVED, _UNSTRUCT = INDEX["contexts"], INDEX["derived_contexts"], INDEX["unstruct_event"]
_NUL, _REPLACEMENT = "\x00", "\ufffd"
_NUL_BYTE, _BACKSLASH = 0, ord("\\")

Data = dict[str, Any]

USUAL_DEPTH = 8
"""Levels within the data of an entity that the quick way takes. Saying so in the type costs nothing, counting the
brackets of every column 1.5 us; what is deeper is read slowly, and refused beyond 100 levels."""


def _value_type() -> Any:
    value: Any = None | bool | int | float | str
    for _ in range(USUAL_DEPTH - 1):
        value = None | bool | int | float | str | list[value] | dict[str, value]
    return value


if TYPE_CHECKING:
    UsualData = Data
else:
    UsualData = dict[str, _value_type()]


class Entity(msgspec.Struct, gc=False):
    """One self-describing JSON."""

    schema: str
    data: UsualData


class _Contexts(msgspec.Struct, gc=False):
    data: list[Entity]


class _SelfDescribing(msgspec.Struct, gc=False):
    data: Entity


class Reading(msgspec.Struct, gc=False):
    """A record that can be mapped."""

    columns: Columns
    entities: list[Entity]
    """Those of `contexts`, then those of `derived_contexts`."""
    event: Entity | None
    """The self-describing data of the event itself."""
    notes: list[str]
    """Names of counters; the rules add theirs."""


_decode_contexts = msgspec.json.Decoder(_Contexts).decode
_decode_self_describing = msgspec.json.Decoder(_SelfDescribing).decode


def read(record: Record) -> Reading | Rejected:
    """Read a record the quick way, else the slow way."""
    try:
        reading = _read_quickly(record)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return read_slowly(record)
    return reading or read_slowly(record)


def _read_quickly(record: Record) -> Reading | None:
    """The reading, None if the record may hold NUL or has no time.

    Raises:
        ValueError, msgspec.DecodeError, RecursionError: a value is wrong or unusual.
    """
    fields = record.fields
    contexts, derived, unstruct = fields[_CONTEXTS], fields[_DERIVED], fields[_UNSTRUCT]
    # Looking for a number in bytes is a scan; looking for bytes first raises and clears an exception inside CPython.
    if _NUL_BYTE in record.raw or (_BACKSLASH in record.raw and _may_hold_nul(contexts, derived, unstruct)):
        return None
    columns = typed_columns(fields)
    if not (columns.derived_tstamp or columns.collector_tstamp):
        return None
    entities = _decode_contexts(contexts).data if contexts else []
    if derived:
        entities += _decode_contexts(derived).data
    return Reading(columns, entities, _decode_self_describing(unstruct).data if unstruct else None, [])


def _may_hold_nul(*json_columns: str) -> bool:
    return any("\\u0000" in text for text in json_columns)


def read_slowly(record: Record) -> Reading | Rejected:
    """Read a record as `snowplow.parse` does, with integers of any size and everything mended."""
    verdict = parse(record)
    if isinstance(verdict, Rejected):
        return verdict
    notes: list[str] = []
    fields = record.fields
    if _NUL_BYTE in record.raw:
        fields = [field.replace(_NUL, _REPLACEMENT) for field in fields]
        notes.append("nul_replaced")
    found = [
        Entity(schema, data)
        for column in (_CONTEXTS, _DERIVED)
        for schema, data in _pieces(fields[column], many=True, notes=notes)
    ]
    event = [Entity(schema, data) for schema, data in _pieces(fields[_UNSTRUCT], many=False, notes=notes)]
    try:
        columns = typed_columns(fields)
    except ValueError as error:  # NUL in a number is refused by parse, so this would be a defect of ours
        refused = field_error(None, str(error), "the mapping cannot read a value that the parser accepts")
        return Rejected(record.ordinal, record.line, record.offset, record.raw, (refused,))
    return Reading(columns, found, event[0] if event else None, notes)


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
