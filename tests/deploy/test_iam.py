"""The policies of deploy/iam, given to a user of a server that enforces them: what must work works, nothing else does.

moto enforces AWS's own policy language; Ceph's gateway is another implementation, on real HTTP with signatures.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from snowplow_posthog_dagster.errors import GoneObjectError, SettingsError
from snowplow_posthog_dagster.storage.s3 import Bucket
from tests.integration.servers.ceph import LOADER, LOADER_ACCESS_KEY, LOADER_SECRET_KEY

ARCHIVE, WORKSPACE = "my-snowplow-archive", "my-snowplow-posthog-workspace"
KEY = "output/2022/06/06/04/SnowPlowEnrichedGood-2.gz"


@dataclass
class Buckets:
    """The two buckets as the loader's user sees them, and as their owner does."""

    archive: Bucket
    workspace: Bucket
    owner: Any


def policies(repository):
    return {
        name: (repository / "deploy" / "iam" / f"{name}.json").read_text()
        for name in ("archive-read", "workspace-read-write")
    }


def fill(owner):
    owner.create_bucket(Bucket=ARCHIVE)
    owner.create_bucket(Bucket=WORKSPACE)
    owner.put_object(Bucket=ARCHIVE, Key=KEY, Body=b"records")
    owner.put_object(Bucket=ARCHIVE, Key="enriched-bad/2022/06/06/04/bad", Body=b"not ours")
    owner.put_object(Bucket=WORKSPACE, Key="testing/target=testing/control/one.json", Body=b"another target's")


@pytest.fixture
def moto_buckets(repository, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner")
    with mock_aws():
        owner = boto3.client("s3", region_name="us-east-1")
        iam = boto3.client("iam", region_name="us-east-1")
        fill(owner)
        iam.create_user(UserName="loader")
        for name, policy in policies(repository).items():
            iam.put_user_policy(UserName="loader", PolicyName=name, PolicyDocument=policy)
        key = iam.create_access_key(UserName="loader")["AccessKey"]
        loader = boto3.client(
            "s3",
            region_name="us-east-1",
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )
        monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
        yield Buckets(Bucket(loader, ARCHIVE), Bucket(loader, WORKSPACE), owner)


@pytest.fixture
def ceph_buckets(repository, ceph_server):
    owner = ceph_server.client()
    fill(owner)
    iam = boto3.client(
        "iam",
        endpoint_url=ceph_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ceph_server.access_key,
        aws_secret_access_key=ceph_server.secret_key,
    )
    for name, policy in policies(repository).items():
        iam.put_user_policy(UserName=LOADER, PolicyName=name, PolicyDocument=policy)
    server = replace(ceph_server, access_key=LOADER_ACCESS_KEY, secret_key=LOADER_SECRET_KEY)
    yield Buckets(Bucket(server.client(), ARCHIVE), Bucket(server.client(), WORKSPACE), owner)
    for name in policies(repository):
        iam.delete_user_policy(UserName=LOADER, PolicyName=name)
    for name in (ARCHIVE, WORKSPACE):
        for found in owner.list_objects_v2(Bucket=name).get("Contents", []):
            owner.delete_object(Bucket=name, Key=found["Key"])
        owner.delete_bucket(Bucket=name)


@pytest.fixture(params=["moto", pytest.param("ceph", marks=[pytest.mark.ceph, pytest.mark.slow])])
def buckets(request):
    return request.getfixturevalue(f"{request.param}_buckets")


def test_the_archive_can_be_listed_and_read(buckets):
    assert [found.key for found in buckets.archive.listing("output/2022/06/06/04/")] == [KEY]
    assert buckets.archive.get(KEY) == b"records"


def test_the_archive_can_be_neither_written_nor_deleted(buckets):
    with pytest.raises(SettingsError, match="AccessDenied"):
        buckets.archive.put(KEY, b"overwritten")
    with pytest.raises(SettingsError, match="AccessDenied"):
        buckets.archive.put("output/new", b"new")
    with pytest.raises(ClientError, match="AccessDenied"):
        buckets.archive.client.delete_object(Bucket=ARCHIVE, Key=KEY)


def test_nothing_beside_the_archives_prefixes_can_be_read(buckets):
    with pytest.raises(SettingsError, match="AccessDenied"):
        buckets.archive.get("enriched-bad/2022/06/06/04/bad")


def test_the_workspace_can_be_written_read_listed_and_deleted(buckets):
    key = "default/target=default/control/one.json"
    buckets.workspace.put(key, b"{}")
    assert buckets.workspace.get(key) == b"{}"
    assert [found.key for found in buckets.workspace.listing("default/")] == [key]
    buckets.workspace.client.delete_object(Bucket=WORKSPACE, Key=key)
    assert list(buckets.workspace.listing("default/")) == []


def test_another_namespaces_part_of_the_workspace_is_out_of_reach(buckets):
    with pytest.raises(SettingsError, match="AccessDenied"):
        buckets.workspace.get("testing/target=testing/control/one.json")
    with pytest.raises(SettingsError, match="AccessDenied"):
        buckets.workspace.put("testing/target=testing/control/two.json", b"{}")


def test_no_bucket_can_be_made_or_opened(buckets):
    client = buckets.archive.client
    with pytest.raises(ClientError, match="AccessDenied"):
        client.create_bucket(Bucket="another")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_bucket_policy(Bucket=ARCHIVE, Policy="{}")


def test_listing_is_granted_for_the_whole_bucket_so_that_a_missing_object_is_a_404(repository):
    """With a condition on s3:prefix, S3 answers 403 for an object that vanished, and `gone` looks like a lost right."""
    for policy in policies(repository).values():
        (listing,) = [found for found in json.loads(policy)["Statement"] if "s3:ListBucket" in found["Action"]]
        assert "Condition" not in listing
        assert all(re.fullmatch(r"arn:aws:s3:::[a-z0-9.-]+", resource) for resource in listing["Resource"])


def test_what_is_missing_is_said_to_be_missing(buckets):
    with pytest.raises(GoneObjectError):
        buckets.archive.get("output/2022/06/06/04/vanished")
