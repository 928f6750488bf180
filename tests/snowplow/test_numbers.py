"""Numbers and booleans: what both SDKs read is read, what would be wrong data or no JSON is not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.snowplow.numbers import to_boolean, to_double, to_integer


@given(st.integers(-(2**31), 2**31 - 1))
def test_every_java_integer_is_read(number: int) -> None:
    assert to_integer(str(number)) == number


@pytest.mark.parametrize(("text", "number"), [("007", 7), ("-0", 0), ("+5", 5)])
def test_integers_in_unusual_form_are_read_as_both_sdks_do(text: str, number: int) -> None:
    assert to_integer(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "+",
        "--1",
        "2147483648",
        "-2147483649",
        "1_000",
        " 3",
        "3 ",
        "3\r",
        "3.0",
        "1e3",
        "٣",
        "²",
        "0x10",
        "NaN",
        "not_an_integer",
        "\\N",
        "9" * 5000,
    ],
)
def test_what_is_no_integer(text: str) -> None:
    assert to_integer(text) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_double_is_read(number: float) -> None:
    assert to_double(repr(number)) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("1E+3", 1000.0), ("1.0E-5", 1e-05), ("37", 37.0), (".5", 0.5), ("5.", 5.0), ("+2.5", 2.5), (" 1.5 ", 1.5)],
)
def test_doubles_as_enrich_and_java_write_them(text: str, number: float) -> None:
    assert to_double(text) == number
    assert math.isfinite(number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".",
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "1e400",
        "-1e400",
        "1_000.5",
        "1,5",
        "0x1p3",
        "1d",
        "1f",
        "١.٢",
        "e5",
        "not_a_double",
        "9" * 500,
    ],
)
def test_what_is_no_double(text: str) -> None:
    assert to_double(text) is None


@given(st.text(max_size=20))
def test_a_double_is_never_infinite_or_nan(text: str) -> None:
    number = to_double(text)
    assert number is None or math.isfinite(number)


def test_booleans_are_one_and_zero_and_nothing_else() -> None:
    assert to_boolean("1") is True
    assert to_boolean("0") is False
    for text in ("", "true", "t", "T", "2", "01", " 1", "١", "not_a_boolean"):
        assert to_boolean(text) is None
