"""The sample archive: real records by the hour of their arrival, written once."""

import gzip
from collections import Counter

import boto3
import pytest

from snowplow_posthog_dagster.sandbox.samples import SAMPLE_DAYS, sample_objects, write_sample_archive
from snowplow_posthog_dagster.sandbox.servers import running_s3


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3")
    (folder / "archive").mkdir()
    with running_s3(folder) as environment:
        client = boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )
        yield client, folder / "archive"


def test_every_record_lies_in_the_object_of_its_collectors_hour():
    for item in sample_objects():
        hour = item.key.removeprefix("output/")[:13].replace("/", "-")
        good = [line.split(b"\t") for line in item.lines.splitlines() if line.count(b"\t") == 130]
        hours = Counter(fields[3][:13].decode().replace(" ", "-") for fields in good)
        assert hours.most_common(1)[0][0] == hour
        assert len(hours) == 1 or hour == "2021-03-01-20"


def test_names_are_those_of_gitlabs_collector():
    assert sample_objects()[0].key == (
        "output/2020/07/03/15/SnowPlowEnrichedGood-2-2020-07-03-15-55-18-f045406d-9006-5f84-8c75-db5e888d0893.gz"
    )


def test_the_days_hold_what_the_documentation_says():
    days = Counter({item.day: 0 for item in sample_objects()})
    for item in sample_objects():
        days[item.day] += item.records
        assert item.records == item.lines.count(b"\n")
    assert days.total() == 160 + 130 + 5
    assert [days[day] for day in SAMPLE_DAYS] == [63, 23 + 5, 43, 19, 4, 51, 36]
    others = {day: count for day, count in days.items() if day not in SAMPLE_DAYS}
    assert (len(others), min(others), max(others), max(others.values())) == (36, "2020-07-03", "2021-04-21", 11)


def test_the_records_are_those_of_the_fixtures(shared_fixtures):
    seeds = shared_fixtures / "snowplow" / "dbt-seeds"
    lines = Counter(line for item in sample_objects() for line in item.lines.splitlines(keepends=True))
    for name in ("web_events.tsv.gz", "mobile_events.tsv.gz"):
        lines -= Counter(gzip.decompress((seeds / name).read_bytes()).splitlines(keepends=True))
    assert lines.total() == 5


def test_a_second_call_changes_nothing(bucket):
    client, folder = bucket
    objects = len(sample_objects())
    assert write_sample_archive(client, "archive")[:2] == (objects, 0)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.gz")}
    assert write_sample_archive(client, "archive")[:2] == (0, objects)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.gz")} == before
    assert len(before) == objects


def test_an_object_packed_by_another_zlib_stays(bucket):
    client, folder = bucket
    write_sample_archive(client, "archive")
    item = sample_objects()[3]
    path = folder / item.key
    path.write_bytes(gzip.compress(item.lines, 1, mtime=7))
    assert write_sample_archive(client, "archive").written == 0


def test_a_damaged_object_is_written_again(bucket):
    client, folder = bucket
    write_sample_archive(client, "archive")
    item = sample_objects()[3]
    (folder / item.key).write_bytes(b"damaged")
    assert write_sample_archive(client, "archive").written == 1
    assert gzip.decompress((folder / item.key).read_bytes()) == item.lines
