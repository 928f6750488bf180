"""What passes from the reader of lines to whoever wants the events: a record, or why there is none.

NamedTuples, because one is made for every line of the archive: 0.3 us each, a third of a frozen dataclass.
"""

from typing import NamedTuple


class FieldError(NamedTuple):
    """One thing that is wrong with a record."""

    column: str | None  # name of the column, None when the whole line is at fault
    value: str  # the offending value, cut to 200 characters
    message: str  # what was expected


class Record(NamedTuple):
    """One line of 131 columns. The types of the columns are not checked yet."""

    ordinal: int  # 0-based number of the record in its object (counts good and bad)
    line: int  # 1-based physical line
    offset: int  # byte offset of the record in the inflated object
    raw: bytes  # the record's bytes without the newline
    fields: list[str]  # the 131 columns, decoded (invalid UTF-8 -> U+FFFD)


class TooLong(NamedTuple):
    """Why only the head of a record was kept."""

    size: int  # bytes that the record has
    limit: int  # bytes that it may have


class Rejected(NamedTuple):
    """A record that cannot be used; it becomes a dead letter."""

    ordinal: int
    line: int
    offset: int
    raw: bytes  # only the first 4 KiB of a record that is too long
    errors: tuple[FieldError, ...]
    too_long: TooLong | None = None


VALUE_LENGTH = 200
"""Characters of an offending value that a `FieldError` keeps; the record itself is kept whole beside it."""


def field_error(column: str | None, value: str, message: str) -> FieldError:
    """A `FieldError` whose value is cut to 200 characters."""
    return FieldError(column, value[:VALUE_LENGTH], message)
