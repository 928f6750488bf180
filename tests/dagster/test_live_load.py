"""The sensor in a real `dagster dev`: files arrive, runs start by themselves, events are in PostHog soon after."""

import datetime as dt
import gzip
import statistics
import threading
import time

import boto3
import pytest

from snowplow_posthog_dagster.sandbox.samples import sample_objects
from snowplow_posthog_dagster.sandbox.servers import ARCHIVE_BUCKET
from tests.dagster.server import Dagster, Home, running_dagster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FILES = 6
SECONDS_BETWEEN = 20.0


@pytest.fixture(scope="module")
def home(make_home) -> Home:
    """No interval between runs, and automation that runs from the start, as `make dev` has it."""
    home: Home = make_home()
    home.settings(automation={"min_minutes_between_runs": 0, "sensor_seconds": 5})
    home.environment["SNOWPLOW_POSTHOG_START_AUTOMATION"] = "true"
    return home


def put(home: Home, name: str, body: bytes) -> None:
    """A file into the folder of this hour."""
    environment = home.environment
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    client.put_object(Bucket=ARCHIVE_BUCKET, Key=f"output/{dt.datetime.now(dt.UTC):%Y/%m/%d/%H}/{name}", Body=body)


class Arrivals(threading.Thread):
    """Notes when the number of merged events first reached each value."""

    def __init__(self, home: Home) -> None:
        super().__init__(daemon=True)
        self.home = home
        self.reached: dict[int, float] = {}
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            rows = self.home.posthog.progress()["raw_rows"]
            for number in range(max(self.reached, default=0) + 1, rows + 1):
                self.reached[number] = time.monotonic()


def test_files_are_in_posthog_within_90_seconds_with_an_interval_of_zero(home: Home):
    lines = [line for item in sample_objects() if item.day == "2021-03-02" for line in item.lines.split(b"\n") if line]
    with running_dagster(home) as dagster:
        watch = Arrivals(home)
        watch.start()
        landed = []
        for number in range(FILES):
            put(home, f"SnowPlowEnrichedGood-2-{number}.gz", gzip.compress(lines[number] + b"\n"))
            landed.append(time.monotonic())
            time.sleep(SECONDS_BETWEEN)
        dagster.wait_for(lambda: len(watch.reached) >= FILES, "the events", 180)
        watch.over.set()
        latencies = [watch.reached[number + 1] - moment for number, moment in enumerate(landed)]
        print("latencies", [round(one) for one in latencies])
        assert statistics.quantiles(latencies, n=20)[-1] < 90
        assert_calm(home, dagster)


def assert_calm(home: Home, dagster: Dagster) -> None:
    """No pile-up, no second copy, quick ticks that say what they saw, an observation of the archive."""
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    runs = dagster.runs(dagster__sensor_name="new_snowplow_files")
    assert 1 <= len(runs) <= FILES
    assert {run["tags"]["dagster/priority"] for run in runs} == {"10"}
    totals = home.posthog.totals()
    assert totals["raw_rows"] == totals["merged_rows"] == FILES
    ticks = [tick for tick in dagster.ticks("new_snowplow_files") if tick["endTimestamp"]]
    assert {tick["status"] for tick in ticks} <= {"SUCCESS", "SKIPPED"}
    assert max(tick["endTimestamp"] - tick["timestamp"] for tick in ticks) < 10
    assert any("nothing new" in (tick["skipReason"] or "") for tick in ticks)
    found = dagster.ask(
        """query { assetOrError(assetKey: {path: ["snowplow_archive"]}) { ... on Asset { assetObservations(limit: 1) {
             partition metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""
    )["assetOrError"]["assetObservations"][0]
    assert found["partition"] == today
    assert {"label": "files", "intValue": FILES} in found["metadataEntries"]
