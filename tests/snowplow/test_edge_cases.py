"""Every file of the edge cases does what its manifest says."""

import json
from collections.abc import Iterator

import orjson
import pytest

from snowplow_posthog_dagster.errors import BrokenObjectError
from snowplow_posthog_dagster.snowplow.columns import INDEX
from snowplow_posthog_dagster.snowplow.lines import Lines, records
from snowplow_posthog_dagster.snowplow.parse import ParsedEvent, parse, to_json
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from snowplow_posthog_dagster.storage.inflate import inflate
from tests.snowplow.samples import EDGE_CASES, edge_case, line, read, unstruct

MANIFEST = {entry["file"]: entry for entry in json.loads((EDGE_CASES / "manifest.json").read_bytes())}
GOOD_EVENTS = {
    "newline_terminated.tsv": 3,
    "no_trailing_newline.tsv": 3,
    "crlf.tsv": 3,
    "glued_empty_true_tstamp.tsv": 3,
    "glued_with_true_tstamp.tsv": 3,
    "empty.tsv": 0,
    "control_chars.tsv": 1,
    "invalid_utf8.tsv": 1,
    "quotes.tsv": 2,
    "json_big_int.tsv": 1,
    "schema_names.tsv": 1,
    "masked_unstruct.tsv": 1,
    "duplicates.tsv": 5,
    "ok.gz": 3,
    "multi_member.gz": 3,
    "empty.gz": 0,
}
REJECTED = {"columns_108.tsv": 108, "columns_130.tsv": 130, "columns_132.tsv": 132, "rstripped_130.tsv": 130}
OWN_TEST = {"tstamp_formats.tsv", "truncated.gz", "oversized_event.tsv"}


def inflated(name: str) -> Iterator[bytes]:
    return inflate([(EDGE_CASES / name).read_bytes()])


def event(name: str, number: int = 0) -> ParsedEvent:
    found = edge_case(name)[number]
    assert isinstance(found, Record)
    parsed = parse(found)
    assert isinstance(parsed, ParsedEvent)
    return parsed


def test_no_file_of_the_manifest_is_forgotten() -> None:
    assert set(MANIFEST) == {*GOOD_EVENTS, *REJECTED, *OWN_TEST}


@pytest.mark.parametrize("name", GOOD_EVENTS)
def test_good_files_give_their_events(name: str) -> None:
    outcomes = [parse(found) if isinstance(found, Record) else found for found in records(inflated(name))]
    assert all(isinstance(outcome, ParsedEvent) for outcome in outcomes)
    assert len(outcomes) == GOOD_EVENTS[name]
    for outcome in outcomes:
        assert isinstance(outcome, ParsedEvent)
        orjson.loads(to_json(outcome.event))


@pytest.mark.parametrize("name", ["newline_terminated.tsv", "no_trailing_newline.tsv", "crlf.tsv"])
def test_the_end_of_a_line_leaves_no_trace_in_the_last_column(name: str) -> None:
    for found in edge_case(name):
        assert isinstance(found, Record)
        assert found.fields[INDEX["true_tstamp"]] == "2013-11-26 00:03:57.886"


@pytest.mark.parametrize(
    ("name", "true_tstamp"),
    [("glued_empty_true_tstamp.tsv", ""), ("glued_with_true_tstamp.tsv", "2013-11-26 00:03:57.886")],
)
def test_glued_records_get_their_own_first_and_last_column_back(name: str, true_tstamp: str) -> None:
    counted = Lines()
    found = list(records(inflated(name), lines=counted))
    for number, record in enumerate(found):
        assert isinstance(record, Record)
        assert record.fields[INDEX["app_id"]] == "angry-birds"
        assert record.fields[INDEX["event_id"]] == f"00000000-0000-4000-8000-{number:012d}"
        assert record.fields[INDEX["true_tstamp"]] == true_tstamp
    assert (counted.physical, counted.glued) == (1, 1)


@pytest.mark.parametrize(("name", "columns"), REJECTED.items())
def test_a_wrong_number_of_columns_is_rejected_and_named(name: str, columns: int) -> None:
    (found,) = edge_case(name)
    assert isinstance(found, Rejected)
    assert f"found {columns}" in found.errors[0].message


def test_control_characters_stay_in_their_field() -> None:
    assert event("control_chars.tsv").event["page_title"] == "a\x0bb\x0cc\x1cd\x1ee\x00f"


def test_invalid_utf8_is_replaced_and_the_record_kept() -> None:
    title = event("invalid_utf8.tsv").event["page_title"]
    assert title.startswith("caf�")
    assert title.encode()


def test_quotes_are_characters_like_others() -> None:
    assert event("quotes.tsv").event["page_title"] == 'He said "hi"'
    assert event("quotes.tsv").event["useragent"] == "\"Mozilla/5.0 'x' (quoted"


def test_timestamps_are_read_in_the_documented_forms_and_refused_in_others() -> None:
    outcomes = [parse(found) for found in edge_case("tstamp_formats.tsv") if isinstance(found, Record)]
    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Rejected)] == [10, 11, 12, 13]
    derived = [outcome.event.get("derived_tstamp") for outcome in outcomes if isinstance(outcome, ParsedEvent)]
    assert derived == [
        "2013-11-26T00:03:57Z",
        "2013-11-26T00:03:57.8Z",
        "2013-11-26T00:03:57.886Z",
        "2013-11-26T00:03:57.886123Z",
        "2013-11-26T00:03:57.886123456Z",
        "2013-11-26T00:03:57.886Z",
        "2013-11-26T00:03:57.886Z",
        "0001-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.000Z",
        "9999-12-31T23:59:59.999Z",
        None,
    ]


def test_big_integers_are_exact_and_a_lone_surrogate_is_replaced() -> None:
    parsed = event("json_big_int.tsv")
    ((entity,),) = [value for key, value in parsed.event.items() if key.startswith("contexts_")]
    assert entity == {
        "id": 9007199254740993,
        "f": 0.1,
        "nested": {"a": [{"b": None}]},
        "emoji": "\U0001f600",
        "lone": "\ufffd",
    }
    assert [note.column for note in parsed.notes] == ["contexts"]


def test_schema_names_become_keys_of_underscores() -> None:
    keys = [key for key in event("schema_names.tsv").event if key.startswith("contexts_")]
    assert keys == [
        "contexts_com_acme_corp_x_my_entity_1",
        "contexts_org_w3_performance_navigation_timing_1",
        "contexts_com_urbanairship_connect_open_1",
        "contexts_com_acme_user_idcontext_2",
    ]


def test_a_masked_event_is_kept_and_the_field_error_noted() -> None:
    parsed = event("masked_unstruct.tsv")
    assert [(note.column, note.value) for note in parsed.notes] == [("unstruct_event", "masked")]
    assert parsed.event["event_name"] == "submit_form"
    assert not [key for key in parsed.event if key.startswith("unstruct_event_")]


def test_duplicates_are_all_read_what_is_one_event_is_not_decided_here() -> None:
    assert len({event("duplicates.tsv", number).event["event_id"] for number in range(5)}) == 1


def test_an_event_of_more_than_a_megabyte_is_read() -> None:
    blob = line(unstruct_event=unstruct("iglu:com.acme/blob/jsonschema/1-0-0", {"b": "x" * 1_200_000}))
    (found,) = read(blob + b"\n")
    assert isinstance(found, Record)
    parsed = parse(found)
    assert isinstance(parsed, ParsedEvent)
    assert len(parsed.event["unstruct_event_com_acme_blob_1"]["b"]) == 1_200_000


def test_a_truncated_file_gives_its_complete_lines_and_then_says_that_it_is_broken() -> None:
    stream = records(inflated("truncated.gz"))
    found: list[Record | Rejected] = []
    with pytest.raises(BrokenObjectError):
        found.extend(stream)
    assert len(found) > 0
    assert all(isinstance(record, Record) for record in found)
