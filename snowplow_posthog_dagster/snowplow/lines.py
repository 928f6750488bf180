"""Inflated bytes in, records out: the hot path of the source.

A chunk is split on the newline byte as a whole and every line on the tab, nothing else: Enrich quotes and escapes
nothing, and JSON or page titles may hold quotes, lone CRs, U+2028 or U+0085, on which `csv`, text mode and
`str.splitlines` tear lines apart. Lines are decoded one by one: decoding a chunk first costs twice as much, because a
single wide character widens all of it (reference: 4.2 against 1.9 us a line).

What a line can be:

* 131 columns: a record. Their types are not looked at here.
* 130 * N + 1 columns: N records whose newlines Firehose left out (`glued`). The last column of one and the first of
  the next share a field, `true_tstamp` directly before `app_id`.
* nothing but an optional CR: blank, counted and skipped.
* anything else: `Rejected`, with the number of columns.

Memory is bounded by `max_record_bytes`. A line beyond it is either a whole Firehose object without newlines, and is
then taken apart as it streams by, or one monstrous record, and then only its head is kept.

A CR before the newline belongs to the newline. Invalid UTF-8 becomes U+FFFD, as in Snowplow's own loaders, and is
counted. When the chunks end with an exception (a truncated gzip), every complete line before it has been yielded and
the torn one never is.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from snowplow_posthog_dagster.snowplow.columns import COLUMN_COUNT, OLDER_LAYOUTS
from snowplow_posthog_dagster.snowplow.record import FieldError, Record, Rejected, TooLong, field_error

MAX_RECORD_BYTES = 16 * 1024 * 1024
"""Kinesis refuses records above 10 MiB and Firehose above 1,000 KiB, so a longer one is damage."""

HEAD_BYTES = 4096
"""What is kept of a record that is too long."""

_LAST = COLUMN_COUNT - 1
_COLUMNS_BEFORE_BOUNDARY = re.compile(rb"(?:[^\t]*+\t){%d}" % _LAST)
_BOUNDARY_TSTAMP = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.(\d{1,9}))?")
_TIMESTAMP_COLUMNS = (2, 3, 4, 119, 124)


@dataclass
class Lines:
    """Counts of what was read, growing while `records` is iterated (`physical` once a chunk)."""

    physical: int = 0  # lines as they stand in the object, blank ones included
    glued: int = 0  # lines that held more than one record
    blank: int = 0
    invalid_utf8: int = 0  # records in which bytes were replaced by U+FFFD


class _Piece(NamedTuple):
    """Part of a line of more than `max_record_bytes`; the newline came when it is the `last`."""

    data: bytes
    last: bool


def records(
    chunks: Iterable[bytes], *, max_record_bytes: int = MAX_RECORD_BYTES, lines: Lines | None = None
) -> Iterator[Record | Rejected]:
    """Yield every record of one object, good and bad, in order.

    `chunks` are the inflated bytes in pieces of any size. However they are cut, the same records come out. Raises
    nothing of its own; an exception of `chunks` passes through.
    """
    counted = Lines() if lines is None else lines
    ordinal = number = offset = 0
    long_line: _LongLine | None = None
    for found in _ended_lines(chunks, max_record_bytes):
        if isinstance(found, _Piece):
            if long_line is None:
                long_line = _LongLine(ordinal, number + 1, offset, max_record_bytes, counted)
            yield from long_line.feed(found.data)
            if found.last:
                yield from long_line.end()
                ordinal, offset, number = long_line.ordinal, long_line.next_offset + 1, number + 1
                long_line = None
            continue
        for raw in found:
            number += 1
            try:
                fields = raw.decode().split("\t")
            except UnicodeDecodeError:
                fields = []
            size = len(raw)
            if len(fields) == COLUMN_COUNT and size <= max_record_bytes and raw[-1] != 13:  # 13 is CR
                yield Record(ordinal, number, offset, raw, fields)
                ordinal += 1
            else:
                for record in _unusual(raw, ordinal, number, offset, max_record_bytes, counted):
                    yield record
                    ordinal += 1
            offset += size + 1
        counted.physical = number
    counted.physical = number


def read_record(raw: bytes, ordinal: int, line: int, offset: int, lines: Lines | None = None) -> Record | Rejected:
    """One record from its own bytes, which hold no newline: replay reads dead letters back with this."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        if lines is not None:
            lines.invalid_utf8 += 1
        text = raw.decode(errors="replace")
    fields = text.split("\t")
    if len(fields) == COLUMN_COUNT:
        return Record(ordinal, line, offset, raw, fields)
    return Rejected(ordinal, line, offset, raw, (_wrong_count(len(fields), text),))


def _ended_lines(chunks: Iterable[bytes], max_record_bytes: int) -> Iterator[list[bytes] | _Piece]:
    """The lines that ended in each chunk, the last one of the object whether or not a newline follows it.

    At most `max_record_bytes` of a line wait for its end; what comes after that is handed on in pieces.
    """
    held: list[bytes] = []
    held_bytes = 0
    streaming = False
    for chunk in chunks:
        ended, unfinished = _split(chunk)
        if streaming and ended:
            yield _Piece(ended.pop(0), last=True)
            streaming = False
        elif held and ended:
            ended[0] = b"".join((*held, ended[0]))
            held, held_bytes = [], 0
        yield ended
        if streaming:
            yield _Piece(unfinished, last=False)
        elif unfinished:
            held.append(unfinished)
            held_bytes += len(unfinished)
            if held_bytes > max_record_bytes:
                yield _Piece(b"".join(held), last=False)
                held, held_bytes, streaming = [], 0, True
    if streaming:
        yield _Piece(b"", last=True)
    elif held:
        yield [b"".join(held)]


def _split(chunk: bytes) -> tuple[list[bytes], bytes]:
    """The lines of a chunk and what follows the last newline; `split` looks at every byte, `find` at 32 at once."""
    lines: list[bytes] = []
    find, start = chunk.find, 0
    while (end := find(b"\n", start)) >= 0:
        lines.append(chunk[start:end])
        start = end + 1
    return lines, chunk[start:]


def _unusual(
    raw: bytes, ordinal: int, line: int, offset: int, max_record_bytes: int, counted: Lines
) -> Iterator[Record | Rejected]:
    """The records of a line that is not simply 131 columns of UTF-8."""
    if len(raw) > max_record_bytes:
        long_line = _LongLine(ordinal, line, offset, max_record_bytes, counted)
        yield from long_line.feed(raw)
        yield from long_line.end()
        return
    body = raw.removesuffix(b"\r")
    if not body:
        counted.blank += 1
        return
    columns = body.count(b"\t") + 1
    start = 0
    if columns > COLUMN_COUNT and columns % _LAST == 1:
        counted.glued += 1
        while (cut := _next_record(body, start)) is not None:
            yield read_record(body[start:cut], ordinal, line, offset + start, counted)
            ordinal += 1
            start = cut
    yield read_record(body[start:], ordinal, line, offset + start, counted)


def _wrong_count(count: int, text: str) -> FieldError:
    if count == 1:
        return field_error(None, text, f"expected {COLUMN_COUNT} columns, found no tab at all")
    hint = f" ({OLDER_LAYOUTS[count]})" if count in OLDER_LAYOUTS else ""
    return field_error(None, text, f"expected {COLUMN_COUNT} columns, found {count}{hint}")


def _next_record(raw: bytes, start: int) -> int | None:
    """Where the record after the one at `start` begins in a line that has come whole; None for its last record."""
    columns = _COLUMNS_BEFORE_BOUNDARY.match(raw, start)
    if columns is None or raw.find(b"\t", columns.end()) < 0:
        return None
    return _cut_boundary(raw, start, columns.end())


def _cut_boundary(raw: bytes, start: int, boundary: int) -> int:
    """Where the next record begins within the field at `boundary`, the last of the record at `start`.

    The field is `true_tstamp + app_id`; the first is empty or a timestamp. How many decimals belong to it is ambiguous
    when the app_id begins with a digit; Enrich writes all timestamps of a row alike, so the row's other timestamps
    decide.
    """
    tstamp = _BOUNDARY_TSTAMP.match(raw, boundary)
    if tstamp is None:
        return boundary
    if tstamp[1] is None:
        return tstamp.end()
    return tstamp.start(1) + min(len(tstamp[1]), _decimals(raw[start:boundary]))


def _decimals(record: bytes) -> int:
    """Digits after the decimal point in the timestamps of a record; 3 when it has none, as Enrich writes them."""
    fields = record.split(b"\t")
    return max((len(fields[i].partition(b".")[2]) for i in _TIMESTAMP_COLUMNS), default=0) or 3


class _LongLine:
    """One physical line of more than `max_record_bytes`, taken apart while it streams by.

    Whether such a line has 130 * N + 1 columns is known only at its end, so it is cut after each boundary field and
    the rest is judged when the line ends. A single record that is too long ends the matter: where the next one begins
    cannot be told from damage, so the rest of the line is passed over and only its size is counted.
    """

    def __init__(self, ordinal: int, line: int, offset: int, max_record_bytes: int, counted: Lines) -> None:
        self.ordinal = ordinal  # of the next record
        self.next_offset = offset  # of the byte after everything that was fed
        self._line = line
        self._limit = max_record_bytes
        self._counted = counted
        self._buffer = b""
        self._is_glued = False
        self._head: bytes | None = None  # of the record that is too long
        self._head_offset = 0

    def feed(self, piece: bytes) -> Iterator[Record | Rejected]:
        """Take the next bytes of the line and yield the records that are complete."""
        self.next_offset += len(piece)
        if self._head is not None:
            return
        self._buffer += piece
        base = self.next_offset - len(self._buffer)
        start = 0
        cut, too_long = self._look(start)
        while cut is not None and not too_long:
            self._counted.glued += not self._is_glued
            self._is_glued = True
            yield read_record(self._buffer[start:cut], self.ordinal, self._line, base + start, self._counted)
            self.ordinal += 1
            start = cut
            cut, too_long = self._look(start)
        self._buffer = self._buffer[start:]
        if too_long:
            self._keep_head()

    def end(self) -> Iterator[Record | Rejected]:
        """Yield what is left when the line has ended."""
        if self._head is None and len(self._buffer) > self._limit:
            self._keep_head()
        if self._head is not None:
            yield self._rejected(self._head)
        else:
            rest = self._buffer.removesuffix(b"\r")
            yield read_record(rest, self.ordinal, self._line, self.next_offset - len(self._buffer), self._counted)
        self.ordinal += 1

    def _look(self, start: int) -> tuple[int | None, bool]:
        """Where the record after the one at `start` begins, if that is known, and whether this one is too long.

        What is too long now is so whatever comes later, and what is not is found out later: where the bytes were cut
        into pieces makes no difference. The boundary field has a limit of its own, because how much of it belongs to
        this record is known only at its end.
        """
        columns = _COLUMNS_BEFORE_BOUNDARY.match(self._buffer, start)
        if columns is None:
            return None, len(self._buffer) - start > self._limit
        boundary = columns.end()
        boundary_end = self._buffer.find(b"\t", boundary)
        if boundary_end < 0:
            return None, max(boundary - start, len(self._buffer) - boundary) > self._limit
        cut = _cut_boundary(self._buffer, start, boundary)
        return cut, max(cut - start, boundary_end - boundary) > self._limit

    def _keep_head(self) -> None:
        """Give up the record at the start of the buffer and the rest of its line."""
        self._head = self._buffer[: min(HEAD_BYTES, self._limit)]  # not more, however much came at once
        self._head_offset = self.next_offset - len(self._buffer)
        self._buffer = b""

    def _rejected(self, head: bytes) -> Rejected:
        size = self.next_offset - self._head_offset
        error = FieldError(None, str(size), f"a record may have {self._limit} bytes, this line has {size} from here on")
        return Rejected(
            self.ordinal, self._line, self._head_offset, head, (error,), TooLong(size=size, limit=self._limit)
        )
