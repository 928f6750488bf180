"""Raw deflate streams that can be laid side by side in one gzip member.

PostHog's capture reads only the first member of a gzip, so batches cannot be joined by concatenating files.
They can be joined below that level: a deflate stream that ends in `Z_FULL_FLUSH` ends on a byte boundary
and nothing after it refers back into it. Whatever is put between two such runs travels in stored blocks,
which need no compressor. CRCs are joined arithmetically, so that nothing is ever inflated.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Protocol

from isal import isal_zlib

GZIP_MAGIC = b"\x1f\x8b"
_STORED_LIMIT = 0xFFFF


class Compressor(Protocol):
    """What both zlib and isal hand out as `compressobj`."""

    def compress(self, data: bytes, /) -> bytes:
        """Take bytes; give what is ready."""
        ...

    def flush(self, mode: int = ..., /) -> bytes:
        """Give the rest."""
        ...


def compressor_factory(codec: str, level: int) -> Callable[[], Compressor]:
    """Return a maker of raw deflate compressors.

    `codec` is "isal" (levels 0 to 3; level 1 gives zlib 1's size at about four times its speed) or "zlib"
    (levels 1 to 9, the fallback and the one for small egress bills).
    """
    if codec == "isal":
        return lambda: isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15)
    if codec == "zlib":
        return lambda: zlib.compressobj(level, zlib.DEFLATED, -15)
    raise ValueError(f"unknown codec {codec!r}: use isal or zlib")


def deflate_flushed(data: bytes, make_compressor: Callable[[], Compressor]) -> bytes:
    """Compress `data` into deflate blocks that end in a full flush."""
    compressor = make_compressor()
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


def stored_block(data: bytes, *, final: bool = False) -> bytes:
    """Wrap up to 65,535 bytes in one stored deflate block (RFC 1951, 3.2.4); it needs byte alignment."""
    if len(data) > _STORED_LIMIT:
        raise ValueError(f"a stored block holds at most {_STORED_LIMIT} bytes, got {len(data)}")
    return struct.pack("<BHH", 1 if final else 0, len(data), len(data) ^ 0xFFFF) + data


def crc32(data: bytes, value: int = 0) -> int:
    """CRC-32 as gzip wants it; isal's is seven times as fast as zlib's."""
    return int(isal_zlib.crc32(data, value))


def crc32_combine(first: int, second: int, second_length: int) -> int:
    """CRC-32 of two byte strings laid end to end, from their CRCs and the second's length."""
    return int(isal_zlib.crc32_combine(first, second, second_length))


def gzip_header(extra: bytes = b"") -> bytes:
    """A gzip header without name and time, so that equal input gives equal bytes; `extra` is FEXTRA's content."""
    flags = 4 if extra else 0
    header = GZIP_MAGIC + bytes([8, flags]) + b"\x00\x00\x00\x00\x00\xff"
    return header + struct.pack("<H", len(extra)) + extra if extra else header


def gzip_trailer(crc: int, raw_length: int) -> bytes:
    """The eight bytes that close a gzip member."""
    return struct.pack("<II", crc, raw_length & 0xFFFFFFFF)
