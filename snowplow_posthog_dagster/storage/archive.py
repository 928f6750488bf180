"""The archive: what Snowplow left in S3. Only ever read.

    day --prefixes by date--> hour prefixes --paged listing--> ArchiveObject --stream--> inflated bytes

A day is the UTC day of the archive path, which is the time of arrival, never the time of the events. History
may lie under several prefixes (GitLab rewrote its own twice, to blank columns), so each entry of the archive
list says from when until when it holds; a day without an entry, or with two, is an error and not a guess.
"""

import contextlib
import datetime as dt
import hashlib
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from snowplow_posthog_dagster.errors import (
    SettingsError,
    StorageUnavailableError,
    SupersededObjectError,
    UnreadObjectError,
)
from snowplow_posthog_dagster.storage.inflate import CHUNK_BYTES, inflate
from snowplow_posthog_dagster.storage.s3 import Bucket, Listed
from snowplow_posthog_dagster.storage.uncollected import uncollected

_LISTING_THREADS = 12
_KEYS_PER_ANSWER = 1_000
_HOUR = re.compile(r"\{HH\}")
# What lies beside the data: Spark's markers, LZO indexes, manifests, Firehose's own failures.
_NOT_DATA = re.compile(
    r"(/|_SUCCESS|_\$folder\$|\.lzo\.index|\.index|\.manifest|\.crc|\.md5)$|(^|/)manifest$|(^|/)processing-failed/|(^|/)[._][^/]*$"
)
_HIDDEN = re.compile(r"(^|/)[._]")
_FROZEN = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One line of the archive list: days from `start` (inclusive) to `until` (inclusive) lie under `prefix`.

    `layout` is the path below the prefix with {yyyy} {MM} {dd} and, where there is a folder an hour, {HH}.
    """

    prefix: str
    start: dt.date | None = None
    until: dt.date | None = None
    layout: str = "{yyyy}/{MM}/{dd}/{HH}/"
    source: str = "snowplow"
    preferred: bool = False

    def holds(self, day: dt.date) -> bool:
        """Whether this entry is valid on that day."""
        return (self.start is None or day >= self.start) and (self.until is None or day <= self.until)

    @property
    def hourly(self) -> bool:
        """Whether the layout has a folder an hour."""
        return bool(_HOUR.search(self.layout))

    @property
    def whole_days(self) -> bool:
        """Whether the hours of a day, and nothing of other days, lie under one prefix: the hour comes last."""
        return self.hourly and not re.search(r"\{(?!HH)", _HOUR.split(self.layout, maxsplit=1)[1])

    def day_of(self, key: str) -> dt.date | None:
        """The archive day of a key of this entry; None for another key."""
        found = re.match(_pattern(self.prefix + self.layout), key)
        if not found:
            return None
        part = found.groupdict()
        try:
            day = dt.date(int(part.get("yyyy") or f"20{part['yy']}"), int(part["MM"]), int(part["dd"]))
        except ValueError:
            return None
        return day if self.holds(day) else None

    def key_prefix(self, day: dt.date, hour: int) -> str:
        """The S3 prefix of one hour (or of the day, when the layout has no hours)."""
        return self.prefix + _filled(self.layout, day, hour)

    def day_prefix(self, day: dt.date) -> str:
        """What the prefixes of all hours of a day begin with."""
        return self.prefix + _filled(_HOUR.split(self.layout, maxsplit=1)[0], day, 0)

    @property
    def common_prefix(self) -> str:
        """What every key of this entry begins with."""
        return (self.prefix + self.layout).partition("{")[0]


def _pattern(layout: str) -> str:
    """A regular expression for what a layout stands for; a field that it repeats must repeat its value."""
    seen: set[str] = set()

    def field(match: re.Match[str]) -> str:
        name = match.group(1)
        again = name in seen
        seen.add(name)
        return rf"(?P={name})" if again else rf"(?P<{name}>\d{{{len(name)}}})"

    return re.sub(r"\\{(\w+)\\}", field, re.escape(layout))


def _filled(layout: str, day: dt.date, hour: int) -> str:
    parts = {"yyyy": f"{day:%Y}", "yy": f"{day:%y}", "MM": f"{day:%m}", "dd": f"{day:%d}", "HH": f"{hour:02d}"}
    return re.sub(r"\{(\w+)\}", lambda match: parts[match.group(1)], layout)


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """One file of the archive. `hour` is that of its path, None when the layout has no hours."""

    object_id: str
    bucket: str
    key: str
    etag: str
    size: int
    modified: float
    storage_class: str
    hour: int | None
    source: str = "snowplow"

    @property
    def frozen(self) -> bool:
        """Whether it must be restored from Glacier before it can be read."""
        return self.storage_class in _FROZEN

    @property
    def restore_command(self) -> str:
        """What an operator types to have it restored for a week."""
        return (
            f"aws s3api restore-object --bucket {shlex.quote(self.bucket)} --key {shlex.quote(self.key)}"
            " --restore-request Days=7"
        )


def object_id(bucket: str, key: str, etag: str) -> str:
    """Identity of an archive object: an overwritten object has another ETag and is a new one.

    The first 128 bits of the SHA-256 of bucket, key and unquoted ETag, NUL between them, in hexadecimal.
    """
    return hashlib.sha256("\0".join((bucket, key, etag.strip('"'))).encode()).hexdigest()[:32]


def is_data(listed: Listed, prefix: str = "") -> bool:
    """Whether a listed key can hold records: not empty, no folder, marker, index or manifest.

    Nor does it lie in a hidden folder below its hour's `prefix`: Spark leaves unfinished files in `_temporary/`.
    """
    hidden = _HIDDEN.search(listed.key.removeprefix(prefix)) if prefix else None
    return listed.size > 0 and not hidden and not _NOT_DATA.search(listed.key)


class Archive:
    """The days of an archive bucket."""

    def __init__(self, bucket: Bucket, entries: Iterable[ArchiveEntry]) -> None:
        self.bucket = bucket
        self.entries = tuple(entries)

    def entry_for(self, day: dt.date) -> ArchiveEntry:
        """The archive entry that is valid on a day. Raises SettingsError for a gap or an overlap."""
        found = [entry for entry in self.entries if entry.holds(day)]
        if len(found) > 1:
            preferred = [entry for entry in found if entry.preferred]
            found = preferred if len(preferred) == 1 else found
        if not found:
            raise SettingsError(f"no archive entry holds {day}; add one to `archive:` in the settings file")
        if len(found) > 1:
            prefixes = ", ".join(repr(entry.prefix) for entry in found)
            raise SettingsError(f"{day} lies in several archive entries ({prefixes}); mark one as `preferred: true`")
        return found[0]

    def holds(self, day: dt.date) -> bool:
        """Whether the archive list has the day; of one that has left it what was loaded is still in the workspace."""
        return any(entry.holds(day) for entry in self.entries)

    def day_of(self, key: str) -> dt.date | None:
        """The archive day of a key, by the first entry that has it; None for a key of no entry."""
        return next((day for entry in self.entries if (day := entry.day_of(key))), None)

    @uncollected()
    def list_day(self, day: dt.date, hours: Iterable[int] | None = None) -> list[ArchiveObject]:
        """List the data objects of a day, or of some of its hours, oldest hour first.

        Raises SettingsError for a day or hour that the archive list does not have, and what `Bucket` raises.
        """
        entry = self.entry_for(day)
        wanted = sorted(set(hours)) if hours is not None else list(range(24))
        if not entry.hourly:
            if hours is not None:
                raise SettingsError(f"{day}: the layout {entry.layout!r} has no {{HH}}, so hours cannot be chosen")
            return self._objects(entry, day, None)
        if hours is None and entry.whole_days and (few := self._few(entry, day)) is not None:
            return few
        with ThreadPoolExecutor(_LISTING_THREADS) as pool:
            listings = pool.map(lambda hour: self._objects(entry, day, hour), wanted)
            return [found for listing in listings for found in listing]

    def _few(self, entry: ArchiveEntry, day: dt.date) -> list[ArchiveObject] | None:
        """A day of fewer keys than one answer holds, by one LIST; None for others, whose hours are listed at once."""
        hours = {entry.key_prefix(day, hour): hour for hour in range(24)}
        length = len(next(iter(hours)))
        listed = list(itertools.islice(self.bucket.listing(entry.day_prefix(day)), _KEYS_PER_ANSWER))
        if len(listed) == _KEYS_PER_ANSWER:
            return None
        return [
            self._object(item, hour, entry.source)
            for item in listed
            if (hour := hours.get(item.key[:length])) is not None and is_data(item, item.key[:length])
        ]

    def _objects(self, entry: ArchiveEntry, day: dt.date, hour: int | None) -> list[ArchiveObject]:
        prefix = entry.key_prefix(day, hour or 0)
        return [self._object(one, hour, entry.source) for one in self.bucket.listing(prefix) if is_data(one, prefix)]

    def _object(self, listed: Listed, hour: int | None, source: str) -> ArchiveObject:
        return ArchiveObject(
            object_id=object_id(self.bucket.name, listed.key, listed.etag),
            bucket=self.bucket.name,
            key=listed.key,
            etag=listed.etag,
            size=listed.size,
            modified=listed.modified,
            storage_class=listed.storage_class,
            hour=hour,
            source=source,
        )

    def unreadable(self, objects: Iterable[ArchiveObject]) -> list[ArchiveObject]:
        """Those that lie in Glacier and are not restored. A listing goes on to say Glacier, so each is looked up."""
        icy = [found for found in objects if found.frozen]
        with ThreadPoolExecutor(_LISTING_THREADS) as pool:
            restored = list(pool.map(lambda found: self.bucket.is_restored(found.key), icy))
        return [found for found, readable in zip(icy, restored, strict=True) if not readable]

    def read(self, found: ArchiveObject, *, max_bytes: int | None = None) -> Iterator[bytes]:
        """Stream the inflated bytes of an object with one GET.

        Raises SupersededObjectError when the key holds other bytes than were listed, GoneObjectError when it
        vanished, BrokenObjectError when its bytes make no sense to the end, RefusedObjectError when S3 refuses it to
        these credentials, and UnreadObjectError when the transfer failed or was cut: botocore tries a request again,
        but never what follows its answer.
        """
        with _unread():
            etag, chunks = self.bucket.stream(found.key, etag=found.etag, chunk_bytes=CHUNK_BYTES)
        if etag != found.etag:
            raise SupersededObjectError(f"s3://{found.bucket}/{found.key} was overwritten after it was listed")
        return inflate(_transferred(chunks, found), max_bytes=max_bytes)


@contextlib.contextmanager
def _unread() -> Iterator[None]:
    try:
        yield
    except StorageUnavailableError as error:
        raise UnreadObjectError(str(error)) from error


def _transferred(chunks: Iterator[bytes], found: ArchiveObject) -> Iterator[bytes]:
    """The bytes as they come. Fewer than were listed are a transfer that was cut, even where S3 calls them all.

    More are none: a store may hand out a file that it keeps compressed in full.
    """
    total = 0
    with _unread():
        for chunk in chunks:
            total += len(chunk)
            yield chunk
    if total < found.size:
        raise UnreadObjectError(f"s3://{found.bucket}/{found.key}: {total:,} of {found.size:,} bytes came")


def check_entries(entries: Iterable[ArchiveEntry]) -> list[str]:
    """What is wrong with an archive list, one line each: unknown fields in a layout, overlaps, gaps."""
    problems = []
    ordered = sorted(entries, key=lambda entry: entry.start or dt.date.min)
    for entry in ordered:
        unknown = set(re.findall(r"\{(\w+)\}", entry.layout)) - {"yyyy", "yy", "MM", "dd", "HH"}
        if unknown:
            problems.append(f"archive {entry.prefix!r}: layout holds unknown fields {sorted(unknown)}")
        if not {"MM", "dd"} <= set(re.findall(r"\{(\w+)\}", entry.layout)):
            problems.append(
                f"archive {entry.prefix!r}: layout {entry.layout!r} does not name the day ({{MM}} and {{dd}})"
            )
        if entry.start and entry.until and entry.until < entry.start:
            problems.append(f"archive {entry.prefix!r}: `until` {entry.until} lies before `from` {entry.start}")
    for first, second in itertools.pairwise(ordered):
        problems += _between(first, second)
    return problems


def _between(first: ArchiveEntry, second: ArchiveEntry) -> list[str]:
    end, start = first.until or dt.date.max, second.start or dt.date.min
    if start <= end and first.preferred == second.preferred:
        return [f"archive {first.prefix!r} and {second.prefix!r} overlap on {start}; mark one as `preferred: true`"]
    if end < dt.date.max and start > end + dt.timedelta(days=1):
        return [f"archive: nothing holds the days between {end} and {start}; add an entry or extend one"]
    return []
