"""`snowplow-posthog backfill`: a range of days without a daemon, in either order, stopped and gone on with."""

import pytest

from snowplow_posthog_dagster.sandbox import faults
from tests.dagster.server import Home, expected_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

COMMAND = ("snowplow-posthog", "backfill", "--from", "2021-03-01", "--to", "2021-03-03")


def test_a_failing_day_stops_the_range_and_the_same_command_goes_on(home: Home):
    home.posthog.play(faults.status(401, faults.When(first=2)))
    stopped = home.command(*COMMAND, "--newest-first")
    assert stopped.returncode == 1
    assert "2021-03-02 failed" in stopped.stderr
    assert "3 of 3" not in stopped.stdout
    assert home.posthog.merged_rows() == len(expected_events("2021-03-03"))
    home.posthog.play()
    done = home.command(*COMMAND)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line[:18] for line in done.stdout.splitlines() if " of 3 " in line] == [
        f"{number} of 3  2021-03-0{number}" for number in (1, 2, 3)
    ]
    assert "nothing new: 0 reads, 0 posts" in done.stdout
    days = ("2021-03-01", "2021-03-02", "2021-03-03")
    totals = home.posthog.totals()
    assert totals["merged_rows"] == sum(len(expected_events(day)) for day in days)
    # Three records of these days lie in two archive objects each: acknowledged twice, one event in PostHog.
    assert totals["raw_rows"] == totals["merged_rows"] + 3
