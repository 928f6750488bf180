"""Bytes of an archive object in, inflated bytes out, in bounded memory.

gzip is recognised by its bytes, never by the name: GitLab's files end in `.gz` and hold TSV, others end in
`.tsv` and hold gzip. A file may hold several members one after the other (loaders append), which a plain
decompress object would cut off after the first. A file that ends early is broken, never "short".
"""

import itertools
import zlib
from collections.abc import Iterable, Iterator

from isal import isal_zlib

from snowplow_posthog_dagster.errors import BrokenObjectError

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 256 * 1024
# isal loses its place in a header with optional fields (a name, a comment, its own CRC) that comes in two parts. A
# member is therefore begun when so much of the file is there, which is more than a header may have in practice.
_LONGEST_HEADER = 64 * 1024
_FAILURES: tuple[type[Exception], ...] = (zlib.error, isal_zlib.error, EOFError)  # type: ignore[assignment]


def inflate(chunks: Iterable[bytes], *, max_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the inflated bytes of an object in chunks of at most `CHUNK_BYTES`.

    An object that does not begin with gzip's magic bytes passes through unchanged. Raises BrokenObjectError
    when the gzip is corrupt, truncated or followed by something that is no gzip member, and when it inflates
    to more than `max_bytes` (a decompression bomb).
    """
    total = 0
    for piece in _pieces(iter(chunks)):
        total += len(piece)
        if max_bytes is not None and total > max_bytes:
            raise BrokenObjectError(f"inflates to more than {max_bytes:,} bytes (setting max_object_bytes)")
        yield piece


def _pieces(chunks: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(GZIP_MAGIC):
            break
    if not head:
        return
    if head.startswith(GZIP_MAGIC):
        yield from _members(head, chunks)
        return
    yield head
    yield from chunks


def _members(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Inflate member after member; zero bytes of padding after the last one are tolerated."""
    member = None
    position = 0
    kept = b""
    for chunk in itertools.chain([head], chunks, [b""]):
        data, pending = kept + chunk, False
        kept = b""
        while data or pending:
            if member is None:
                data = data.lstrip(b"\0")
                if chunk and len(data) < _LONGEST_HEADER:
                    kept = data
                    break
                if not data:
                    break
                member = isal_zlib.decompressobj(31)
            try:
                piece = member.decompress(data, CHUNK_BYTES)
            except _FAILURES as error:
                raise BrokenObjectError(f"corrupt gzip after byte {position:,}: {error}") from None
            if piece:
                yield piece
            # A full piece may leave inflated bytes inside the decompressor although the input is used up.
            data, pending = member.unconsumed_tail, len(piece) == CHUNK_BYTES
            if member.eof:
                data, pending, member = member.unused_data, False, None
        position += len(chunk)
    if member is not None:
        raise BrokenObjectError(f"truncated gzip: the file ends after {position:,} bytes inside a member")
