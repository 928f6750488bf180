"""Dead letters pass for Snowplow's bad rows, keep the record exactly, and can be read back."""

import json
import re
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.snowplow.bad_rows import bad_row, record_bytes, reread
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.parse import parse
from snowplow_posthog_dagster.snowplow.record import FieldError, Record, Rejected
from tests.snowplow.samples import line, read, record

PLACE = {"bucket": "archive", "key": "output/2022/06/06/04/x.gz", "object_id": "0123abcd", "day": date(2022, 6, 6)}
BADROWS = "iglu:com.snowplowanalytics.snowplow.badrows"


def row_of(rejected: object, **changes: Any) -> dict[str, Any]:
    """The dead letter after its way through a JSON line; it must have the shape that Iglu Central prescribes."""
    assert isinstance(rejected, Rejected), rejected
    row: dict[str, Any] = json.loads(json.dumps(bad_row(rejected, **{**PLACE, **changes}), ensure_ascii=False))
    assert_passes_for_a_bad_row(row)
    return row


def assert_passes_for_a_bad_row(row: dict[str, Any]) -> None:
    """The rules of loader_parsing_error 2-0-0 and size_violation 1-0-0 (neither allows a further field in `data`)."""
    data = row["data"]
    assert set(data) == {"processor", "failure", "payload"}
    assert isinstance(data["payload"], str)
    assert set(data["processor"]) == {"artifact", "version"}
    assert len(data["processor"]["artifact"]) <= 512
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", data["processor"]["version"])
    failure = data["failure"]
    if row["schema"] == f"{BADROWS}/size_violation/jsonschema/1-0-0":
        assert set(failure) == {"timestamp", "maximumAllowedSizeBytes", "actualSizeBytes", "expectation"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", failure["timestamp"])
        assert 0 <= failure["maximumAllowedSizeBytes"] < failure["actualSizeBytes"] <= 1 << 30
        assert len(failure["expectation"]) <= 256
        return
    assert row["schema"] == f"{BADROWS}/loader_parsing_error/jsonschema/2-0-0"
    assert failure["type"] in {"NotTSV", "FieldNumberMismatch", "RowDecodingError"}
    if failure["type"] == "FieldNumberMismatch":
        assert 0 <= failure["fieldCount"] <= 1024
    if failure["type"] == "RowDecodingError":
        assert failure["errors"]
        for error in failure["errors"]:
            keys = {
                "InvalidValue": {"type", "key", "value", "message"},
                "UnhandledRowDecodingError": {"type", "message"},
            }
            assert set(error) == keys[error["type"]]
            assert len(error.get("key", "")) <= 32


def test_a_line_without_tabs_is_not_tsv() -> None:
    row = row_of(read(b"// a comment\n")[0])
    assert row["data"]["failure"] == {"type": "NotTSV"}
    assert row["data"]["payload"] == "// a comment"


@pytest.mark.parametrize(("columns", "field_count"), [(2, 2), (130, 130), (132, 132), (5000, 1024)])
def test_a_wrong_number_of_columns_is_a_mismatch_with_the_number(columns: int, field_count: int) -> None:
    row = row_of(read(b"\t" * (columns - 1))[0])
    assert row["data"]["failure"] == {"type": "FieldNumberMismatch", "fieldCount": field_count}
    assert f"found {columns}" in row["reason"]


def test_field_errors_are_all_listed() -> None:
    row = row_of(parse(record(txn_id="abc", contexts="&&&")))
    assert row["data"]["failure"]["type"] == "RowDecodingError"
    assert [(error["key"], error["value"]) for error in row["data"]["failure"]["errors"]] == [
        ("txn_id", "abc"),
        ("contexts", "&&&"),
    ]
    assert row["reason"].startswith("RowDecodingError: txn_id: expected a whole number of 32 bits; contexts: ")


def test_an_error_of_the_whole_record_has_no_key() -> None:
    rejected = Rejected(0, 1, 0, line(), (FieldError(None, "", "the event has more than 900 KiB"),))
    assert row_of(rejected)["data"]["failure"]["errors"] == [
        {"type": "UnhandledRowDecodingError", "message": "the event has more than 900 KiB"}
    ]


def test_the_place_stands_beside_the_bad_row() -> None:
    bad = parse(record(txn_id="abc")._replace(ordinal=4, line=3, offset=2000))
    assert row_of(bad)["place"] == {
        "bucket": "archive",
        "key": "output/2022/06/06/04/x.gz",
        "object": "0123abcd",
        "day": "2022-06-06",
        "ordinal": 4,
        "line": 3,
        "offset": 2000,
    }


def test_a_record_that_is_too_long_is_a_size_violation_with_its_head() -> None:
    (rejected,) = records([line(page_title="x" * 50_000)], max_record_bytes=10_000)
    row = row_of(rejected)
    assert row["schema"] == f"{BADROWS}/size_violation/jsonschema/1-0-0"
    assert row["data"]["failure"]["maximumAllowedSizeBytes"] == 10_000
    assert row["data"]["failure"]["actualSizeBytes"] > 50_000
    assert len(row["data"]["payload"]) == 4096
    assert record_bytes(row) is None
    assert reread(row) is None
    row_of(rejected, bucket="", object_id="", day="")  # a file outside of an archive


@given(st.binary(max_size=300).map(lambda raw: raw.translate(None, b"\n\r")).filter(bool))
def test_the_bytes_of_the_record_come_back_exactly(raw: bytes) -> None:
    (rejected,) = read(raw)
    row = row_of(rejected)
    assert record_bytes(row) == raw
    assert reread(row) == rejected


def test_bytes_that_are_no_utf8_are_marked_and_others_are_readable() -> None:
    assert row_of(read(b"caf\xe9")[0])["payload_encoding"] == "base64"
    assert "payload_encoding" not in row_of(read("café".encode())[0])


def test_a_record_that_a_later_release_can_read_comes_back_as_a_record() -> None:
    original = record(txn_id="abc", page_title="é")._replace(ordinal=4, line=3, offset=2000)
    assert reread(row_of(parse(original))) == original


@pytest.mark.parametrize("secret", ["jane@example.com"])
def test_strict_privacy_writes_place_and_reason_and_no_value(secret: str) -> None:
    (long_one,) = records([line(page_title=secret * 5000)], max_record_bytes=10_000)
    for rejected in (
        parse(record(txn_id=secret, contexts=secret, user_id=secret, derived_tstamp=secret)),
        read(secret.encode())[0],
        read(line() + f"\t{secret}".encode())[0],
        long_one,
    ):
        row = row_of(rejected, payload=False)
        assert secret not in json.dumps(row)
        assert row["place"]["key"] == PLACE["key"]
        assert row["reason"]
        assert record_bytes(row) is None
        assert reread(row) is None


def test_the_same_record_gives_the_same_dead_letter() -> None:
    assert row_of(parse(record(txn_id="abc"))) == row_of(parse(record(txn_id="abc")))


def test_a_good_record_reread_is_one() -> None:
    rejected = Rejected(0, 1, 0, line(), (FieldError(None, "", "refused by an earlier release"),))
    assert isinstance(reread(row_of(rejected)), Record)
