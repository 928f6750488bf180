"""A whole record: its shape, every error of it, and on which side each error falls."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.snowplow.columns import COLUMNS, Kind
from snowplow_posthog_dagster.snowplow.parse import ParsedEvent, parse, to_json
from snowplow_posthog_dagster.snowplow.record import FieldError, Record, Rejected
from tests.snowplow.samples import SMALL, contexts, record, unstruct

WEB_PAGE = "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0"


def good(**columns: str) -> ParsedEvent:
    parsed = parse(record(**columns))
    assert isinstance(parsed, ParsedEvent), parsed
    return parsed


def errors(**columns: str) -> tuple[FieldError, ...]:
    parsed = parse(record(**columns))
    assert isinstance(parsed, Rejected), parsed
    return parsed.errors


def test_empty_columns_are_left_out_and_the_rest_is_typed() -> None:
    assert good(txn_id="41828", geo_latitude="37", br_cookies="1", se_value="1E+3").event == {
        **SMALL,
        "etl_tstamp": "2022-06-06T04:30:00.000Z",
        "collector_tstamp": "2022-06-06T04:29:38.123Z",
        "derived_tstamp": "2022-06-06T04:29:37.999Z",
        "txn_id": 41828,
        "geo_latitude": 37.0,
        "br_cookies": True,
        "se_value": 1000.0,
    }


def test_latitude_and_longitude_make_a_location_when_both_are_there() -> None:
    assert good(geo_latitude="37.443604", geo_longitude="-122.4124").event["geo_location"] == "37.443604,-122.4124"
    assert "geo_location" not in good(geo_latitude="37.443604").event


def test_entities_of_both_columns_are_joined_under_one_key_in_their_order() -> None:
    event = good(
        contexts=contexts((WEB_PAGE, {"id": 1}), (WEB_PAGE.replace("1-0-0", "1-0-5"), {"id": 2})),
        derived_contexts=contexts((WEB_PAGE, {"id": 3}), (WEB_PAGE.replace("1-0-0", "2-0-0"), {"id": 4})),
    ).event
    assert event["contexts_com_snowplowanalytics_snowplow_web_page_1"] == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert event["contexts_com_snowplowanalytics_snowplow_web_page_2"] == [{"id": 4}]


def test_self_describing_data_stands_under_the_name_of_its_schema() -> None:
    schema = "iglu:com.acme-corp/checkoutStep/jsonschema/1-0-0"
    assert good(unstruct_event=unstruct(schema, {"n": 1})).event["unstruct_event_com_acme_corp_checkout_step_1"] == {
        "n": 1
    }


def test_the_envelope_schema_is_not_looked_at() -> None:
    column = unstruct(WEB_PAGE, {"id": 1}).replace("/unstruct_event/", "/contexts/")
    assert "unstruct_event_com_snowplowanalytics_snowplow_web_page_1" in good(unstruct_event=column).event


def test_every_error_of_a_record_is_collected_with_column_value_and_expectation() -> None:
    found = errors(etl_tstamp="not_an_instant", txn_id="x" * 500, br_features_pdf="yes", contexts="&&&", event_id="no")
    assert [error.column for error in found] == ["etl_tstamp", "txn_id", "contexts", "br_features_pdf", "event_id"]
    assert found[0] == FieldError("etl_tstamp", "not_an_instant", "expected a timestamp yyyy-MM-dd HH:mm:ss.SSS")
    assert found[1].value == "x" * 200


def test_a_rejected_record_keeps_its_place_and_its_bytes() -> None:
    bad = record(txn_id="x")._replace(ordinal=7, line=5, offset=900)
    parsed = parse(bad)
    assert isinstance(parsed, Rejected)
    assert parsed[:4] == (7, 5, 900, bad.raw)


@pytest.mark.parametrize("column", [column for column in COLUMNS if column.kind is not Kind.TEXT], ids=lambda c: c.name)
def test_a_column_that_is_not_what_its_kind_says_rejects_the_record(column: object) -> None:
    name = getattr(column, "name")  # noqa: B009 - parametrize gives objects
    assert name in [error.column for error in errors(**{name: "not what it should be"})]


@pytest.mark.parametrize(
    "columns",
    [
        {"event_id": "not-a-uuid"},
        {"event_id": ""},
        {"v_collector": ""},
        {"v_etl": ""},
        {"collector_tstamp": ""},
        {"unstruct_event": "masked"},
        {"unstruct_event": "{}"},
        {"contexts": '{"schema":"iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0","data":null}'},
        {"derived_contexts": "null"},
        {"contexts": contexts((WEB_PAGE, 1)).replace(":1}", r':"\ud83d"}')},
        {"contexts": contexts((WEB_PAGE, 1)).replace(":1}", ":1e400}")},
    ],
)
def test_what_does_not_cost_the_event_is_noted_on_it(columns: dict[str, str]) -> None:
    (note,) = good(**columns).notes
    assert note.column == next(iter(columns))
    assert note.message


@pytest.mark.parametrize(
    "columns",
    [
        {"collector_tstamp": "", "derived_tstamp": ""},
        {"contexts": contexts(("com.acme/no/uri", {}))},
        {"unstruct_event": unstruct("iglu:com.acme/event/jsonschema/1", {})},
        {"unstruct_event": '{"data":{"schema":"iglu:com.acme/event/jsonschema/1-0-0"}}'},
        {"contexts": contexts((WEB_PAGE, 1)).replace(":1}", ":NaN}")},
        {"geo_latitude": "1e400"},
        {"domain_sessionidx": "2147483648"},
        {"true_tstamp": "yesterday"},
    ],
)
def test_what_cannot_be_used_rejects_the_record(columns: dict[str, str]) -> None:
    assert [error.column for error in errors(**columns)] == [next(iter(columns))]


def test_a_good_record_has_no_notes() -> None:
    assert good().notes == ()


def test_integers_beyond_64_bit_reach_the_json_line_exactly() -> None:
    column = contexts((WEB_PAGE, {"small": 1, "id": 123456789012345678901234567890}))
    line = to_json(good(contexts=column, page_title="é").event)
    assert b"123456789012345678901234567890" in line
    assert "é".encode() in line
    assert b"\n" not in line


@given(st.dictionaries(st.sampled_from([column.name for column in COLUMNS]), st.text(max_size=30), max_size=6))
def test_no_record_raises_and_every_good_one_is_strict_json(columns: dict[str, str]) -> None:
    fields = [columns.get(column.name, "") for column in COLUMNS]
    parsed = parse(Record(0, 1, 0, b"", fields))
    if isinstance(parsed, ParsedEvent):
        text = "".join(fields)
        if text.encode(errors="replace").decode() == text:  # records hold no surrogates, see lines
            assert json.loads(to_json(parsed.event)) == parsed.event
