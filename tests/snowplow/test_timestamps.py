"""Timestamps: the forms that are read, the ones that are refused, and that the two ways agree."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.snowplow import timestamps
from snowplow_posthog_dagster.snowplow.timestamps import to_epoch_ms, to_iso, to_sdk


@pytest.mark.parametrize(
    ("text", "iso", "sdk"),
    [
        ("2013-11-26 00:03:57.886", "2013-11-26T00:03:57.886Z", "2013-11-26T00:03:57.886Z"),
        ("2013-11-26 00:03:57", "2013-11-26T00:03:57.000Z", "2013-11-26T00:03:57Z"),
        ("2013-11-26 00:03:57.8", "2013-11-26T00:03:57.800Z", "2013-11-26T00:03:57.8Z"),
        ("2013-11-26 00:03:57.886123", "2013-11-26T00:03:57.886Z", "2013-11-26T00:03:57.886123Z"),
        ("2013-11-26 00:03:57.886999999", "2013-11-26T00:03:57.886Z", "2013-11-26T00:03:57.886999999Z"),
        ("2013-11-26T00:03:57.886", "2013-11-26T00:03:57.886Z", "2013-11-26T00:03:57.886Z"),
        ("2013-11-26T00:03:57.886Z", "2013-11-26T00:03:57.886Z", "2013-11-26T00:03:57.886Z"),
        ("2013-11-26 00:03:57.88Z", "2013-11-26T00:03:57.880Z", "2013-11-26T00:03:57.88Z"),
        ("2013-11-26 00:03:57 UTC", "2013-11-26T00:03:57.000Z", "2013-11-26T00:03:57Z"),
        ("2013-11-26 00:03:57.886 UTC", "2013-11-26T00:03:57.886Z", "2013-11-26T00:03:57.886Z"),
        ("0000-02-29 00:00:00.000", "0000-02-29T00:00:00.000Z", "0000-02-29T00:00:00.000Z"),
        ("0001-01-01 00:00:00.000", "0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000Z"),
        ("1969-12-31 23:59:59.9999", "1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.9999Z"),
        ("9999-12-31 23:59:59.999", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_what_is_read(text: str, iso: str, sdk: str) -> None:
    assert to_iso(text) == iso
    assert to_sdk(text) == sdk
    assert to_epoch_ms(text) == to_epoch_ms(iso)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a timestamp",
        "yesterday",
        "1385424237886",
        "29th May 2013 18:04:12",
        "-2006-10-15 09:06:35.493",
        "+12006-10-15 09:06:35.493",
        "2013-02-30 00:00:00.000",
        "2013-13-01 00:00:00.000",
        "0000-02-30 00:00:00.000",
        "1900-02-29 00:00:00.000",
        "2013-11-26 24:00:00.000",
        "2013-11-26 23:60:00.000",
        "2013-11-26 23:59:60.000",
        "2013-11-26",
        "2013-11-26 00:03",
        "2013-11-26 00:03:57.",
        "2013-11-26 00:03:57.8861234567",
        "2013-11-26 00:03:57,886",
        "2013-11-26 00:03:57.886ZZ",
        "2013-11-26 00:03:57.886+00:00",
        "2013-11-26 00:03:57.-01",
        "2013-11-26  00:03:57.88",
        "2013-11-26_00:03:57.886",
        "2013-W48-2 00:03:57.886",
        "20131126 00:03:57.88612",
        "2013-11-26 00:03:57.886\r",
        "2013-11-26 00:03:57.886\n",
        " 2013-11-26 00:03:57.886",
        "٢٠١٣-11-26 00:03:57.886",
        "2013-11-26 00:03:57.٨٨٦",
        "2013-11-26 00:03:57.88²",
    ],
)
def test_what_is_refused(text: str) -> None:
    assert to_epoch_ms(text) is None
    assert to_iso(text) is None
    assert to_sdk(text) is None


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 9))
def test_every_time_of_every_precision_is_what_datetime_says(moment: datetime, digits: int) -> None:
    whole, fraction = moment.strftime("%H:%M:%S"), f"{moment.microsecond:06d}000"[:digits]
    text = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d} {whole}" + (f".{fraction}" if digits else "")
    kept = int(f"{fraction:0<3}"[:3]) if digits else 0
    seconds = moment.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)
    assert to_epoch_ms(text) == (seconds.days * 86_400 + seconds.seconds) * 1000 + kept


@given(st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-3][0-9][ T][0-2][0-9]:[0-6][0-9]:[0-6][0-9]\.[0-9]{3}", fullmatch=True))
def test_the_quick_way_and_the_pattern_agree(text: str) -> None:
    assert to_epoch_ms(text) == timestamps._by_pattern(text)


@given(st.text(alphabet="0123456789-:. TZUTCW+,", min_size=17, max_size=27) | st.text(max_size=30))
def test_whatever_the_text_the_answer_is_that_of_the_pattern(text: str) -> None:
    assert to_epoch_ms(text) == timestamps._by_pattern(text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01 00:00:00.000", 0),
        ("1969-12-31 23:59:59.999", -1),
        ("2013-11-26 00:03:57.886", 1_385_424_237_886),
        ("0000-01-01 00:00:00.000", -62_167_219_200_000),
        ("9999-12-31 23:59:59.999", 253_402_300_799_999),
    ],
)
def test_milliseconds_since_1970(text: str, milliseconds: int) -> None:
    assert to_epoch_ms(text) == milliseconds
