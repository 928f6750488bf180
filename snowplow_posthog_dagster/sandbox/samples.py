"""Real Snowplow events for the sandbox's archive, laid out as GitLab's collector leaves them in S3.

The events are those on which Snowplow tests its own data models (data/NOTICE.md). Each lies in the object of the hour
in which its collector saw it: `output/2021/03/02/19/SnowPlowEnrichedGood-2-2021-03-02-19-05-11-<uuid>.gz`. Five broken
records lie among the good ones of one hour, so that a first run meets dead letters.

Names and contents depend on the data alone, and an object that already holds its records is not written again:
its ETag, and with it everything that was loaded from it, stays valid.
"""

import gzip
import hashlib
import uuid
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

PREFIX = "output/"
STREAM = "SnowPlowEnrichedGood-2"
GOOD_FILES = ("web_events.tsv.gz", "mobile_events.tsv.gz")
BROKEN_FILE = "broken_events.tsv.gz"
# A busy hour; the broken records stand between its good ones, after every second.
BROKEN_HOUR = "2021-03-01-20"
COLLECTOR_TSTAMP = 3
# The days of the web and of the mobile events' models that hold more than a stray event. The archive has 36 more days
# with one to eleven records each, from 2020-07-03 to 2021-04-21, for a backfill in the UI.
SAMPLE_DAYS = (
    "2021-02-26",
    "2021-03-01",
    "2021-03-02",
    "2021-03-03",
    "2021-03-04",
    "2021-03-26",
    "2021-03-27",
)
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/snowplow/snowplow")


class SampleObject(NamedTuple):
    """One object of the sample archive: its key, its lines as they are inflated, and how many there are."""

    key: str
    lines: bytes
    records: int

    @property
    def day(self) -> str:
        """The UTC day of the archive path, `YYYY-MM-DD`."""
        return "-".join(self.key.removeprefix(PREFIX).split("/")[:3])


class SampleArchive(NamedTuple):
    """What `write_sample_archive` found or put into the bucket."""

    written: int
    unchanged: int
    records: int


def sample_objects() -> list[SampleObject]:
    """All objects of the sample archive in the order of their keys."""
    hours: dict[str, list[bytes]] = {}
    for name in GOOD_FILES:
        for line in _lines(name):
            # 2021-03-02 19:05:11.123 -> 2021-03-02-19
            hour = line.split(b"\t", COLLECTOR_TSTAMP + 1)[COLLECTOR_TSTAMP][:13].decode().replace(" ", "-")
            hours.setdefault(hour, []).append(line)
    return sorted(_object(hour, lines) for hour, lines in hours.items())


def _lines(name: str) -> list[bytes]:
    packed = files("snowplow_posthog_dagster.sandbox").joinpath("data", name).read_bytes()
    return [line for line in gzip.decompress(packed).split(b"\n") if line]


def _object(hour: str, lines: list[bytes]) -> SampleObject:
    tstamps = [line.split(b"\t", COLLECTOR_TSTAMP + 1)[COLLECTOR_TSTAMP].decode() for line in lines]
    # 2021-03-02 19:05:11.123 -> 2021-03-02-19-05-11: a collector names a file by the time of its first record.
    first = min(tstamps)[:19].replace(" ", "-").replace(":", "-")
    if hour == BROKEN_HOUR:
        lines = list(_interleaved(lines, _lines(BROKEN_FILE)))
    key = f"{PREFIX}{hour.replace('-', '/')}/{STREAM}-{first}-{uuid.uuid5(_NAMESPACE, hour)}.gz"
    return SampleObject(key, b"".join(line + b"\n" for line in lines), len(lines))


def _interleaved(good: list[bytes], broken: list[bytes]) -> Iterable[bytes]:
    """Two good lines, then a broken one, and so on."""
    left = iter(broken)
    for position, line in enumerate(good):
        yield line
        if position % 2 and (other := next(left, None)) is not None:
            yield other


def write_sample_archive(client: "S3Client", bucket: str) -> SampleArchive:
    """Put the sample archive into `bucket`; objects that already hold the same lines are left alone."""
    present = _etags(client, bucket)
    written = 0
    objects = sample_objects()
    for item in objects:
        body = gzip.compress(item.lines, mtime=0)
        if item.key in present and (
            present[item.key] == hashlib.md5(body, usedforsecurity=False).hexdigest()
            or _stored_lines(client, bucket, item.key) == item.lines
        ):
            continue
        client.put_object(Bucket=bucket, Key=item.key, Body=body)
        written += 1
    return SampleArchive(written, len(objects) - written, sum(item.records for item in objects))


def _etags(client: "S3Client", bucket: str) -> dict[str, str]:
    """The unquoted ETag of each key: the MD5 of what was put, unless the bucket encrypts."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX)
    return {item["Key"]: item["ETag"].strip('"') for page in pages for item in page.get("Contents", [])}


def _stored_lines(client: "S3Client", bucket: str, key: str) -> bytes | None:
    """The inflated object, None when it is no gzip; another release of zlib packs the same lines into other bytes."""
    try:
        return gzip.decompress(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    except (gzip.BadGzipFile, EOFError):
        return None
