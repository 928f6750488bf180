"""The body of a capture request: bytes of the wire in, a JSON value out.

What PostHog's capture service does before it looks at an event: caps on the wire and after inflating, gzip by
its magic bytes whatever the headers say, UTF-8, strict JSON (reference: rust/capture/src/v0_request.rs and
payload/decompression.rs). Of several gzip members it reads the first alone, so a body that relies on a second
one is cut here too. v0 knows no zstd, deflate or brotli: such bytes are no JSON.
"""

from typing import Any, NamedTuple, cast

import orjson
from isal import isal_zlib

MEBIBYTE = 1024 * 1024
BATCH_WIRE_BYTES = 20 * MEBIBYTE
EVENT_WIRE_BYTES = 2 * MEBIBYTE
# Capture unpacks at most this multiple of the cap on the wire.
INFLATED_MULTIPLE = 5
GZIP_MAGIC = b"\x1f\x8b\x08"
GZIP_WINDOW_BITS = 31
# The stubs of isal declare an instance where the class stands.
GZIP_ERROR = cast("type[Exception]", isal_zlib.error)


class RefusedError(Exception):
    """The request is answered with this status and text, and nothing of it is stored."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Body(NamedTuple):
    """A body taken apart: the JSON value and the size of its text in bytes."""

    value: Any
    raw_bytes: int


def wire_limit(path: str) -> int:
    """Bytes that the route takes on the wire: 20 MiB for `/batch`, 2 MiB for the others."""
    return BATCH_WIRE_BYTES if path.strip("/") == "batch" else EVENT_WIRE_BYTES


def inflate(body: bytes, limit: int) -> bytes:
    """The first gzip member of `body`, at most `limit` bytes.

    Raises:
        RefusedError: 400 when the member is corrupt or truncated, 413 when it is larger than `limit`.
    """
    member = isal_zlib.decompressobj(GZIP_WINDOW_BITS)
    try:
        text = member.decompress(body, limit + 1)
    except GZIP_ERROR as error:
        raise RefusedError(400, f"failed to decode request: invalid GZIP data: {error}") from error
    if len(text) > limit:
        raise RefusedError(413, f"maximum event size exceeded: inflated body is larger than {limit} bytes")
    if not member.eof:
        raise RefusedError(400, "failed to decode request: invalid GZIP data: unexpected end of file")
    return text


def read_body(body: bytes, path: str) -> Body:
    """The JSON value of a request body.

    Raises:
        RefusedError: 413 over a cap, 400 when it is not gzip, not UTF-8 or not JSON.
    """
    limit = wire_limit(path)
    if len(body) > limit:
        raise RefusedError(413, f"maximum event size exceeded: body of {len(body)} bytes, {limit} allowed")
    text = inflate(body, limit * INFLATED_MULTIPLE) if body.startswith(GZIP_MAGIC) else body
    try:
        return Body(orjson.loads(text), len(text))
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"failed to parse request: {error}") from error
