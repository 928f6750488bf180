"""After a pause everything that waited is sent at once, by several senders, and the cap holds all the same."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest

from snowplow_posthog_dagster.commands.days import deliver
from snowplow_posthog_dagster.errors import PausedError
from snowplow_posthog_dagster.loading.reports import StepReport
from snowplow_posthog_dagster.sandbox.reports import peak
from snowplow_posthog_dagster.storage.target import pause, resume
from tests.ground import Ground, lines_of

DAYS = [dt.date(2022, 6, 6), dt.date(2022, 6, 7), dt.date(2022, 6, 8)]
CAP, EVENTS = 2_000, 6_000
WINDOW_SECONDS = 4.0


@pytest.mark.slow
def test_what_waited_out_a_pause_is_caught_up_under_the_cap(ground: Ground) -> None:
    ground.file = {"delivery": {"events_per_second": CAP}}
    for day in DAYS:
        ground.put("a", lines_of(EVENTS, derived_tstamp=f"{day} 12:00:00.000"), day=day)
    pause(ground.workspace, reason="billing", until="", by="ann")
    for day in DAYS:
        ground.transform(day)
        with pytest.raises(PausedError, match="ann: billing"):
            deliver(ground.load(day), ground.settings)
    assert ground.posthog.progress()["requests"] == 0
    assert [ground.counts(day).pending for day in DAYS] == [EVENTS] * 3, "they were transformed meanwhile"

    def send(day: dt.date) -> StepReport:
        return deliver(ground.load(day), ground.settings)

    resume(ground.workspace, by="ann")
    with ThreadPoolExecutor(len(DAYS)) as pool:
        assert all(report.closed for report in pool.map(send, DAYS))
    assert ground.posthog.merged_rows() == 3 * EVENTS
    bodies = sorted((one["arrived"], one["received"]) for one in ground.posthog.requests())
    largest = max(count for _, count in bodies)
    assert peak(bodies, WINDOW_SECONDS) <= 1.05 * CAP * WINDOW_SECONDS + len(DAYS) * largest
    assert bodies[-1][0] - bodies[0][0] >= (3 * EVENTS - 3 * largest) / CAP * 0.9 * 1e6
