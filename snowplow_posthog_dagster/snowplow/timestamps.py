"""Snowplow timestamps: checked, and turned into what PostHog and the SDKs want.

Enrich writes `2022-06-06 04:29:38.123`, always UTC and always three decimals. Older data has no fraction, other tools
up to nine digits, and copies through other systems add a `T`, a `Z` or ` UTC`. All of these are read; everything else
is refused, also what the SDKs let through (`yesterday` -> `yesterdayZ`) and what `datetime.fromisoformat` allows
(weeks, commas, offsets, dates alone). Years run from 0 to 9999, as in Enrich.

Several timestamps are read for every event, so the usual form goes through `datetime.fromisoformat`, behind a check of
its shape (0.5 us against 1.8 us for the pattern). Everything else takes the pattern; a test holds the two together.
"""

import re
from datetime import date, datetime, timedelta

_PATTERN = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?(?:Z| UTC)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the texts carry no zone; all of them are UTC
_EPOCH_DAY = _EPOCH.toordinal()
_MILLISECOND = timedelta(milliseconds=1)
_DAY_MS = 86_400_000
_DAYS_IN_400_YEARS = 146_097


def to_epoch_ms(text: str) -> int | None:
    """Milliseconds since 1970-01-01 UTC (negative before), None when the text is no Snowplow timestamp.

    Digits beyond milliseconds are cut, not rounded: a rounded 23:59:59.9996 would move to the next day.
    """
    if _is_usual(text):
        try:
            return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
        except ValueError:
            pass  # no such day, or the year 0
    return _by_pattern(text)


def to_iso(text: str) -> str | None:
    """RFC 3339 with `Z` and exactly three decimals, None when the text is no Snowplow timestamp."""
    if to_epoch_ms(text) is None:
        return None
    if _is_usual(text):
        return f"{text[:10]}T{text[11:]}Z"
    return f"{text[:10]}T{text[11:19]}.{_fraction(text)[:3]:0<3}Z"


def to_sdk(text: str) -> str | None:
    """The form of the analytics SDKs: `T`, `Z`, and the fraction as it was written; None when invalid."""
    if to_epoch_ms(text) is None:
        return None
    fraction = _fraction(text)
    return f"{text[:10]}T{text[11:19]}.{fraction}Z" if fraction else f"{text[:10]}T{text[11:19]}Z"


def _is_usual(text: str) -> bool:
    """Whether the text has the shape `yyyy-mm-dd hh:mm:ss.SSS`; its digits may still be none."""
    return (
        len(text) == 23
        and text[4] == text[7] == "-"
        and text[10] in " T"
        and text[13] == text[16] == ":"
        and text[19] == "."
        and text[20:].isdigit()
    )


def _by_pattern(text: str) -> int | None:
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction = match.groups()
    days = _days_since_1970(int(year), int(month), int(day))
    if days is None:
        return None
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second)
    return days * _DAY_MS + seconds * 1000 + int(f"{fraction or '':0<3.3}")


def _days_since_1970(year: int, month: int, day: int) -> int | None:
    """Days of the proleptic Gregorian calendar, which repeats every 400 years: `date` knows no year 0."""
    cycles = 1 if year == 0 else 0
    try:
        ordinal = date(year + 400 * cycles, month, day).toordinal()
    except ValueError:
        return None
    return ordinal - _DAYS_IN_400_YEARS * cycles - _EPOCH_DAY


def _fraction(text: str) -> str:
    """The digits after the decimal point of a valid timestamp, without a zone."""
    return text[20:].removesuffix("Z").removesuffix(" UTC") if text[19:20] == "." else ""
