"""Bytes of an archive object in, inflated bytes out, in bounded memory.

gzip is recognised by its bytes, never by the name: GitLab's files end in `.gz` and hold TSV, others end in
`.tsv` and hold gzip. A file may hold several members one after the other (loaders append), which a plain
decompress object would cut off after the first. A file that ends early is broken, never "short".
"""

import zlib
from collections.abc import Iterable, Iterator

from isal import isal_zlib

from snowplow_posthog_dagster.errors import BrokenObjectError

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 256 * 1024
_FAILURES = (zlib.error, isal_zlib.error, EOFError)


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
    member = isal_zlib.decompressobj(31)
    data: bytes | None = head
    position = 0
    while data is not None:
        while data:
            try:
                piece = member.decompress(data, CHUNK_BYTES)
            except _FAILURES as error:
                raise BrokenObjectError(f"corrupt gzip near byte {position:,}: {error}") from None
            if piece:
                yield piece
            if not member.eof:
                data = member.unconsumed_tail
                continue
            data = member.unused_data.lstrip(b"\0")
            member = isal_zlib.decompressobj(31)
            if not data:
                data = next(chunks, None)
                if data is None:
                    return
                data = data.lstrip(b"\0")
        data = next(chunks, None)
        position += len(data or b"")
    raise BrokenObjectError(f"truncated gzip: the file ends after {position:,} bytes inside a member")
