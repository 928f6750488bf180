"""A tick stays below 10 s on days of 22,000 objects, also the first one of a process, which has to read the logs."""

import datetime as dt
import gzip
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OBJECTS_PER_HOUR = 917
"""22,008 a day: GitLab's archive."""


@pytest.fixture
def busy(world, s3_folder):
    """Two days of 22,000 loaded objects, written as plain files into the folder that the S3 server serves."""
    world.now = world.now.replace(hour=23, minute=30)
    body = gzip.compress(b"x", mtime=0)
    for back in (1, 0):
        day = world.now.date() - dt.timedelta(days=back)
        for hour in range(24):
            folder = s3_folder / world.settings.archive_bucket / f"output/{day:%Y/%m/%d}/{hour:02d}"
            folder.mkdir(parents=True)
            for number in range(OBJECTS_PER_HOUR):
                (folder / f"SnowPlowEnrichedGood-2-{number:05d}.gz").write_bytes(body)
        world.settle(day)
    return world


def test_a_whole_round_of_ticks_is_quick_and_finds_the_late_file(busy):
    yesterday = busy.now - dt.timedelta(days=1)
    busy.put(yesterday.replace(hour=7), "late.gz")
    busy.after(minutes=5)
    seconds, asked = [], []
    for _ in range(8):
        began = time.monotonic()
        asked += busy.days(busy.tick())
        seconds.append(time.monotonic() - began)
    print("ticks", [round(one, 1) for one in seconds])
    assert max(seconds) < 10
    assert set(asked) == {f"{yesterday.date()}"}
