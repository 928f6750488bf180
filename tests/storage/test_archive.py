"""The archive list: which prefix holds a day, what is data, and what an object's identity is."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry, check_entries, is_data, object_id
from snowplow_posthog_dagster.storage.s3 import Bucket, Listed

GITLAB = [
    ArchiveEntry("output_nullified_columns/", until=dt.date(2023, 1, 31)),
    ArchiveEntry("output_mask_page_url_path/", start=dt.date(2023, 2, 1), until=dt.date(2024, 12, 1)),
    ArchiveEntry("output/", start=dt.date(2024, 12, 2)),
]


def archive(*entries: ArchiveEntry) -> Archive:
    no_client: Any = None
    return Archive(Bucket(no_client, "bucket"), entries)


@pytest.mark.parametrize(
    ("day", "prefix"),
    [
        (dt.date(2019, 1, 1), "output_nullified_columns/"),
        (dt.date(2023, 1, 31), "output_nullified_columns/"),
        (dt.date(2023, 2, 1), "output_mask_page_url_path/"),
        (dt.date(2024, 12, 1), "output_mask_page_url_path/"),
        (dt.date(2024, 12, 2), "output/"),
    ],
)
def test_the_prefix_is_chosen_by_date_and_both_ends_are_inclusive(day: dt.date, prefix: str) -> None:
    assert archive(*GITLAB).entry_for(day).prefix == prefix


def test_a_list_without_gaps_and_overlaps_has_no_problems() -> None:
    assert check_entries(GITLAB) == []


def test_a_gap_is_named_with_its_days() -> None:
    (problem,) = check_entries([GITLAB[0], GITLAB[2]])
    assert "between 2023-01-31 and 2024-12-02" in problem
    with pytest.raises(SettingsError, match="no archive entry holds 2023-06-01"):
        archive(GITLAB[0], GITLAB[2]).entry_for(dt.date(2023, 6, 1))


def test_an_overlap_is_an_error_unless_one_entry_is_preferred() -> None:
    first, second = ArchiveEntry("old/", until=dt.date(2023, 1, 31)), ArchiveEntry("new/", start=dt.date(2023, 1, 31))
    assert "overlap on 2023-01-31" in check_entries([first, second])[0]
    with pytest.raises(SettingsError, match="several archive entries"):
        archive(first, second).entry_for(dt.date(2023, 1, 31))
    preferred = ArchiveEntry("new/", start=dt.date(2023, 1, 31), preferred=True)
    assert check_entries([first, preferred]) == []
    assert archive(first, preferred).entry_for(dt.date(2023, 1, 31)).prefix == "new/"


def test_layouts_name_hours_in_any_way() -> None:
    day = dt.date(2022, 6, 6)
    assert ArchiveEntry("output/").key_prefix(day, 4) == "output/2022/06/06/04/"
    assert (
        ArchiveEntry("e/", layout="date={yyyy}-{MM}-{dd}/hour={HH}/").key_prefix(day, 4) == "e/date=2022-06-06/hour=04/"
    )
    assert ArchiveEntry("run=", layout="{yyyy}-{MM}-{dd}-{HH}").key_prefix(day, 23) == "run=2022-06-06-23"
    assert not ArchiveEntry("e/", layout="{yyyy}/{MM}/{dd}/").hourly


def test_a_layout_that_cannot_name_a_day_is_an_error() -> None:
    assert "unknown fields ['mm']" in check_entries([ArchiveEntry("e/", layout="{yyyy}/{MM}/{dd}/{mm}/")])[0]
    assert "does not name the day" in check_entries([ArchiveEntry("e/", layout="{yyyy}/")])[0]


class Keys:
    """A bucket that holds these keys and notes which prefixes were listed."""

    name = "bucket"

    def __init__(self, *keys: str) -> None:
        self.keys = sorted(keys)
        self.listed: list[str] = []

    def listing(self, prefix: str) -> Iterator[Listed]:
        self.listed.append(prefix)
        return (Listed(key, "e", 7, 0.0, "STANDARD") for key in self.keys if key.startswith(prefix))


def listed(layout: str, keys: Keys, hours: list[int] | None = None) -> list[tuple[str, int | None]]:
    bucket: Any = keys
    found = Archive(bucket, [ArchiveEntry("e/", layout=layout)]).list_day(dt.date(2022, 6, 6), hours)
    return [(item.key, item.hour) for item in found]


def test_a_day_of_few_objects_is_one_list_and_one_of_many_is_one_an_hour() -> None:
    names = [f"e/2022/06/06/{number % 24:02d}/{number:04d}.gz" for number in range(1_200)]
    few = Keys(*names[:990], "e/2022/06/06/24/x.gz", "e/2022/06/06/readme", "e/2022/06/07/00/x.gz", "e/2022/06/066")
    many = Keys(*names)
    by_few, by_many = listed("{yyyy}/{MM}/{dd}/{HH}/", few), listed("{yyyy}/{MM}/{dd}/{HH}/", many)
    assert by_few == [(name, int(name[13:15])) for name in sorted(names[:990])]
    assert by_many == [(name, int(name[13:15])) for name in sorted(names)]
    assert few.listed == ["e/2022/06/06/"]
    assert len(many.listed) == 25


@pytest.mark.parametrize(
    ("layout", "key", "lists"),
    [
        ("{yyyy}{MM}{dd}{HH}/", "e/2022060604/a.gz", 1),
        ("dt={yyyy}-{MM}-{dd}/hh={HH}/good/", "e/dt=2022-06-06/hh=04/good/a.gz", 1),
        ("{HH}/{yyyy}/{MM}/{dd}/", "e/04/2022/06/06/a.gz", 24),
    ],
)
def test_hours_are_listed_together_only_where_the_hour_comes_last(layout: str, key: str, lists: int) -> None:
    keys = Keys(key, "e/2022/06/06/a.gz")
    assert listed(layout, keys) == [(key, 4)]
    assert len(keys.listed) == lists
    assert listed(layout, keys, [3]) == []


def test_hours_of_a_daily_layout_cannot_be_chosen() -> None:
    with pytest.raises(SettingsError, match="hours cannot be chosen"):
        archive(ArchiveEntry("e/", layout="{yyyy}/{MM}/{dd}/")).list_day(dt.date(2022, 6, 6), [4])


@pytest.mark.parametrize(
    "key",
    [
        "output/2022/06/06/04/_SUCCESS",
        "output/2022/06/06/04/",
        "output/2022/06/06/04/part-0.lzo.index",
        "output/2022/06/06/04/x.manifest",
        "output/processing-failed/2022/06/06/04/x",
        "output/2022/06/06/04/.part-0.gz.crc",
        "output/2022/06/06/04_$folder$",
        "output/2022/06/06/04/manifest",
        "output/2022/06/06/04/_temporary/0/part-0.gz",
        "output/2022/06/06/04/.hidden/part-0.gz",
    ],
)
def test_what_lies_beside_the_data_is_ignored(key: str) -> None:
    assert not is_data(Listed(key, "e", 10, 0.0, "STANDARD"), "output/2022/06/06/04/")


def test_any_other_key_is_data_whatever_its_ending_and_an_empty_one_is_not() -> None:
    key = "output/2022/06/06/04/SnowPlowEnrichedGood-2-2022-06-06-04-29-38-a3034baf-2167-42a5-9633-76318f7b5b8c.gz"
    assert is_data(Listed(key, "e", 10, 0.0, "STANDARD"))
    assert is_data(Listed("output/2022/06/06/04/part-00000", "e", 10, 0.0, "STANDARD"))
    assert is_data(Listed("output/2022/06/06/04/events-manifest", "e", 10, 0.0, "STANDARD"))
    assert is_data(Listed("_raw/2022/06/06/04/x.gz", "e", 10, 0.0, "STANDARD"), "_raw/2022/06/06/04/")
    assert not is_data(Listed(key, "e", 0, 0.0, "STANDARD"))


def test_an_object_is_its_bucket_key_and_etag() -> None:
    base = object_id("b", "k", '"e"')
    assert len(base) == 32
    assert base == object_id("b", "k", "e"), "quotes around an ETag mean nothing"
    assert len({base, object_id("b2", "k", "e"), object_id("b", "k2", "e"), object_id("b", "k", "e2")}) == 4
    assert object_id("b", "kx", "e") != object_id("bk", "x", "e")


@pytest.mark.parametrize(
    ("entry", "key", "day"),
    [
        (ArchiveEntry("output/"), "output/2022/06/06/04/x.gz", dt.date(2022, 6, 6)),
        (ArchiveEntry("a.b/", layout="{yy}-{MM}-{dd}/"), "a.b/22-06-06/x.gz", dt.date(2022, 6, 6)),
        (ArchiveEntry("", layout="{yyyy}/{yyyy}-{MM}-{dd}/"), "2022/2022-06-06/x.gz", dt.date(2022, 6, 6)),
        (ArchiveEntry("a.b/"), "aXb/2022/06/06/04/x.gz", None),
        (ArchiveEntry("output/"), "output/2022/13/06/04/x.gz", None),
        (ArchiveEntry("output/", start=dt.date(2023, 1, 1)), "output/2022/06/06/04/x.gz", None),
    ],
)
def test_a_key_says_its_day(entry: ArchiveEntry, key: str, day: dt.date | None) -> None:
    assert archive(entry).day_of(key) == day
