"""Nothing that would poison a body comes out, and what is good is what the parser says is good."""

import json
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.snowplow.columns import COLUMNS, Kind
from snowplow_posthog_dagster.snowplow.parse import parse
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from tests.mapping.support import WEB_PAGE, event, mapped, mapper, outcome, properties
from tests.snowplow.samples import contexts, record

LINES = Path(__file__).parents[1] / "snowplow" / "data" / "rdb_loader_lines.tsv"
MAPPING = mapper().for_object(object_id="0" * 32, archive_day="2022-06-06")
ODD = ["", "0", "1", "7", "-3", "+5", "007", "2147483647", "2147483648", "9" * 30, "1.5", "-0.0", "1E-5", "1e400",
       "nan", "inf", "1_000", " 3", "3 ", "٣", "0x10", "true", "2022-06-06 04:00:00", "2022-06-06 04:00:00.123",
       "2022-02-30 04:00:00.123",
       "2022-06-06T04:00:00.123Z", "0000-01-01 00:00:00.000", "2022-06-06 24:00:00.000",
       "2022-06-06 04:00:00.1234567890", "masked",
       "{}", "&&&", "\x00", "1\x00", "2022-06-06 04:00:00.\x0023"]  # fmt: skip
TYPED = [column.name for column in COLUMNS if column.kind is not Kind.TEXT]


@given(st.dictionaries(st.sampled_from(TYPED), st.sampled_from(ODD), max_size=5))
@example({"derived_tstamp": "2022-06-06 04:29:37.9990", "true_tstamp": "022-06-06 04:29:37.999"})
def test_the_parser_and_the_mapping_agree_on_what_is_good(columns):
    made = record(**columns)
    verdict, found = parse(made), MAPPING(made)
    if isinstance(verdict, Rejected):
        assert found == verdict
    elif isinstance(found, Rejected):  # only for want of a time between 2000 and 2100
        assert [error.column for error in found.errors] == ["collector_tstamp"]
    else:
        assert isinstance(found, Mapped)
        assert_typed_alike(made, verdict.event)


def assert_typed_alike(made: Record, parsed):
    mapped_again = MAPPING(made)
    assert isinstance(mapped_again, Mapped)
    found = orjson.loads(mapped_again.event)["properties"]
    for name in ("txn_id", "doc_width", "se_value", "tr_total", "br_cookies", "dvce_ismobile"):
        assert found.get(name) == parsed.get(name), name


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "NaN", "Infinity", "-Infinity"])
def test_numbers_that_strict_parsers_refuse_never_come_out(number):
    text = contexts((WEB_PAGE, {"id": "p", "n": "NUMBER"})).replace('"NUMBER"', number)
    found = outcome(contexts=text)
    if isinstance(found, Mapped):
        assert (
            orjson.loads(found.event)["properties"]["contexts_com_snowplowanalytics_snowplow_web_page_1"][0]["n"]
            == number
        )
        assert "json_repaired" in found.notes
    else:
        assert number[-1] in "Ny"
    assert isinstance(outcome(se_value=number), Rejected) or len(number) == 400


@pytest.mark.parametrize("escape", [r"\ud83d", r"\udc00", r"\ud83d\ud83d", r"a\ud83d\n"])
def test_lone_surrogates_become_the_replacement_character(escape):
    text = contexts((WEB_PAGE, {"id": "HERE"})).replace("HERE", escape)
    made = mapped(contexts=text)
    assert "json_repaired" in made.notes
    assert "\ufffd" in made.event.decode()


def test_nul_becomes_the_replacement_character_everywhere():
    text = contexts((WEB_PAGE, {"id": "a\x00b", "k\x00": 1}))
    made = mapped(
        contexts=text, user_id="u\x00v", page_title="\x00", page_urlquery="utm_source=%00", os_timezone="a%00"
    )
    assert b"\\u0000" not in made.event
    assert b"\x00" not in made.event
    assert orjson.loads(made.event)["distinct_id"] == "u\ufffdv"


def test_a_backslash_before_u0000_is_no_nul():
    found = properties(entities=[(WEB_PAGE, {"id": r"\u0000"})])
    assert found["$pageview_id"] == r"\u0000"


def test_control_characters_that_snowplow_lets_through_are_kept():
    title = "a\u2028b\x0b\x1c\u0085\x7f"
    assert properties(page_title=title)["title"] == title


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


def containers(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)


@given(st.recursive(SCALARS, containers, max_leaves=12))
def test_what_an_entity_holds_comes_out_as_it_went_in(data):
    text = json.dumps({"data": [{"schema": "iglu:a/b/jsonschema/1-0-0", "data": {"value": data}}]}, ensure_ascii=False)
    made = outcome(contexts=text)
    assert isinstance(made, Mapped), made
    found = json.loads(made.event)["properties"]["contexts_a_b_1"][0]["value"]
    assert found == without_nul(data)


def without_nul(value):
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return list(map(without_nul, value))
    if isinstance(value, dict):
        return {without_nul(key): without_nul(inner) for key, inner in value.items()}
    return value


def test_all_errors_of_a_record_are_reported():
    found = outcome(txn_id="x", geo_latitude="y", br_cookies="2", contexts="&&&")
    assert isinstance(found, Rejected)
    assert {error.column for error in found.errors} == {"txn_id", "geo_latitude", "br_cookies", "contexts"}


def test_the_oldest_form_of_a_record_is_mapped():
    assert event(v_collector="", v_etl="", event_id="")["event"] == "$pageview"


DAMAGE = [b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", rb"\ud83d", rb"\u0000", b"1e400", b"null", b"\x00", b"\xff",
          b"9" * 25, b"9" * 400, b"NaN", b"e", b"-", b"\xe2\x80\xa8", b"\r"]  # fmt: skip


def damaged_lines(count):
    """Real lines with bytes put in, taken out and replaced at random; the same ones every time."""
    chance = random.Random(7)
    lines = [line for line in LINES.read_bytes().split(b"\n") if line.count(b"\t") == 130]
    for _ in range(count):
        line = bytearray(chance.choice(lines))
        for _ in range(chance.randint(1, 3)):
            place, removed = chance.randrange(len(line)), chance.randint(0, 1)
            if line[place] != ord("\t"):
                line[place : place + removed] = chance.choice([b"", *DAMAGE])
        yield bytes(line)


def test_damaged_lines_are_judged_as_the_parser_judges_them():
    verdicts = Counter()
    for line in damaged_lines(1_500):
        made = Record(0, 1, 0, line, line.decode(errors="replace").split("\t"))
        verdict, found = parse(made), MAPPING(made)
        if isinstance(verdict, Rejected):
            assert found == verdict
        elif isinstance(found, Mapped):
            properties_of(found, but_not_less_than=verdict.event)
        verdicts[type(found).__name__] += 1
    assert verdicts["Mapped"] > 300
    assert verdicts["Rejected"] > 300


def properties_of(found: Mapped, *, but_not_less_than):
    sent = orjson.loads(found.event)["properties"]
    from_json = ("contexts_", "unstruct_event_")
    carried = {name for name, value in but_not_less_than.items() if name.startswith(from_json) and value}
    assert carried <= set(sent)
