"""Every documented way to start it, as a user types it, on a bare PATH."""

import pytest

from tests.dagster.server import expected_events, running_dagster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DAY = "2021-03-02"
MATERIALIZE = ("dagster", "asset", "materialize", "--select", "*", "--partition", DAY, "-m", "snowplow_posthog_dagster")


def test_materializing_a_day_sends_every_event_once_and_again_nothing(home):
    done = home.command(*MATERIALIZE)
    assert done.returncode == 0, done.stderr[-3000:]
    before = home.posthog.totals()
    assert before["merged_rows"] == before["raw_rows"] == len(expected_events(DAY)) > 0
    assert home.posthog.violations() == {}
    again = home.command(*MATERIALIZE)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "nothing new: 0 reads, 0 posts" in again.stderr + again.stdout
    assert home.posthog.totals()["requests"] == before["requests"]


def test_dg_launch_does_the_same(home):
    rows = home.posthog.merged_rows()
    done = home.command("dg", "launch", "--assets", "*", "--partition", "2021-03-03")
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    assert home.posthog.merged_rows() == rows + len(expected_events("2021-03-03"))


def test_a_day_outside_the_partitions_is_refused(home):
    assert home.command(*MATERIALIZE[:6], "2020-01-01", *MATERIALIZE[7:]).returncode != 0


@pytest.mark.parametrize("command", [("dg", "check", "defs"), ("dagster", "definitions", "validate")])
def test_the_definitions_load_without_a_secret(home, command):
    kept = {"PATH", "HOME", "PYTHONPATH", "LANG", "DAGSTER_HOME"}
    environment, home.environment = home.environment, {key: home.environment[key] for key in kept}
    try:
        done = home.command(*command)
    finally:
        home.environment = environment
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_dg_dev_loads_the_location(home):
    with running_dagster(home, "dg", "dev") as dagster:
        assert {"snowplow_archive", "snowplow_manifest", "posthog_batches", "posthog_events", "posthog"} <= set(
            dagster.assets()
        )
