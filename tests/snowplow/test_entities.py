"""The JSON columns: pieces as they stand, safe to splice, with every digit."""

import json
import time
from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.snowplow.entities import (
    MAX_DEPTH,
    EnvelopeError,
    entities,
    loads_exactly,
    repairs,
    self_describing,
    without_nul,
)
from tests.snowplow.samples import contexts, unstruct

SCHEMA = "iglu:com.acme/thing/jsonschema/1-0-0"
OTHER = "iglu:com.acme/other/jsonschema/2-0-0"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def envelope_of(piece: str) -> str:
    return f'{{"schema":"iglu:x/contexts/jsonschema/1-0-0","data":[{{"schema":"{SCHEMA}","data":{piece}}}]}}'


def error_of(text: str) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as raised:
        entities(text)
    return raised.value


@given(st.lists(st.tuples(st.sampled_from([SCHEMA, OTHER]), values), max_size=5))
def test_entities_come_out_in_order_with_their_exact_values(given_entities: list[tuple[str, object]]) -> None:
    found = entities(contexts(*given_entities))
    assert [(schema, loads_exactly(piece)) for schema, piece in found] == given_entities


@given(values)
def test_self_describing_data_comes_out_with_its_exact_value(value: object) -> None:
    schema, piece = self_describing(unstruct(SCHEMA, value))
    assert (schema, loads_exactly(piece)) == (SCHEMA, value)


@given(st.text(max_size=60) | values.map(json.dumps) | values.map(lambda value: contexts((SCHEMA, value))[:-2]))
def test_any_text_is_read_or_refused_with_an_envelope_error(text: str) -> None:
    for read in (entities, self_describing):
        with suppress(EnvelopeError):
            read(text)


@pytest.mark.parametrize(
    "number", ["9007199254740993", "18446744073709551616", "123456789012345678901234567890", "0.10"]
)
def test_numbers_keep_every_digit(number: str) -> None:
    ((_, piece),) = entities(envelope_of(number))
    assert piece == number.encode()


def test_integers_beyond_64_bit_are_exact_when_loaded() -> None:
    ((_, piece),) = entities(envelope_of("123456789012345678901234567890"))
    assert loads_exactly(piece) == 123456789012345678901234567890


@pytest.mark.parametrize(
    ("piece", "repaired"),
    [
        (r'"\ud83d"', "\ufffd"),
        (r'"\uDE00 tail"', "\ufffd tail"),
        (r'"a\ud83d\ud83d\ude00"', "a\ufffd\U0001f600"),
        (r'"\\ud83d"', r"\ud83d"),
        (r'"\\\ud83d"', "\\\ufffd"),
        (r'{"\ud83d":1}', {"\ufffd": 1}),
    ],
)
def test_a_lone_surrogate_becomes_the_replacement_character(piece: str, repaired: object) -> None:
    ((_, found),) = entities(envelope_of(piece))
    assert orjson.loads(found) == repaired


@pytest.mark.parametrize("number", ["1e400", "-1E+400", "1" + "0" * 400])
def test_a_number_beyond_a_double_becomes_a_string_of_the_same_characters(number: str) -> None:
    ((_, piece),) = entities(envelope_of(f'{{"n":{number},"s":"1e400","u":1e-400}}'))
    assert orjson.loads(piece) == {"n": number, "s": "1e400", "u": 0.0}


def test_repairs_are_named() -> None:
    assert repairs(envelope_of('{"a":1}')) == []
    assert len(repairs(envelope_of(r'["\ud83d", 1e400]'))) == 2


@given(values)
def test_every_piece_is_accepted_by_a_strict_parser(value: object) -> None:
    for _, piece in entities(contexts((SCHEMA, value))):
        orjson.loads(piece)


@pytest.mark.parametrize(
    "text",
    [
        "masked",
        '"masked"',
        "{}",
        "null",
        '{"schema":"iglu:x/contexts/jsonschema/1-0-0"}',
        '{"schema":"iglu:x/contexts/jsonschema/1-0-0","data":null}',
        '{"schema":"x","data":{}}',
        ' { "data" : "masked" } ',
    ],
)
def test_an_envelope_that_holds_nothing_does_not_cost_the_event(text: str) -> None:
    assert error_of(text).keep
    with pytest.raises(EnvelopeError) as raised:
        self_describing(text)
    assert raised.value.keep


def test_no_entities_at_all_is_no_error() -> None:
    assert entities(contexts()) == []


@pytest.mark.parametrize(
    "text",
    [
        "&&&",
        "|%|",
        "MASKED?",
        "[]",
        "1",
        '"text"',
        '{"data":1}',
        '{"data":"text"}',
        '{"data":[1]}',
        '{"data":[null]}',
        '{"data":[{}]}',
        '{"data":[{"schema":"iglu:a/b/jsonschema/1-0-0"}]}',
        '{"data":[{"data":{}}]}',
        '{"data":[{"schema":1,"data":{}}]}',
        '{"data":[{"schema":null,"data":{}}]}',
        envelope_of("NaN"),
        envelope_of("-Infinity"),
        envelope_of("01"),
        envelope_of("'a'"),
        envelope_of('"a\x0bb"'),
        envelope_of(r'"\x"'),
        envelope_of("[1,]"),
        envelope_of("{}") + "x",
        envelope_of("{}")[:-1],
    ],
)
def test_damage_is_refused(text: str) -> None:
    error = error_of(text)
    assert not error.keep
    assert "&&&" not in str(error)


def test_nesting_is_read_up_to_what_strict_parsers_take_and_refused_beyond() -> None:
    allowed = MAX_DEPTH - 3  # the envelope is three levels
    ((_, piece),) = entities(envelope_of("[" * allowed + "]" * allowed))
    assert piece == b"[" * allowed + b"]" * allowed
    for depth in (allowed + 1, 2_000, 100_000):
        assert not error_of(envelope_of("[" * depth + "]" * depth)).keep


def test_many_shallow_entities_are_not_taken_for_deep_ones() -> None:
    text = contexts(*[(SCHEMA, {"list": [[number], "[[[{{{"]}) for number in range(300)])
    assert len(entities(text)) == 300


@pytest.mark.parametrize(
    ("piece", "cleaned"),
    [
        (rb'"a\u0000b"', rb'"a\ufffdb"'),
        (rb'"\\u0000"', rb'"\\u0000"'),
        (rb'"\\\u0000"', rb'"\\\ufffd"'),
        (b'"plain"', b'"plain"'),
    ],
)
def test_nul_is_replaced_and_an_escaped_backslash_before_it_is_not_mistaken(piece: bytes, cleaned: bytes) -> None:
    assert without_nul(piece) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        '{"data":"' + r"\"" * 1_000_000,
        '{"data":' + "[" * 2_000_000,
        '{"data":' + "9" * 2_000_000 + "}",
        "\\" * 2_000_000,
        '"' * 2_000_001,
        '{"data":[{"schema":"' + SCHEMA + '","data":' + "-" * 2_000_000,
    ],
    ids=["quotes", "brackets", "digits", "backslashes", "strings", "signs"],
)
def test_megabytes_of_damage_take_no_more_than_linear_time(text: str) -> None:
    start = time.process_time()
    assert not error_of(text).keep
    assert time.process_time() - start < 5
