"""Rejected records as dead letters, in the shape of Snowplow's own bad rows.

Users of Snowplow have tables for `loader_parsing_error` and `size_violation`, so a dead letter is such a row:
self-describing JSON whose `data` passes the schema of Iglu Central (version 2-0-0 and 1-0-0). Those schemas allow no
further field in `data`; what else is known (the place in the archive, the reason in words) therefore stands beside it:

    {"schema": "iglu:...", "data": {"processor", "failure", "payload"},
     "reason": "RowDecodingError: txn_id: expected a whole number of 32 bits",
     "place": {"bucket", "key", "object", "day", "ordinal", "line", "offset"}}

`payload` is the record itself, exactly. Bytes that are no UTF-8 are kept as base64, then `payload_encoding` says so.
Under strict privacy (`payload=False`) neither the record nor any offending value is written; replay then reads the
archive at `place`.

The same record gives the same bytes whenever it is written, so no clock is asked.
"""

import base64
from datetime import date
from typing import Any

from snowplow_posthog_dagster import __version__
from snowplow_posthog_dagster.snowplow.columns import COLUMN_COUNT
from snowplow_posthog_dagster.snowplow.lines import read_record
from snowplow_posthog_dagster.snowplow.record import FieldError, Record, Rejected, TooLong

LOADER_PARSING_ERROR = "iglu:com.snowplowanalytics.snowplow.badrows/loader_parsing_error/jsonschema/2-0-0"
SIZE_VIOLATION = "iglu:com.snowplowanalytics.snowplow.badrows/size_violation/jsonschema/1-0-0"

_PROCESSOR = {"artifact": "snowplow-posthog-dagster", "version": __version__}
_REASON_LENGTH = 1000
# Upper bounds of the schemas.
_LARGEST_FIELD_COUNT = 1024
_LARGEST_SIZE = 1 << 30
_LONGEST_KEY = 32
_LONGEST_EXPECTATION = 256


def bad_row(
    rejected: Rejected, *, bucket: str, key: str, object_id: str, day: date | str, payload: bool = True
) -> dict[str, Any]:
    """The dead letter of one rejected record, ready to be written as one line of JSON.

    `day` is the archive day, empty for a file outside of an archive. `payload=False` leaves out every value of the
    record (strict privacy).
    """
    too_long = rejected.too_long
    failure = _failure(rejected, payload=payload) if too_long is None else _size_violation(rejected, too_long, str(day))
    data: dict[str, Any] = {"processor": dict(_PROCESSOR), "failure": failure, "payload": ""}
    row: dict[str, Any] = {
        "schema": LOADER_PARSING_ERROR if too_long is None else SIZE_VIOLATION,
        "data": data,
        "reason": _reason(failure.get("type", "SizeViolation"), rejected.errors),
        "place": {
            "bucket": bucket,
            "key": key,
            "object": object_id,
            "day": str(day),
            "ordinal": rejected.ordinal,
            "line": rejected.line,
            "offset": rejected.offset,
        },
    }
    if payload:
        try:
            data["payload"] = rejected.raw.decode()
        except UnicodeDecodeError:
            data["payload"] = base64.b64encode(rejected.raw).decode()
            row["payload_encoding"] = "base64"
    return row


def record_bytes(row: dict[str, Any]) -> bytes | None:
    """The bytes of the record, None when the dead letter does not hold all of them (strict privacy, oversized)."""
    payload = row["data"]["payload"]
    if row["schema"] == SIZE_VIOLATION or not payload:
        return None
    return base64.b64decode(payload) if row.get("payload_encoding") == "base64" else payload.encode()


def reread(row: dict[str, Any]) -> Record | Rejected | None:
    """The record of a dead letter, as `lines.records` gives it; None when it must be read from the archive.

    A row of the wrong shape raises KeyError: it is none of ours.
    """
    raw = record_bytes(row)
    if raw is None:
        return None
    place = row["place"]
    return read_record(raw, place["ordinal"], place["line"], place["offset"])


def _failure(rejected: Rejected, *, payload: bool) -> dict[str, Any]:
    columns = rejected.raw.count(b"\t") + 1
    if columns == 1:
        return {"type": "NotTSV"}
    if columns != COLUMN_COUNT:
        return {"type": "FieldNumberMismatch", "fieldCount": min(columns, _LARGEST_FIELD_COUNT)}
    return {"type": "RowDecodingError", "errors": [_info(error, payload=payload) for error in rejected.errors]}


def _info(error: FieldError, *, payload: bool) -> dict[str, Any]:
    if error.column is None:
        return {"type": "UnhandledRowDecodingError", "message": error.message}
    return {
        "type": "InvalidValue",
        "key": error.column[:_LONGEST_KEY],
        "value": error.value if payload else "",
        "message": error.message,
    }


def _size_violation(rejected: Rejected, too_long: TooLong, day: str) -> dict[str, Any]:
    """`timestamp` is required there; the archive day stands for the time of the run, see the module.

    A file that lies in no archive (the CLI's pipes) has no day.
    """
    return {
        "timestamp": f"{day or '1970-01-01'}T00:00:00Z",
        "maximumAllowedSizeBytes": min(too_long.limit, _LARGEST_SIZE),
        "actualSizeBytes": min(too_long.size, _LARGEST_SIZE),
        "expectation": rejected.errors[0].message[:_LONGEST_EXPECTATION],
    }


def _reason(kind: str, errors: tuple[FieldError, ...]) -> str:
    """All errors in one line, without any value of the record."""
    words = "; ".join(f"{error.column}: {error.message}" if error.column else error.message for error in errors)
    return f"{kind}: {words}"[:_REASON_LENGTH]
