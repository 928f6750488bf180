"""What a line of the day log can say.

Each entry is one line of JSON with its `kind`. Two entries are the same when their bytes are the same, so
reading a line twice changes nothing. A kind that this release does not know stops the run with words: to
ignore it could mean to send what somebody has withdrawn.

`object` is an object-id, `revision` the number of times that an operator asked for the object to be done
again. Times are for people; nothing is decided by them, except when a broken object is tried again.
"""

import hashlib
from typing import TypeAlias

import msgspec

from snowplow_posthog_dagster.errors import WorkspaceError


class BatchNote(msgspec.Struct, frozen=True):
    """A batch of a result: its id, events, bytes raw and stored, and its timestamps in milliseconds."""

    id: str
    events: int
    raw: int
    stored: int
    first: int
    last: int


class Done(msgspec.Struct, frozen=True, tag_field="kind", tag="done", kw_only=True, omit_defaults=True):
    """An archive object was transformed; the sums of the counting equation's first half.

    `carried` of the mapped events were acknowledged under an earlier revision and are in no batch of this one.
    `reasons` are the dead letters by what is wrong with them, in few words, for metrics.
    """

    object: str
    revision: int
    key: str
    etag: str
    bytes: int
    hour: int | None = None
    lines: int
    glued: int = 0
    records: int
    mapped: int
    dead_letters: int = 0
    filtered: dict[str, int] = {}
    repeats: int = 0
    carried: int = 0
    batches: list[BatchNote] = []
    dead_letter_file: str | None = None
    apps: dict[str, list[int]] = {}
    notes: dict[str, int] = {}
    reasons: dict[str, int] = {}
    raw_bytes: int = 0
    oldest_arrival: int | None = None
    newest_arrival: int | None = None
    identity_version: str
    mapping_version: str
    writer: str
    at: str


class Broken(msgspec.Struct, frozen=True, tag_field="kind", tag="broken", kw_only=True):
    """An archive object could not be read to the end; it is tried again after `next_try`."""

    object: str
    revision: int
    key: str
    etag: str
    hour: int | None = None
    reason: str
    next_try: str
    writer: str
    at: str


class Superseded(msgspec.Struct, frozen=True, tag_field="kind", tag="superseded", kw_only=True, omit_defaults=True):
    """The key of the object holds other bytes now, which are another object: `replaced_by`, where it is known."""

    object: str
    revision: int
    key: str
    hour: int | None = None
    replaced_by: str | None = None
    at: str


class Gone(msgspec.Struct, frozen=True, tag_field="kind", tag="gone", kw_only=True, omit_defaults=True):
    """A listed object vanished; `replaced_by` is the object that its key holds now."""

    object: str
    revision: int
    key: str
    hour: int | None = None
    replaced_by: str | None = None
    at: str


class Skip(msgspec.Struct, frozen=True, tag_field="kind", tag="skip", kw_only=True, omit_defaults=True):
    """An operator gave up on an object, with a reason."""

    object: str
    revision: int
    key: str = ""
    hour: int | None = None
    reason: str
    by: str
    at: str


class Unskip(msgspec.Struct, frozen=True, tag_field="kind", tag="unskip", kw_only=True, omit_defaults=True):
    """A skip was taken back by an operator, or a replacement by the archive: the object goes on where it was."""

    object: str
    revision: int
    key: str = ""
    hour: int | None = None
    by: str
    at: str


class Remap(msgspec.Struct, frozen=True, tag_field="kind", tag="remap", kw_only=True, omit_defaults=True):
    """An operator asked for an object to be done again under the current settings."""

    object: str
    revision: int
    key: str = ""
    by: str
    at: str


class Forget(msgspec.Struct, frozen=True, tag_field="kind", tag="forget", kw_only=True, omit_defaults=True):
    """People were taken out of an object's unsent events and dead letters: its result of this revision lacks them."""

    object: str
    revision: int
    key: str = ""
    events: int = 0
    dead_letters: int = 0
    by: str
    at: str


class Delivered(msgspec.Struct, frozen=True, tag_field="kind", tag="delivered"):
    """PostHog's word on a range of a batch: `acknowledged`, or `refused` (the event is a dead letter)."""

    object: str
    revision: int
    batch: str
    first: int
    events: int
    status: str


class Replayed(msgspec.Struct, frozen=True, tag_field="kind", tag="replayed", kw_only=True, omit_defaults=True):
    """Dead letters of an object that were settled after all, by record number.

    They became events in a batch of their own, or a rule of today's settings filters them, or their events lie
    in the object already (repeats): `records` are as many as these three together.
    """

    object: str
    revision: int
    records: list[int]
    batch: BatchNote | None = None
    filtered: dict[str, int] = {}
    repeats: int = 0
    at: str


class Reconciled(msgspec.Struct, frozen=True, tag_field="kind", tag="reconciled", kw_only=True, omit_defaults=True):
    """What PostHog's query API said about the day's sample: `agree`, `gap` with its cause, or `not checked`.

    `sampled` = found + missing + not_checked; of the found ones, `differing` have other content than was sent.
    `copies` are rows beside the first of a key that PostHog had not merged yet.
    """

    result: str
    sampled: int
    found: int
    differing: int
    not_checked: int = 0
    copies: int = 0
    cause: str
    at: str


class Purged(msgspec.Struct, frozen=True, tag_field="kind", tag="purged", kw_only=True):
    """Stored files of an object were deleted on purpose: `what` is batches, samples or dead_letters."""

    object: str
    revision: int
    what: str
    at: str


class Posted(msgspec.Struct, frozen=True, tag_field="kind", tag="posted", kw_only=True, omit_defaults=True):
    """What one delivery sent and was answered, for `status` and for PostHog's support; it counts nothing.

    `statuses` are answers by HTTP status, 0 where none came; `bytes` went over the wire; `errors_at` are the times of
    the last 5xx, at most 100.
    """

    writer: str
    started: str
    ended: str
    posts: int
    retries: int
    bytes: int
    events: int
    refused: int = 0
    statuses: dict[str, int] = {}
    errors_at: list[str] = []
    last_words: str = ""


class CheckAcknowledged(msgspec.Struct, frozen=True, tag_field="kind", tag="check_acknowledged", kw_only=True):
    """An operator accepted a failing check of this day until a date, with a reason."""

    check: str
    reason: str
    until: str
    by: str
    at: str


Entry: TypeAlias = (
    Done
    | Broken
    | Superseded
    | Gone
    | Skip
    | Unskip
    | Remap
    | Forget
    | Delivered
    | Replayed
    | Reconciled
    | Purged
    | Posted
    | CheckAcknowledged
)

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def line_of(entry: Entry) -> bytes:
    """The entry as one line of JSON, without newline; equal entries give equal bytes."""
    return _encoder.encode(entry)


def entry_of(line: bytes) -> Entry:
    """Read a line back. Raises WorkspaceError for a kind or shape that this release does not know."""
    try:
        return _decoder.decode(line)
    except msgspec.MsgspecError as error:
        head = line[:120].decode(errors="replace")
        raise WorkspaceError(
            f"the day log holds an entry that this release does not understand ({error}): {head}"
        ) from None


def digest_of(entry: Entry) -> str:
    """SHA-256 of the entry's line, in hexadecimal: the last word among equals."""
    return hashlib.sha256(line_of(entry)).hexdigest()
