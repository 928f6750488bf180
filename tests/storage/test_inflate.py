"""gzip by its bytes, member after member, in bounded memory, and never silently short."""

import gzip
import os
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.errors import BrokenObjectError
from snowplow_posthog_dagster.storage.inflate import CHUNK_BYTES, inflate


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.lists(st.binary(max_size=2000), max_size=4), st.integers(1, 500))
def test_members_one_after_the_other_are_all_read_whatever_the_chunks(members: list[bytes], size: int) -> None:
    stored = b"".join(gzip.compress(member) for member in members)
    assert b"".join(inflate(cut(stored, size))) == b"".join(members)


def member_with(flags: int, content: bytes) -> bytes:
    """A gzip member with the optional header fields that these flags ask for: extra, name, comment, header's CRC."""
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(5) + b"\xff"
    for flag, field in ((4, struct.pack("<H", 5) + b"extra"), (8, b"enriched.tsv\0"), (16, b"a comment\0")):
        header += field if flags & flag else b""
    if flags & 2:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    packed = zlib.compress(content, wbits=-15)
    return header + packed + struct.pack("<II", zlib.crc32(content), len(content))


@pytest.mark.parametrize("flags", range(0, 32, 2))
def test_a_header_may_be_cut_anywhere_whatever_fields_it_has(flags: int) -> None:
    stored = member_with(flags, b"first\n") + member_with(flags, b"second\n")
    assert gzip.decompress(stored) == b"first\nsecond\n"
    for size in (1, 2, 7, 13, 40, len(stored)):
        assert b"".join(inflate(cut(stored, size))) == b"first\nsecond\n"


@pytest.mark.parametrize("length", [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES])
def test_an_object_that_ends_on_a_chunk_boundary_is_whole(length: int) -> None:
    assert sum(map(len, inflate([gzip.compress(b"a" * length)]))) == length


def test_pieces_stay_small_however_well_the_object_compresses() -> None:
    assert max(map(len, inflate([gzip.compress(b"a" * 20_000_000)]))) <= CHUNK_BYTES


def test_bytes_that_are_no_gzip_pass_through() -> None:
    assert b"".join(inflate([b"a", b"\tb\n", b"c"])) == b"a\tb\nc"
    assert list(inflate([])) == []


@given(st.integers(1, 200))
def test_a_truncated_object_is_broken(missing: int) -> None:
    stored = gzip.compress(os.urandom(4000))
    with pytest.raises(BrokenObjectError, match="truncated gzip"):
        list(inflate([stored[:-missing]]))


def test_a_corrupt_object_is_broken() -> None:
    stored = bytearray(gzip.compress(os.urandom(4000)))
    stored[-5] ^= 0xFF
    with pytest.raises(BrokenObjectError, match="corrupt gzip"):
        list(inflate([bytes(stored)]))


def test_garbage_after_the_last_member_is_broken_but_padding_is_not() -> None:
    stored = gzip.compress(b"abc")
    assert b"".join(inflate([stored + b"\0" * 40])) == b"abc"
    with pytest.raises(BrokenObjectError):
        list(inflate([stored + b"garbage"]))


def test_a_decompression_bomb_is_stopped_at_the_limit() -> None:
    with pytest.raises(BrokenObjectError, match="max_object_bytes"):
        list(inflate([gzip.compress(b"\0" * 10_000_000)], max_bytes=1_000_000))
