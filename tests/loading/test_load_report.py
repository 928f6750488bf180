"""The last days hour by hour: every fate is seen, and text, SVG, PNG and page say the same."""

import datetime as dt
import gzip
import io
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from PIL import Image

from snowplow_posthog_dagster.loading.load_report import DayRow, Fate, LoadReport, as_text, report_of
from snowplow_posthog_dagster.loading.measures import Measures
from snowplow_posthog_dagster.loading.picture import COLOURS, SHARPNESS, WIDTH, markdown, page, png, svg
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.entries import Gone
from snowplow_posthog_dagster.storage.s3 import Bucket
from tests.ground import DAY, Ground, lines_of

NOON = dt.datetime.combine(DAY, dt.time(12), dt.UTC)
LATER = NOON + dt.timedelta(days=3)


def report(ground: Ground, now: dt.datetime = LATER, *, days: int = 2, listing: bool = True, **more) -> LoadReport:
    archive = Archive(Bucket(ground.s3, ground.buckets[0]), ground.settings.archive_entries) if listing else None
    return report_of(ground.workspace, archive, now=now, days=days, grace_minutes=120, **more)


def fates(row: DayRow) -> str:
    return "".join(fate.sign for fate in row.hours)


@pytest.fixture
def loaded(ground: Ground) -> Ground:
    """Hour 4 delivered, 5 transformed and not sent, 6 broken, 7 arrived and not seen by a run."""
    ground.put("a", lines_of(3))
    ground.run()
    ground.put("b", lines_of(2), hour=5)
    cut = gzip.compress(b"x" * 9000)[:-9]
    ground.s3.put_object(Bucket=ground.buckets[0], Key="output/2022/06/06/06/cut.gz", Body=cut)
    ground.transform()
    ground.put("c", lines_of(1), hour=7)
    return ground


def test_each_hour_has_its_fate(loaded: Ground):
    (row,) = report(loaded, last=DAY).rows
    assert fates(row) == "····█▒X▒················"
    assert (row.files, row.counts.records) == (4, 5)
    assert row.note == "1 broken file, 20 hours missing, 2 to send"


def test_without_the_listing_the_log_is_believed(loaded: Ground):
    (row,) = report(loaded, days=1, last=DAY, listing=False).rows
    assert fates(row) == "····█▒X·················"


def test_an_overwritten_file_holds_no_hour_open(ground: Ground):
    ground.put("a", lines_of(3))
    ground.run()
    ground.put("a", lines_of(4, page_title="again"))
    assert ground.run().closed
    (row,) = report(ground, days=1, last=DAY, listing=False).rows
    assert fates(row) == "····█···················"


@pytest.mark.parametrize("listing", [True, False])
def test_a_file_that_was_deleted_before_it_was_read_leaves_the_day_its_hours(ground: Ground, listing: bool):
    ground.put("a", lines_of(3))
    lost = ground.put("b", lines_of(2), hour=5)
    ground.load().list_new()
    ground.delete(lost)
    ground.run()
    (row,) = report(ground, days=1, last=DAY, listing=listing).rows
    assert fates(row) == "····█···················"


def test_a_file_that_waits_is_seen_beside_loaded_ones_that_were_deleted(ground: Ground):
    loaded = [ground.put(name, lines_of(1)) for name in "ab"]
    ground.run()
    for key in loaded:
        ground.delete(key)
    ground.run()
    assert fates(report(ground, days=1, last=DAY).rows[0])[4] == Fate.DELIVERED.sign
    ground.put("merged", lines_of(2))
    assert fates(report(ground, days=1, last=DAY).rows[0])[4] == Fate.ARRIVED.sign
    ground.run()
    assert fates(report(ground, days=1, last=DAY).rows[0])[4] == Fate.DELIVERED.sign


def test_an_earlier_release_that_noted_no_hour_leaves_the_day_its_hours(ground: Ground):
    ground.put("a", lines_of(3))
    ground.run()
    ground.load().log.write([Gone(object="0" * 32, revision=0, key="b", at="2022-06-06T05:00:00Z")], writer="old")
    (row,) = report(ground, days=1, last=DAY).rows
    assert fates(row) == "····█···················"


def test_hours_that_are_not_due_are_not_missing(loaded: Ground):
    (row,) = report(loaded, NOON, days=1).rows
    assert fates(row) == "····█▒X▒··              ", "until 10: noon less two hours of grace"


def test_a_finished_day_needs_no_log(ground: Ground, monkeypatch):
    ground.put("a", lines_of(3))
    ground.run()
    monkeypatch.setattr(Measures, "_read", None)
    assert fates(report(ground, days=1, last=DAY).rows[0]).count("█") == 1


def test_it_begins_with_the_first_day_that_was_loaded(loaded: Ground):
    assert [row.day for row in report(loaded, days=30, last=DAY).rows] == [DAY]
    following = report(loaded, LATER, days=30, last=DAY + dt.timedelta(days=1)).rows
    assert [fates(row).count("·") for row in following] == [20, 24], "a day after it without files is missing"


def test_it_ends_today_or_with_what_was_loaded_last(loaded: Ground):
    assert report(loaded, LATER, days=30).rows[-1].day == LATER.date()
    assert report(loaded, LATER + dt.timedelta(days=400), days=30).rows[-1].day == DAY


def test_a_day_whose_log_takes_too_long_says_so(loaded: Ground):
    (row,) = report(loaded, days=1, last=DAY, seconds=0.0).rows
    assert (row.note, fates(row)) == ("log not read", " " * 24)


def test_a_layout_without_hours_has_one_cell(ground: Ground):
    ground.file = {"archive": [{"prefix": "flat/", "layout": "{yyyy}-{MM}-{dd}-"}]}
    ground.s3.put_object(Bucket=ground.buckets[0], Key=f"flat/{DAY}-x.gz", Body=gzip.compress(lines_of(1)[0] + b"\n"))
    ground.run()
    row = report(ground, days=1, last=DAY).rows[0]
    assert row.hours == (Fate.DELIVERED,)
    assert "<path" in svg(report(ground, days=1, last=DAY))


def test_days_outside_of_the_archive_list_are_not_listed(loaded: Ground):
    entry = ArchiveEntry("output/", until=DAY)
    archive = Archive(Bucket(loaded.s3, loaded.buckets[0]), [entry])
    last = DAY + dt.timedelta(days=1)
    found = report_of(loaded.workspace, archive, now=LATER, days=3, last=last, grace_minutes=120)
    assert [row.files for row in found.rows] == [4, 0]


# -- forms ------------------------------------------------------------------------------------------------


@pytest.fixture
def month() -> LoadReport:
    whole = (Fate.DELIVERED,) * 24
    some = (*whole[:9], Fate.BROKEN, Fate.MISSING, Fate.ARRIVED, *(Fate.NOTHING,) * 12)
    first = dt.date(2026, 10, 3)
    rows = [
        DayRow(first + dt.timedelta(days=number), whole, 22_000, Counts(records=45_000_000)) for number in range(29)
    ]
    last = DayRow(dt.date(2026, 11, 1), some, 9_000, Counts(records=7, objects_broken=1, pending=3))
    return LoadReport("a<b", dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC), (*rows, last))


def test_the_text_fits_into_a_message(month: LoadReport):
    text = as_text(month)
    assert len(text) < 2_900, "Slack cuts a section at 3,000 characters"
    assert "2026-11-01 █████████X·▒" in text
    assert "hours: 705 delivered, 1 arrived, 1 missing, 1 broken" in text


def test_the_svg_is_small_and_names_every_day(month: LoadReport):
    drawn = svg(month)
    assert len(markdown(month)) < 10_000, "it is stored with every materialization"
    root = ET.fromstring(drawn)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "2026-10-03  Sat" in words and "1 broken file, 1 hour missing, 3 to send" in words
    assert any("a<b" in word for word in words if word), "names are escaped"


def test_the_png_shows_the_same_colours(month: LoadReport):
    image = Image.open(io.BytesIO(png(month)))
    assert image.width == WIDTH * SHARPNESS
    seen: set[Any] = {pixel for _, pixel in image.convert("RGB").getcolors(maxcolors=1 << 24) or []}
    for fate, colour in COLOURS.items():
        wanted = tuple(bytes.fromhex(colour[1:]))
        assert any(all(abs(a - b) < 12 for a, b in zip(wanted, pixel, strict=True)) for pixel in seen), fate


def test_the_page_loads_nothing(month: LoadReport):
    written = page(month)
    assert "a&lt;b" in written and "<td>45,000,000</td>" in written
    assert "src=" not in written and "href=" not in written
