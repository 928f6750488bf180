"""Objects that are small as stored and huge inside: bounded by settings, in flat memory, and they hold nobody up."""

import json
import subprocess
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.storage.dead_letters import TRANSFORM, dead_letter_files, read_dead_letters
from tests.ground import DAY, Ground, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MEGABYTE = 1024 * 1024
HUGE = 300

LOAD = """
import json, re, sys
from snowplow_posthog_dagster.settings import Environment, Settings, SettingsFile
from snowplow_posthog_dagster.storage.s3 import Connection
from snowplow_posthog_dagster.sandbox.client import StandInClient
from tests.ground import Ground
given = json.loads(sys.argv[1])
connection, posthog = Connection(**given["connection"]), StandInClient(given["host"])
ground = Ground(connection, posthog, tuple(given["buckets"]), {}, given["file"])
broken = ground.transform().broken
ground.deliver()
# Not ru_maxrss, which begins with what the parent had in memory when it forked.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps({"broken": broken, "kilobytes": int(peak[1])}))
"""


def load(ground: Ground, **transform: int) -> dict[str, Any]:
    """Transform and deliver the day in a process of its own; what was broken, and its peak of resident memory."""
    connection = {
        name: getattr(ground.connection, name)
        for name in ("endpoint_url", "region", "access_key_id", "secret_access_key")
    }
    given = {
        "connection": connection,
        "host": ground.posthog.host,
        "buckets": ground.buckets,
        "file": {"transform": transform},
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(given)],
        check=False, capture_output=True, text=True, cwd=Path(__file__).parent.parent.parent, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout)
    return dict(json.loads(done.stdout))


def put_stored(ground: Ground, name: str, pieces: Iterable[bytes]) -> int:
    """Put the pieces as one gzip, which is never whole in memory before it is packed; returns its stored bytes."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    stored = b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])
    ground.s3.put_object(Bucket=ground.buckets[0], Key=f"output/{DAY:%Y/%m/%d}/04/{name}.gz", Body=stored)
    return len(stored)


def of_a_huge_record(kind: str) -> Iterable[bytes]:
    """The pieces of a line of 300 MB: no record at all, or a record with one enormous column."""
    filler = b"x" * MEGABYTE
    first, second = lines_of(1)[0].split(b"\t", 1)
    if kind == "record":
        yield first + b"\t"
    for _ in range(HUGE):
        yield filler
    if kind == "record":
        yield b"\t" + second
    yield b"\n"


@pytest.fixture
def flat(ground: Ground) -> int:
    """Kilobytes that a load of small objects takes."""
    for number in range(3):
        ground.put(f"small-{number}", lines_of(20), hour=3)
    return int(load(ground)["kilobytes"])


@pytest.mark.parametrize("kind", ["text", "record"])
def test_a_line_of_300_mb_is_one_dead_letter_between_its_neighbours(ground: Ground, flat: int, kind: str) -> None:
    before, after = lines_of(2), lines_of(2)
    pieces = [
        *(line + b"\n" for line in before), *of_a_huge_record(kind), *(line + b"\n" for line in after)
    ]  # fmt: skip
    assert put_stored(ground, "huge", pieces) < 3 * MEGABYTE
    ground.put("beside", lines_of(3))
    measured = load(ground)
    assert measured["broken"] == []
    counts = ground.counts()
    assert (counts.records, counts.mapped, counts.dead_letters) == (60 + 5 + 3, 60 + 4 + 3, 1)
    assert counts.acknowledged == len(ground.events()) == 67 and ground.is_closed()
    (name,) = dead_letter_files(ground.workspace, DAY, TRANSFORM)
    (letter,) = read_dead_letters(ground.workspace, DAY, TRANSFORM, name)
    assert letter["data"]["failure"]["actualSizeBytes"] >= HUGE * MEGABYTE
    assert len(json.dumps(letter)) < 20_000, "its head is kept, not the line"
    assert measured["kilobytes"] - flat < 60 * 1024, "about twice max_record_bytes of 16 MB"


def test_a_smaller_limit_of_a_record_makes_the_memory_smaller(ground: Ground, flat: int) -> None:
    put_stored(ground, "huge", of_a_huge_record("text"))
    assert load(ground, max_record_bytes=MEGABYTE)["kilobytes"] - flat < 30 * 1024
    assert ground.counts().dead_letters == 1


def test_an_object_beyond_its_limit_is_broken_and_its_neighbours_are_delivered(ground: Ground, flat: int) -> None:
    put_stored(ground, "bomb", (b"\0" * MEGABYTE for _ in range(HUGE)))
    ground.put("beside", lines_of(3))
    measured = load(ground, max_object_bytes=50 * MEGABYTE)
    assert len(measured["broken"]) == 1
    assert "bomb.gz: inflates to more than 52,428,800 bytes (setting max_object_bytes)" in measured["broken"][0]
    assert measured["kilobytes"] - flat < 60 * 1024
    counts = ground.counts()
    assert (counts.objects_broken, counts.acknowledged, counts.dead_letters) == (1, 63, 0)


def test_a_bomb_of_millions_of_empty_lines_is_read_in_flat_memory(ground: Ground, flat: int) -> None:
    put_stored(ground, "lines", (b"\n" * MEGABYTE for _ in range(5)))
    measured = load(ground)
    assert measured["broken"] == [] and measured["kilobytes"] - flat < 30 * 1024
    counts = ground.counts()
    assert (counts.lines, counts.records) == (5 * MEGABYTE + 60, 60)


def test_a_line_of_millions_of_empty_columns_is_accounted_for_in_flat_memory(ground: Ground, flat: int) -> None:
    put_stored(ground, "tabs", (b"\t" * MEGABYTE for _ in range(5)))
    measured = load(ground, max_record_bytes=MEGABYTE)
    assert measured["broken"] == [] and measured["kilobytes"] - flat < 60 * 1024
    counts = ground.counts()
    assert counts.dead_letters + counts.repeats == counts.records - 60 > 40_000, (
        "empty records are copies of each other"
    )
    assert counts.mapped == counts.acknowledged == 60
    assert ground.state().problems() == [] and ground.is_closed()
