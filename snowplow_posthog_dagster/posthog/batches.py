r"""Batches: up to 2,000 PostHog events in one gzip'd JSON object, compressed once and never again.

    PostHog events --BatchBuilder--> Batch --workspace--> run_of(bytes) --bodies.py--> POST

A batch is a valid gzip of valid JSON, so `zcat batch.json.gz | jq -c '.batch[]'` shows what will be sent.
It holds no project key, and it describes itself: an extra field in its gzip header (FEXTRA) says where the
compressed events lie, how many they are, their CRC-32, their timestamps and the SHA-256 of the compressed
bytes. Delivery therefore slices a batch and joins it with others without inflating anything.

The batch-id is the digest of the raw events: two writers that transform the same object write the same key
with the same meaning, and overwriting one by the other is harmless even when their compressed bytes differ.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from snowplow_posthog_dagster.errors import WorkspaceError
from snowplow_posthog_dagster.posthog.compression import (
    Compressor,
    compressor_factory,
    crc32,
    crc32_combine,
    deflate_flushed,
    gzip_header,
    gzip_trailer,
    stored_block,
)

# Constants of the workspace layout version, not settings: PostHog's clients stay under 5 MiB a body, its
# capture accepts 20 MiB on the wire and 100 MiB inflated; 2,000 events of 4 KB are 8 MB raw and 1.6 MB sent.
MAX_EVENTS = 2_000
MAX_RAW_BYTES = 8 * 1024 * 1024

OPENING = b'{"batch":[\n'
CLOSING = b"\n]}"
SEPARATOR = b",\n"

_FIELD_ID = b"SP"
_FIELD = struct.Struct("<IIIIIqq32s")
_CHUNK_BYTES = 128 * 1024
_OPENING_DEFLATED = deflate_flushed(OPENING, compressor_factory("zlib", 6))
_EVENTS_OFFSET = len(gzip_header(b"-" * (4 + _FIELD.size))) + len(_OPENING_DEFLATED)
_CLOSING_DEFLATED = stored_block(CLOSING, final=True)


@dataclass(frozen=True, slots=True)
class Run:
    """The events of one batch, or a part of it, as joinable deflate blocks.

    `compressed` ends in a full flush and inflates to the events joined by a comma and a newline, without
    newline at either end. `crc` and `raw_bytes` are those of the inflated bytes, timestamps are milliseconds.
    """

    compressed: bytes
    crc: int
    raw_bytes: int
    events: int
    min_timestamp: int
    max_timestamp: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A finished batch: its identity, the description that goes into the day log, and its bytes."""

    batch_id: str
    run: Run
    data: bytes


class BatchBuilder:
    """Collects the PostHog events of one archive object into batches.

    Memory is bounded by one chunk of raw events (128 KiB) and the compressed bytes of the batch in hand.
    """

    def __init__(self, *, codec: str = "isal", level: int = 1) -> None:
        self._make_compressor = compressor_factory(codec, level)
        self._reset()

    def _reset(self) -> None:
        self._compressor: Compressor = self._make_compressor()
        self._waiting: list[bytes] = []
        self._size = 0  # raw bytes of the batch in hand, with its separators
        self._next_chunk = _CHUNK_BYTES
        self._raw_bytes = 0
        self._events = 0
        self._min_timestamp = 0
        self._max_timestamp = 0
        self._crc = 0
        self._digest = hashlib.sha256()
        self._compressed: list[bytes] = []

    def add(self, event: bytes, timestamp: int) -> Batch | None:
        """Add one event; returns the batch before it when this event would not fit in."""
        size = self._size + len(event) + len(SEPARATOR)
        finished = None
        if self._events >= MAX_EVENTS or (self._events and size > MAX_RAW_BYTES):
            finished = self.finish()
            size = len(event) + len(SEPARATOR)
        if not self._events:
            self._min_timestamp = self._max_timestamp = timestamp
        elif timestamp < self._min_timestamp:
            self._min_timestamp = timestamp
        elif timestamp > self._max_timestamp:
            self._max_timestamp = timestamp
        self._waiting.append(event)
        self._size = size
        self._events += 1
        if size >= self._next_chunk:
            self._compress_waiting()
        return finished

    def _compress_waiting(self) -> None:
        chunk = SEPARATOR.join(self._waiting)
        self._raw_bytes += len(chunk)
        self._crc = crc32(chunk, self._crc)
        self._digest.update(chunk)
        self._compressed.append(self._compressor.compress(chunk))
        self._waiting = [b""]  # so that the next chunk begins with a separator
        self._next_chunk = self._size + _CHUNK_BYTES

    def finish(self) -> Batch | None:
        """Return the batch in hand, or None when it holds no event; the builder is then empty."""
        if not self._events:
            return None
        if self._waiting != [b""]:
            self._compress_waiting()
        self._compressed.append(self._compressor.flush(zlib.Z_FULL_FLUSH))
        run = Run(
            compressed=b"".join(self._compressed),
            crc=self._crc,
            raw_bytes=self._raw_bytes,
            events=self._events,
            min_timestamp=self._min_timestamp,
            max_timestamp=self._max_timestamp,
        )
        batch = Batch(batch_id=self._digest.hexdigest()[:32], run=run, data=_file_of(run))
        self._reset()
        return batch


def _file_of(run: Run) -> bytes:
    """Lay a run between the opening and the closing of a batch file."""
    field = _FIELD.pack(
        _EVENTS_OFFSET,
        len(run.compressed),
        run.raw_bytes,
        run.crc,
        run.events,
        run.min_timestamp,
        run.max_timestamp,
        hashlib.sha256(run.compressed).digest(),
    )
    extra = _FIELD_ID + struct.pack("<H", len(field)) + field
    crc = crc32_combine(crc32(OPENING), run.crc, run.raw_bytes)
    crc = crc32_combine(crc, crc32(CLOSING), len(CLOSING))
    raw_length = len(OPENING) + run.raw_bytes + len(CLOSING)
    return b"".join(
        [gzip_header(extra), _OPENING_DEFLATED, run.compressed, _CLOSING_DEFLATED, gzip_trailer(crc, raw_length)]
    )


def run_of(data: bytes, *, name: str = "batch") -> Run:
    """Slice the run of events out of a batch file, and verify it by its own description.

    Raises WorkspaceError when the file is no batch of this layout or its bytes were changed.
    """
    head = len(gzip_header(b"-" * (4 + _FIELD.size)))
    if len(data) < head or data[:4] != b"\x1f\x8b\x08\x04" or data[12:14] != _FIELD_ID:
        raise WorkspaceError(f"{name} is not a batch of this layout; transform its archive object again (remap)")
    offset, length, raw_bytes, crc, events, first, last, digest = _FIELD.unpack(data[16:head])
    compressed = data[offset : offset + length]
    if hashlib.sha256(compressed).digest() != digest:
        raise WorkspaceError(f"{name} is damaged: its events do not have the digest of its header; remap its object")
    return Run(compressed, crc, raw_bytes, events, first, last)


def events_of(run: Run) -> list[bytes]:
    """Inflate a run into its events, in order. Only partial and split deliveries need it."""
    raw = zlib.decompressobj(-15).decompress(run.compressed)
    if len(raw) != run.raw_bytes:
        raise WorkspaceError(f"a run of {run.events} events inflates to {len(raw)} bytes, expected {run.raw_bytes}")
    return raw.split(SEPARATOR)


def part_of(run: Run, positions: Sequence[int], make_compressor: Callable[[], Compressor]) -> Run:
    """A run of some events of another one, each of them byte for byte what it was.

    `positions` are 0-based places in the run. The timestamps stay those of the whole batch, so that every
    part of a body carries the same historical flag.
    """
    events = events_of(run)
    return run_from([events[position] for position in positions], run.min_timestamp, run.max_timestamp, make_compressor)


def run_from(
    events: Iterable[bytes], min_timestamp: int, max_timestamp: int, make_compressor: Callable[[], Compressor]
) -> Run:
    """Compress loose events into a run."""
    listed = list(events)
    raw = SEPARATOR.join(listed)
    return Run(deflate_flushed(raw, make_compressor), crc32(raw), len(raw), len(listed), min_timestamp, max_timestamp)
