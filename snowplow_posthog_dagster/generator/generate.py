"""The run: hours of records, packed into objects, with the truth written along.

Bounded memory whatever the size of an object: records are compressed 64 at a time.
"""

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, cast

from isal import isal_zlib
from isal.igzip import IGzipFile

from snowplow_posthog_dagster.generator.objects import Sink, object_key
from snowplow_posthog_dagster.generator.settings import GeneratorSettings
from snowplow_posthog_dagster.generator.stream import BROKEN, GOOD, LATE, OVERSIZED, REPEAT, Hour, Made
from snowplow_posthog_dagster.generator.truth import TRUTH_FILE, UUIDS_FILE, ObjectTruth, Truth
from snowplow_posthog_dagster.generator.world import World

GZIP = 31  # zlib's "window bits" for a gzip member; its header holds no time, so the same records give the same bytes
CHUNK_RECORDS = 64  # 200 KB at the most, which stays in a core's own cache: 17 us a wide record, 20 with 250 of them


def generate(
    settings: GeneratorSettings,
    sink: Sink,
    truth_folder: Path,
    *,
    progress: Callable[[ObjectTruth], None] | None = None,
) -> Truth:
    """Make the archive and the truth about it.

    Args:
        settings: how much of what.
        sink: takes the objects.
        truth_folder: gets truth.json and uuids.txt.gz; not a folder of the archive, where they would pass for data.
        progress: called after each object.

    Returns:
        The truth, as it stands in truth.json.
    """
    world = World(settings)
    truth = Truth(settings=settings.model_dump(mode="json"))
    truth_folder.mkdir(parents=True, exist_ok=True)
    # Of an earlier run; it would pass for the truth about this one, should this one be cut off.
    (truth_folder / TRUTH_FILE).unlink(missing_ok=True)
    with (truth_folder / UUIDS_FILE).open("wb") as file, gzip_writer(file) as uuids:
        for start, events in hours(settings):
            records = Hour(world, start, events).records()
            while (first := next(records, None)) is not None:
                made = ObjectTruth(object_key(settings, first.arrival, len(truth.objects)), first.arrival)
                truth.objects.append(made)
                own = chain([first], islice(records, settings.records_per_object - 1))
                sink.put(made.key, pack(own, made, truth, uuids))
                if progress is not None:
                    progress(made)
    truth.write(truth_folder)
    return truth


def gzip_writer(file: BinaryIO) -> BinaryIO:
    """A gzip file whose header tells neither time nor name."""
    return cast("BinaryIO", IGzipFile("", "wb", 1, file, mtime=0))  # type: ignore[no-untyped-call]


def pack(records: Iterator[Made], made: ObjectTruth, truth: Truth, uuids: BinaryIO) -> bytes:
    """Compress the records of one object, a line each, and count them."""
    deflate = isal_zlib.compressobj(1, wbits=GZIP)
    parts = []
    while chunk := list(islice(records, CHUNK_RECORDS)):
        raw = b"\n".join([one.record for one in chunk]) + b"\n"
        parts.append(deflate.compress(raw))
        made.raw_bytes += len(raw)
        count(chunk, made, truth)
        uuids.write(b"".join([one.event_id + b"\n" for one in chunk if one.fate in {GOOD, LATE}]))
    body = b"".join([*parts, deflate.flush()])
    made.stored_bytes = len(body)
    made.raw_crc32 = int.from_bytes(body[-8:-4], "little")  # a gzip member ends in CRC-32 and length
    return body


def count(chunk: list[Made], made: ObjectTruth, truth: Truth) -> None:
    """Add these records to the counts of their object and of the run."""
    fates = Counter([one.fate for one in chunk])
    made.records += len(chunk)
    made.must_arrive += fates[GOOD] + fates[LATE]
    made.late += fates[LATE]
    made.broken += fates[BROKEN]
    made.oversized += fates[OVERSIZED]
    made.repeats += fates[REPEAT]
    truth.kinds.update([one.kind for one in chunk if one.fate != REPEAT])
    schemas = Counter([one.schema for one in chunk if one.fate in {GOOD, LATE}])
    truth.event_names.update({schema.split(b"\t")[1].decode(): number for schema, number in schemas.items()})
    truth.oversized_uuids += [one.event_id.decode() for one in chunk if one.fate == OVERSIZED]


def hours(settings: GeneratorSettings) -> Iterator[tuple[dt.datetime, int]]:
    """The hours of the run with the number of events of each, busiest in the afternoon and half as many at weekends."""
    starts = [settings.start + dt.timedelta(hours=number) for number in range(settings.hours)]
    weights = [busyness(start) for start in starts]
    total, done, given = sum(weights), 0.0, 0
    for start, weight in zip(starts, weights, strict=True):
        done += weight
        events = round(settings.events * done / total) - given
        given += events
        if events:
            yield start, events


def busyness(hour: dt.datetime) -> float:
    """Relative traffic of an hour: least at 3:00, most at 15:00 UTC."""
    return (1 - 0.6 * math.cos((hour.hour - 3) / 12 * math.pi)) * (0.5 if hour.weekday() >= 5 else 1)
