"""The workspace: where everything that we store lies (layout version 1).

    workspace.json                       the layout version; an unknown one is refused with words
    target=<name>/
      control/                           identity, pause, resume: append-only
      suppressed/                        digests of forgotten ids: append-only
      leases/                            who works just now: the only mutable keys, never state
      manifests/dt=<day>/                what a run listed that was new
      batches/dt=<day>/<object>/         PostHog events ready to be sent
      log/dt=<day>/                      the day log
      samples/dt=<day>/                  events kept for reconciliation
      dead_letters/stage=<stage>/dt=<day>/
      days/dt=<day>/                     a finished day

State is never rewritten: keys are digests or unique names, so two writers can never destroy each other's
work. Every target has its own prefix, so that the privacy settings of one never reach another.
"""

import datetime as dt
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from isal import igzip

from snowplow_posthog_dagster.errors import GoneObjectError, SettingsError, WorkspaceError
from snowplow_posthog_dagster.storage.s3 import Bucket

LAYOUT_VERSION = 1
_LEVEL = 1
TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
TARGET_NAME_WORDS = "must be 1 to 63 of a-z, 0-9, - and _, starting with a letter or digit"


@dataclass(frozen=True)
class Workspace:
    """One target's part of a workspace bucket; `prefix` has no leading and one trailing slash, or is empty."""

    bucket: Bucket
    prefix: str
    target: str

    def __post_init__(self) -> None:
        if not TARGET_NAME.fullmatch(self.target):
            raise SettingsError(f"POSTHOG_TARGET {self.target!r} {TARGET_NAME_WORDS}")

    @property
    def root(self) -> str:
        """The key prefix of this target."""
        return f"{self.prefix}target={self.target}/"

    def key(self, kind: str, day: dt.date | None = None, *names: str) -> str:
        """The key of something stored: `<root><kind>/[dt=<day>/]<names>`."""
        parts = [kind, *([f"dt={day:%Y-%m-%d}"] if day else []), *names]
        return self.root + "/".join(parts)

    def folder(self, kind: str, day: dt.date | None = None) -> str:
        """The prefix under which a kind of thing (of a day) lies."""
        return self.key(kind, day) + "/"

    def batch_key(self, day: dt.date, object_id: str, batch_id: str) -> str:
        """Where a batch lies."""
        return self.key("batches", day, object_id, f"{batch_id}.json.gz")

    def check_layout(self) -> None:
        """Write the layout version at first use; refuse a workspace of another one.

        Raises WorkspaceError for an unknown version.
        """
        key = f"{self.prefix}workspace.json"
        try:
            found = json.loads(self.bucket.get(key))
        except GoneObjectError:
            self.bucket.put(key, json.dumps({"layout": LAYOUT_VERSION}).encode())
            return
        except ValueError:
            raise WorkspaceError(
                f"s3://{self.bucket.name}/{key} is not JSON; is this another program's bucket?"
            ) from None
        if not isinstance(found, dict) or found.get("layout") != LAYOUT_VERSION:
            raise WorkspaceError(
                f"s3://{self.bucket.name}/{key} says {found!r}; this release writes and reads layout"
                f" {LAYOUT_VERSION}: use the release that wrote it, or another workspace prefix"
            )

    def write_lines(self, key: str, lines: Iterable[bytes]) -> None:
        """Write JSON lines as one gzip; equal lines give equal bytes."""
        self.bucket.put(key, packed(b"".join(line + b"\n" for line in lines)))

    def read_lines(self, key: str) -> list[bytes]:
        """Read the JSON lines of a key.

        Raises GoneObjectError when it does not exist, and WorkspaceError when it is empty or no whole gzip: whatever
        it said would be forgotten in silence.
        """
        data = self.bucket.get(key)
        try:
            return [line for line in _unpacked(data).split(b"\n") if line]
        except (EOFError, OSError, zlib.error) as error:
            raise WorkspaceError(
                f"s3://{self.bucket.name}/{key} is damaged ({error}). S3 shows what we write whole or not at all, so"
                " something else changed it: restore the object from an earlier version or a copy of the bucket"
            ) from None

    def append_control(self, entry: dict[str, Any]) -> None:
        """Add an entry to the target's control folder, under a name that cannot collide.

        It gets the number after the highest seen, so that it follows what its writer could know of.
        """
        number = 1 + max((known.get("number", 0) for known in self.control_entries()), default=0)
        data = json.dumps({**entry, "number": number}, sort_keys=True).encode()
        self.bucket.put(self.key("control", None, f"{timestamp_name()}-{digest(data)[:16]}.json"), data)

    def control_entries(self) -> list[dict[str, Any]]:
        """All control entries in the order in which they hold, whatever the clocks of their writers.

        Raises WorkspaceError for one that is damaged.
        """
        keys = sorted(listed.key for listed in self.bucket.listing(self.folder("control")))
        return _in_order([self._control_entry(key) for key in keys])

    def _control_entry(self, key: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self.bucket.get(key)))
        except (ValueError, TypeError) as error:
            raise WorkspaceError(
                f"s3://{self.bucket.name}/{key} is damaged ({error}); restore it from an earlier version or a copy of"
                " the bucket"
            ) from None


def _in_order(by_name: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Control entries by their numbers. Of two writers at the same moment, which have one number, a pause wins.

    Earlier releases wrote no numbers: such an entry follows the numbered ones before it by name, which is by time.
    """
    ranked, highest = [], 0
    for entry in by_name:
        own = entry.get("number")
        number = highest if own is None else int(own)
        highest = max(highest, number)
        ranked.append(((number, own is None, own is not None and entry["kind"] == "pause"), entry))
    return [entry for _, entry in sorted(ranked, key=lambda one: one[0])]


def packed(data: bytes) -> bytes:
    """A gzip without time or name, so that equal bytes give equal bytes.

    isal makes it as small as zlib's level 6, in a tenth of the time.
    """
    return igzip.compress(data, compresslevel=_LEVEL, mtime=0)


def _unpacked(data: bytes) -> bytes:
    if not data:  # which gzip takes for no member at all
        raise EOFError("it is empty")
    return gzip.decompress(data)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def timestamp_name(now: dt.datetime | None = None) -> str:
    """A time for names, which people read and nothing is decided by: 20220606T040000123456Z."""
    return (now or dt.datetime.now(dt.UTC)).strftime("%Y%m%dT%H%M%S%fZ")


def timestamp_text(now: dt.datetime | None = None) -> str:
    """A time for entries: 2022-06-06T04:00:00Z."""
    return (now or dt.datetime.now(dt.UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
