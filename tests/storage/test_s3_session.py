"""Botocore with three of its parts replaced answers what botocore answers."""

import datetime as dt
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError, UnknownServiceError
from botocore.utils import parse_timestamp
from moto import mock_aws

from snowplow_posthog_dagster.errors import SettingsError, StorageUnavailableError
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.s3_session import contents, moment, new_session

KEYS = ["a/b c+d%25.gz", "a/ümläut/日本.gz", "a/<&>\"'.gz", "a/line\tbreak", "a/plain.gz"]
LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult%b><Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t/1</NextContinuationToken>
<Contents><Key>k%%2B1</Key><LastModified>2022-06-06T04:00:00.123Z</LastModified><ETag>"e"</ETag><Size>7</Size>
<Owner><ID>somebody</ID></Owner><StorageClass>GLACIER</StorageClass></Contents>
<Contents><Key>empty</Key><LastModified>2022-06-06T04:00:00.123Z</LastModified><ETag>"f"</ETag><Size>0</Size>
</Contents></ListBucketResult>"""


@pytest.fixture
def clients():
    """Ours and botocore's own, on one bucket with awkward keys."""
    with mock_aws():
        given: dict[str, Any] = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        ours = new_session().create_client("s3", **given)
        theirs = botocore.session.get_session().create_client("s3", **given)
        ours.create_bucket(Bucket="bucket")
        for key in KEYS:
            ours.put_object(Bucket="bucket", Key=key, Body=b"x" * len(key))
        yield ours, theirs


def pages(client: Any, **more: Any) -> list[dict[str, Any]]:
    found = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", PaginationConfig={"PageSize": 2}, **more)
    return [item for page in found for item in page.get("Contents", [])]


def test_every_field_that_is_read_of_a_listing_is_what_botocore_reads(clients):
    ours, theirs = (pages(client) for client in clients)
    fields = ("Key", "ETag", "Size", "LastModified", "StorageClass")
    assert [[item[field] for field in fields] for item in ours] == [
        [item[field] for field in fields] for item in theirs
    ]
    assert sorted(item["Key"] for item in ours) == sorted(KEYS)


def test_pages_and_prefixes_go_on_as_in_botocore(clients):
    ours, theirs = clients
    assert pages(ours, Prefix="nothing") == pages(theirs, Prefix="nothing") == []
    assert len(pages(ours, StartAfter="a/line")) == len(pages(theirs, StartAfter="a/line")) > 0
    for client in clients:
        folders = client.list_objects_v2(Bucket="bucket", Delimiter="/")
        assert [folder["Prefix"] for folder in folders["CommonPrefixes"]] == ["a/"]
        assert "Contents" not in folders


def test_a_bucket_that_does_not_exist_is_botocores_error(clients):
    for client in clients:
        with pytest.raises(ClientError, match="NoSuchBucket"):
            client.list_objects_v2(Bucket="another")


@pytest.mark.parametrize("space", [b"", b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
def test_a_listing_is_taken_apart_with_and_without_a_name_space(space):
    answer: dict[str, Any] = {"body": LISTING % space}
    found: dict[str, Any] = {}
    contents(answer, found)
    first, second = found["Contents"]
    written = dt.datetime(2022, 6, 6, 4, 0, 0, 123000, dt.UTC)
    assert first == {"Key": "k%2B1", "LastModified": written, "ETag": '"e"', "Size": 7, "StorageClass": "GLACIER"}
    assert "StorageClass" not in second
    assert b"k%2B1" not in answer["body"]
    assert b"t/1" in answer["body"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"<Error><Code>SlowDown</Code></Error>", b"<ListBucketResult/>"])
def test_what_is_no_listing_is_left_to_botocore(body):
    answer, found = {"body": body}, {}
    contents(answer, found)
    assert (answer["body"], found) == (body, {})


@pytest.mark.parametrize(
    "value",
    [
        "2022-06-06T04:00:00Z", "2022-06-06T04:00:00.123Z", "2022-06-06T04:00:00+02:00",
        "Mon, 06 Jun 2022 04:00:00 GMT", "Mon, 06 Jun 2022 04:00:00 +0000", "1654488000", 1654488000, 1654488000.5,
    ],
)  # fmt: skip
def test_dates_are_what_botocore_takes_them_for(value):
    assert moment(value) == parse_timestamp(value)
    assert moment(value).tzinfo is not None


def test_a_date_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="Invalid timestamp"):
        moment("yesterday")


def test_other_services_are_found_and_unknown_ones_are_not():
    session = new_session()
    assert session.create_client("sts", region_name="eu-west-1").meta.region_name == "eu-west-1"
    with pytest.raises(UnknownServiceError):
        session.create_client("no-such-service", region_name="eu-west-1")


def test_a_profile_that_does_not_exist_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(SettingsError, match="'nobody' does not exist"):
        connect(Connection(profile="nobody"))


def test_a_profile_gives_its_keys_and_its_region(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "config"
    config.write_text("[profile loader]\nregion = eu-central-1\naws_access_key_id = AK\naws_secret_access_key = SK\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    client = connect(Connection(profile="loader"))
    assert client.meta.region_name == "eu-central-1"
    assert "AK%2F" in client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"}) or (
        "AWSAccessKeyId=AK" in client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
    )


def test_the_region_is_that_of_the_setting_then_of_aws_region_then_of_what_boto3_reads(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert connect(Connection(region="eu-west-3")).meta.region_name == "eu-west-3"
    assert connect(Connection()).meta.region_name == "eu-central-1"
    monkeypatch.setenv("AWS_REGION", "")
    assert connect(Connection()).meta.region_name == "eu-west-1"


def test_a_bucket_lists_through_it(clients):
    ours, _ = clients
    listed = list(Bucket(ours, "bucket").listing("a/"))
    assert sorted(one.key for one in listed) == sorted(KEYS)
    assert {one.storage_class for one in listed} == {"STANDARD"}
    assert all('"' not in one.etag and one.size == len(one.key) and one.modified > 0 for one in listed)


def test_an_endpoint_that_is_not_there_is_said():
    connection = Connection(
        endpoint_url="http://127.0.0.1:1", region="us-east-1", access_key_id="a", secret_access_key="b", max_attempts=1
    )
    with pytest.raises(StorageUnavailableError, match="EndpointConnectionError"):
        list(Bucket(connect(connection), "bucket").listing(""))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_PROFILE", "nobody", "AWS profile of AWS_PROFILE"),
        ("AWS_ENDPOINT_URL_S3", "no url", "AWS_ENDPOINT_URL_S3"),
        ("AWS_REGION", "eu central", "set AWS_REGION, or `s3.region`.*'eu central'"),
    ],
)
def test_what_a_variable_got_wrong_is_named_by_the_variable(monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=words) as caught:
        connect(Connection())
    assert "None" not in str(caught.value)
