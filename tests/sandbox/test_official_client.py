"""PostHog's own Python client talks to the stand-in unchanged: what keeps the stand-in honest."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from posthog import Posthog

from snowplow_posthog_dagster.sandbox import faults


@pytest.mark.parametrize("compressed", [True, False], ids=["gzip", "plain"])
def test_events_of_the_official_client_arrive(stand_in, compressed):
    uuid = str(uuid4())
    errors = []
    client = Posthog(
        "phc_sandbox",
        host=stand_in.host,
        gzip=compressed,
        historical_migration=True,
        on_error=lambda error, _: errors.append(error),
    )
    moment = datetime(2021, 3, 2, 19, 5, 11, 123456, tzinfo=UTC)
    client.capture("hello", distinct_id="ann", properties={"a": [1, {"b": "ü"}]}, timestamp=moment, uuid=uuid)
    client.set(distinct_id="ann", properties={"plan": "pro"})
    client.shutdown()
    assert errors == []
    events = {row["event"]: row for row in stand_in.merged()}
    assert set(events) == {"hello", "$set"}
    assert (events["hello"]["uuid"], events["hello"]["distinct_id"]) == (uuid, "ann")
    assert events["hello"]["properties"]["a"] == [1, {"b": "ü"}]
    assert events["hello"]["historical"]
    assert stand_in.persons()[0]["properties"]["plan"] == "pro"


def test_its_time_of_sending_shifts_history(stand_in):
    """Why the loader does not use it: it always sends `sent_at`."""
    client = Posthog("phc_sandbox", host=stand_in.host)
    client.capture("hello", distinct_id="ann", timestamp=datetime(2021, 3, 2, tzinfo=UTC))
    client.shutdown()
    assert stand_in.violations()["timestamp_shifted"] == 1
    (row,) = stand_in.merged()
    assert row["timestamp"].startswith("2021-03-02T00:00:00.")


def test_it_tries_again_after_a_503(stand_in):
    stand_in.play(faults.status(503, faults.on(1)))
    client = Posthog("phc_sandbox", host=stand_in.host)
    client.capture("hello", distinct_id="ann")
    client.shutdown()
    assert stand_in.progress()["answers"] == {"503": 1, "200": 1}
    assert stand_in.merged_rows() == 1


def test_a_wrong_key_is_told(stand_in):
    errors = []
    client = Posthog("phx_personal", host=stand_in.host, on_error=lambda error, _: errors.append(str(error)))
    client.capture("hello", distinct_id="ann")
    client.shutdown()
    assert "401" in errors[0]
