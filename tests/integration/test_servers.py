"""The test servers are what they claim to be; a test that rests on one rests on this."""

import os
import subprocess
import sys
import textwrap
import time
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.integration.servers.processes import SETPRIV, answers


@pytest.fixture
def bucket(s3_server):
    name = f"bucket-{uuid4().hex[:12]}"
    s3_server.client().create_bucket(Bucket=name)
    return name


def test_an_object_comes_back_as_it_was_put(s3_server, bucket):
    client = s3_server.client()
    body = os.urandom(300_000)
    client.put_object(Bucket=bucket, Key="a/b=1/c.gz", Body=body)
    assert client.get_object(Bucket=bucket, Key="a/b=1/c.gz")["Body"].read() == body
    assert client.get_object(Bucket=bucket, Key="a/b=1/c.gz", Range="bytes=10-19")["Body"].read() == body[10:20]
    assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["a/b=1/c.gz"]


def test_a_wrong_secret_is_refused_where_signatures_are_checked(s3_server, bucket):
    client = s3_server.client(secret_key="wrong")
    if not s3_server.checks_signatures:
        client.put_object(Bucket=bucket, Key="key", Body=b"")
        return
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket=bucket, Key="key", Body=b"")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_a_conditional_write_is_refused_where_the_server_knows_them(s3_server, bucket):
    client = s3_server.client()
    client.put_object(Bucket=bucket, Key="once", Body=b"first", IfNoneMatch="*")
    if not s3_server.conditional_writes:
        client.put_object(Bucket=bucket, Key="once", Body=b"second", IfNoneMatch="*")
        return
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket=bucket, Key="once", Body=b"second", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert client.get_object(Bucket=bucket, Key="once")["Body"].read() == b"first"


def test_listings_come_in_pages(s3_server, bucket):
    client = s3_server.client()
    keys = [f"page/{number:03d}" for number in range(25)]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 10}))
    assert [len(page["Contents"]) for page in pages] == [10, 10, 5]
    assert [item["Key"] for page in pages for item in page["Contents"]] == keys


@pytest.mark.slow
@pytest.mark.postgres
def test_postgres_holds_dagsters_tables(postgres_server):
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgres_server.url)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("select current_database()")).scalar() == "dagster"
    engine.dispose()


@pytest.mark.skipif(SETPRIV is None, reason="needs setpriv (util-linux), by which servers die with their parent")
def test_a_server_dies_with_the_process_that_started_it(repository, tmp_path):
    script = """
        from tests.integration.servers import rclone
        import os, signal
        with rclone() as server:
            print(server.endpoint.rpartition(":")[2], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=repository,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    deadline = time.monotonic() + 5
    while answers(int(killed.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not answers(int(killed.stdout))
