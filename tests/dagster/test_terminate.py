"""Terminate in the UI: the step is gone within seconds, nothing more is sent, and the next run sends the rest."""

import gzip
import time

import boto3
import pytest

from snowplow_posthog_dagster.sandbox.servers import ARCHIVE_BUCKET, WORKSPACE_BUCKET
from snowplow_posthog_dagster.storage.s3 import Bucket
from tests.dagster.server import Dagster, Home
from tests.ground import lines_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DAY, OBJECTS, RECORDS = "2021-02-05", 20, 50
TERMINATE = """mutation ($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) {
  __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }"""


def s3(home: Home) -> Bucket:
    """The workspace, as the home's environment reaches it."""
    environment = home.environment
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    return Bucket(client, WORKSPACE_BUCKET)


@pytest.fixture(scope="module")
def home(make_home) -> Home:
    """A day of 1,000 events in small objects, under a cap of 50 events/s: a body every two seconds."""
    made: Home = make_home()
    made.settings(delivery={"events_per_second": 50})
    for number in range(OBJECTS):
        body = gzip.compress(b"".join(line + b"\n" for line in lines_of(RECORDS)), mtime=0)
        key = f"output/{DAY.replace('-', '/')}/04/{number}.gz"
        s3(made).client.put_object(Bucket=ARCHIVE_BUCKET, Key=key, Body=body)
    return made


def is_held(bucket: Bucket) -> bool:
    return any(item.key.endswith("/holding") for item in bucket.listing("posthog/target=default/leases/"))


def test_terminating_a_paced_run_in_the_ui_stops_its_sending(home: Home, dagster: Dagster):
    bucket = s3(home)
    run = dagster.materialize(DAY)
    dagster.wait_for(lambda: home.posthog.raw_rows() >= 200, "the first bodies", 200)
    assert is_held(bucket)
    began = time.time()
    assert dagster.ask(TERMINATE, id=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    dagster.wait_for(lambda: not is_held(bucket), "the end of the step", 30, every=0.1)
    left = time.time()
    assert left - began < 5
    assert dagster.wait_for_run(run, 60) == "CANCELED"
    time.sleep(max(0.0, left + 8 - time.time()))
    arrived = [request["arrived"] / 1e6 for request in home.posthog.requests()]
    assert len([moment for moment in arrived if moment >= began]) <= 1, "only a body that was on its way"
    assert not [moment for moment in arrived if moment > left], "eight more seconds were four bodies' worth"
    sent = home.posthog.raw_rows()
    assert sent < OBJECTS * RECORDS / 2
    home.settings()
    again = home.command("snowplow-posthog", "load", DAY, "--now")
    assert again.returncode == 0, again.stderr
    assert home.posthog.raw_rows() == home.posthog.merged_rows() == OBJECTS * RECORDS, "the rest, and nothing twice"
