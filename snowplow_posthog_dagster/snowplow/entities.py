r"""The three JSON columns: entities of `contexts` and `derived_contexts`, and the data of `unstruct_event`.

A column is an envelope `{"schema": ..., "data": ...}`. What is inside is handed out as the bytes that stand in the
column, not as rebuilt objects: numbers keep every digit (Snowplow ids go beyond 2^53 and beyond 64 bit, where orjson
makes them floats) and they can be spliced into a PostHog event. Each of these pieces is JSON that a strict parser
accepts, because orjson has read the column: no NaN, no number that overflows a double, no lone surrogate, at most
100 levels. One such value would make PostHog refuse the whole body that it is in.

Most columns are read in one go. What that refuses is looked at again, slowly:

* A lone surrogate escape (`\ud83d`, half of an emoji that a tracker cut) becomes U+FFFD, a number beyond a double
  (`1e400`) becomes a string of the same characters. Both SDKs accept such events, so they are not lost for it.
* `masked`, `{}`, `null` and an envelope without data hold nothing: `EnvelopeError` with `keep`, the event lives on
  without the column. GitLab writes the bare word `masked` over form values, Scala writes `{}` for "no entities".
* Anything else is damage: `EnvelopeError` without `keep`, the record becomes a dead letter as with the SDKs.

The envelope's own schema is not looked at: old events carry the schema of contexts around an unstruct_event.
"""

import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec
import orjson

from snowplow_posthog_dagster.errors import SnowplowPostHogError

MAX_DEPTH = 100
"""Levels of nesting in one column. Strict parsers stop early (serde_json, which PostHog uses, at 128 with the event
around it), and a stop there costs the whole body."""

MASKED = "masked"

_SURROGATES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_NULS = re.compile(rb"\\(?:(u0000)|.)", re.DOTALL)
# A string that never ends is taken to the end of the text: looked for again at each of its quotes, it would take
# quadratic time.
_STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*+"?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?', re.DOTALL)
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)


class EnvelopeError(SnowplowPostHogError):
    """A JSON column does not hold what it should.

    `keep` tells a column that merely holds nothing (the event lives on without it) from damage (dead letter).
    """

    def __init__(self, message: str, *, keep: bool) -> None:
        super().__init__(message)
        self.keep = keep


class _Inner(msgspec.Struct, gc=False):
    schema: str
    data: msgspec.Raw


class _Contexts(msgspec.Struct, gc=False):
    data: list[_Inner]


class _Unstruct(msgspec.Struct, gc=False):
    data: _Inner


_Envelope = TypeVar("_Envelope", _Contexts, _Unstruct)

_CONTEXTS = msgspec.json.Decoder(_Contexts)
_UNSTRUCT = msgspec.json.Decoder(_Unstruct)


def entities(text: str) -> list[tuple[str, bytes]]:
    """Schema URI and JSON of every entity of `contexts` or `derived_contexts`, in their order.

    Several entities may have one schema (GitLab's experiments do). Raises EnvelopeError.
    """
    return [(entity.schema, bytes(entity.data)) for entity in _read(text, _CONTEXTS).data]


def self_describing(text: str) -> tuple[str, bytes]:
    """Schema URI and JSON of the data of an `unstruct_event`. Raises EnvelopeError."""
    inner = _read(text, _UNSTRUCT).data
    return inner.schema, bytes(inner.data)


def without_nul(piece: bytes) -> bytes:
    r"""The same JSON with U+FFFD for every `\u0000`, which neither ClickHouse's JSON nor PostgreSQL's stores."""
    if b"\\u0000" not in piece:
        return piece
    return _NULS.sub(lambda match: b"\\ufffd" if match[1] else match[0], piece)


def loads_exactly(piece: bytes) -> Any:
    """The value of a piece with integers of any size, for which orjson gives floats; slower."""
    return json.loads(piece, parse_constant=_refuse_constant)


def repairs(text: str) -> list[str]:
    """What had to be changed in a column to make it strict JSON, in words; usually nothing."""
    if _is_strict(text):
        return []
    found = []
    if _without_lone_surrogates(text) != text:
        found.append("a lone surrogate escape was replaced by U+FFFD")
    if _without_overflow(text) != text:
        found.append("a number beyond the range of a double was made a string")
    return found


def _read(text: str, decoder: "msgspec.json.Decoder[_Envelope]") -> _Envelope:
    """The envelope with its pieces as they stand. Raises EnvelopeError."""
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise EnvelopeError(f"JSON of more than {MAX_DEPTH} levels", keep=False)
    try:
        orjson.loads(text)  # refuses what a strict parser would, inside the pieces too
        return decoder.decode(text)
    except (orjson.JSONDecodeError, msgspec.DecodeError):
        return _read_again(text, decoder)


def _read_again(text: str, decoder: "msgspec.json.Decoder[_Envelope]") -> _Envelope:
    """Read a column that the quick way refused, repaired where that loses nothing. Raises EnvelopeError."""
    if text == MASKED:
        raise EnvelopeError("the value is masked", keep=True)
    repaired = _without_overflow(_without_lone_surrogates(text))
    try:
        value = orjson.loads(repaired)
    except orjson.JSONDecodeError as error:
        raise EnvelopeError(f"no valid JSON: {error.msg} at character {error.pos}", keep=False) from None
    if _is_empty(value):
        raise EnvelopeError("an envelope without data", keep=True)
    try:
        return decoder.decode(repaired)
    except msgspec.DecodeError as error:
        raise EnvelopeError(f"no self-describing JSON: {error}", keep=False) from None


def _is_strict(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_empty(value: Any) -> bool:
    """Whether an envelope holds nothing at all, rather than something wrong."""
    if value in (None, {}, MASKED):
        return True
    return isinstance(value, dict) and value.get("data") in (None, {}, MASKED)


def _without_lone_surrogates(text: str) -> str:
    if "\\" not in text:
        return text
    return _SURROGATES.sub(lambda match: "\\ufffd" if match[1] else match[0], text)


def _without_overflow(text: str) -> str:
    def quoted(match: re.Match[str]) -> str:
        token = match[0]
        return f'"{token}"' if token[0] != '"' and abs(float(token)) == float("inf") else token

    return _STRING_OR_NUMBER.sub(quoted, text)


def _depth(text: str) -> int:
    deepest = depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif match[2]:
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
