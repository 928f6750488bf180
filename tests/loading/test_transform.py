"""One archive object to its batches: counts, repeats, objects that change, and memory that stays flat."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snowplow_posthog_dagster.errors import BrokenObjectError, GoneObjectError, SupersededObjectError
from snowplow_posthog_dagster.loading.sources import source_for
from snowplow_posthog_dagster.loading.transform import (
    RepeatWindow,
    TransformJob,
    TransformOptions,
    failure_entry,
    transform_object,
)
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.entries import Broken, Done, Gone, Superseded, line_of
from tests.integration.days import DAY, DayInTest, line, lines


def transform(day: DayInTest, found: ArchiveObject, options: TransformOptions | None = None) -> Done:
    mapper = Mapper(day.mapping)
    job = TransformJob(
        day.archive,
        day.workspace,
        DAY,
        (mapper.identity_version, mapper.mapping_version),
        options or TransformOptions(),
        "writer",
    )
    return transform_object(found, source_for("snowplow", mapper, found.object_id, f"{DAY}", 16 * 1024 * 1024), job)


def only_object(day: DayInTest) -> ArchiveObject:
    (found,) = day.archive.list_day(DAY)
    return found


def test_transforming_twice_gives_the_same_batches_and_the_same_counts(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 5000))
    first, second = transform(day, only_object(day)), transform(day, only_object(day))
    assert [note.id for note in first.batches] == [note.id for note in second.batches]
    assert [note.events for note in first.batches] == [2000, 2000, 1000]
    assert line_of(first).replace(first.at.encode(), b"") == line_of(second).replace(second.at.encode(), b"")


def test_the_codec_changes_the_bytes_and_not_the_identity_of_a_batch(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 1000))
    isal = transform(day, only_object(day), TransformOptions(codec="isal", level=1))
    zlib = transform(day, only_object(day), TransformOptions(codec="zlib", level=9))
    assert [note.id for note in isal.batches] == [note.id for note in zlib.batches]
    assert zlib.batches[0].stored < isal.batches[0].stored


def test_exact_copies_within_an_object_are_repeats(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 10) * 3 + line(3, title="another title") + b"\n")
    done = transform(day, only_object(day))
    assert (done.records, done.mapped, done.repeats) == (31, 11, 20)


def test_an_object_that_holds_itself_twice_counts_its_second_half_as_repeats(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 4000) * 2)
    done = transform(day, only_object(day), TransformOptions(repeat_window=10))
    assert (done.records, done.mapped, done.repeats) == (8000, 4000, 4000)
    assert sum(note.events for note in done.batches) == done.mapped


def test_the_repeat_window_is_bounded() -> None:
    window = RepeatWindow(2)
    assert [window.seen(raw) for raw in (b"a", b"b", b"a", b"c", b"a", b"b")] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert not RepeatWindow(0).seen(b"a")


def test_an_object_overwritten_after_its_listing_is_superseded_not_broken(day: DayInTest) -> None:
    key = day.put("a.gz", lines(0, 10))
    found = only_object(day)
    day.archive.bucket.put(key, gzip.compress(lines(5, 10), mtime=0))
    with pytest.raises(SupersededObjectError) as caught:
        transform(day, found)
    assert isinstance(failure_entry(found, caught.value, revision=0, attempts=0, writer="w"), Superseded)


def test_an_object_deleted_after_its_listing_is_gone(day: DayInTest) -> None:
    key = day.put("a.gz", lines(0, 10))
    found = only_object(day)
    day.archive.bucket.delete([key])
    with pytest.raises(GoneObjectError) as caught:
        transform(day, found)
    assert isinstance(failure_entry(found, caught.value, revision=0, attempts=0, writer="w"), Gone)


def test_a_broken_object_is_tried_again_after_a_delay_that_grows_to_a_day(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 10))
    found, error = only_object(day), BrokenObjectError("truncated")
    entries = [failure_entry(found, error, revision=0, attempts=attempts, writer="w") for attempts in (0, 1, 2, 9)]
    waits = [_minutes(entry) for entry in entries if isinstance(entry, Broken)]
    assert waits == [5, 20, 80, 24 * 60]


def _minutes(entry: Broken) -> float:
    import datetime as dt

    moments = [dt.datetime.fromisoformat(text) for text in (entry.at, entry.next_try)]
    return (moments[1] - moments[0]).total_seconds() / 60


def test_small_objects_are_sampled_whole_and_large_ones_by_uuid(day: DayInTest) -> None:
    day.put("small.gz", lines(0, 5))
    transform(day, only_object(day))
    (small,) = day.workspace.bucket.listing(day.workspace.folder("samples", DAY))
    assert len(day.workspace.read_lines(small.key)) == 5
    day.put("small.gz", b"")
    day.archive.bucket.delete([only_object(day).key])
    day.put("large.gz", lines(0, 9000))
    transform(day, only_object(day))
    keys = [listed.key for listed in day.workspace.bucket.listing(day.workspace.folder("samples", DAY))]
    (large,) = [key for key in keys if key != small.key]
    assert len(day.workspace.read_lines(large)) == 3, "uuids that end in 000: records 0, 4096 and 8192"


def test_an_object_without_records_is_done_at_once(day: DayInTest) -> None:
    day.put("a.gz", b"\n\n")
    done = transform(day, only_object(day))
    assert (done.records, done.batches, done.lines) == (0, [], 2)


def test_a_decompression_bomb_is_broken(day: DayInTest) -> None:
    day.put("a.gz", b"\0" * 30_000_000)
    with pytest.raises(BrokenObjectError, match="max_object_bytes"):
        transform(day, only_object(day), TransformOptions(max_object_bytes=1_000_000))


def with_other_ids(block: bytes, number: int) -> bytes:
    """The same records under other event ids, so that none of them is a repeat."""
    return block.replace(b"-4000-8000-", b"-4%03x-8%03x-" % (number // 4096, number % 4096))


MEASURE = """
import re, sys
from datetime import date
from snowplow_posthog_dagster.loading.sources import source_for
from snowplow_posthog_dagster.loading.transform import TransformJob, TransformOptions, transform_object
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry
from snowplow_posthog_dagster.storage.workspace import Workspace
client = connect(Connection(endpoint_url=sys.argv[1], region="us-east-1", access_key_id=sys.argv[2],
                            secret_access_key=sys.argv[3], addressing_style="path"))
archive = Archive(Bucket(client, sys.argv[4]), [ArchiveEntry("output/")])
workspace = Workspace(Bucket(client, sys.argv[5]), "posthog/", "test")
mapper = Mapper(MappingSettings())
DAY = date(2022, 6, 6)
job = TransformJob(archive, workspace, DAY, ("i", "m"), TransformOptions(), "w")
found = [one for one in archive.list_day(DAY) if one.key.endswith(sys.argv[6])][0]
done = transform_object(found, source_for("snowplow", mapper, found.object_id, "2022-06-06", 1 << 24), job)
# Not ru_maxrss, which begins with what the parent had in memory when it forked.
print(done.records, done.raw_bytes, re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_stays_flat_while_one_object_grows_from_5_mb_to_1_gb(day: DayInTest) -> None:
    title = os.urandom(400).hex()
    block = b"".join(line(number, title=title) + b"\n" for number in range(3000))
    sizes = {"small.gz": 5 * 1024**2, "large.gz": int(os.environ.get("LARGE_OBJECT_BYTES", "1073741824"))}
    peaks = {}
    for name, size in sizes.items():
        copies = -(-size // len(block))
        members = [gzip.compress(with_other_ids(block, number), 1, mtime=0) for number in range(copies)]
        day.archive.bucket.put(f"output/2022/06/06/04/{name}", b"".join(members))
        connection = day.connection
        measured = subprocess.run(
            [
                sys.executable, "-c", MEASURE, str(connection.endpoint_url), str(connection.access_key_id),
                str(connection.secret_access_key), day.archive.bucket.name, day.workspace.bucket.name, name,
            ],
            check=False, capture_output=True, text=True, cwd=Path(__file__).parent.parent.parent,
        )  # fmt: skip
        assert measured.returncode == 0, measured.stderr[-2000:]
        records, raw_bytes, peaks[name] = map(int, measured.stdout.split())
        assert raw_bytes >= size
        assert records == copies * 3000
    assert peaks["large.gz"] < peaks["small.gz"] * 1.25, f"kilobytes resident: {peaks}"
