"""A backfill in Slack: one message, another at its end if more failed since, and no recovery while a day fails."""

from collections.abc import Callable

import dagster as dg
import pytest

from snowplow_posthog_dagster.automation import slack_alerts
from tests.automation.desk import Desk

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
TAGS = {"dagster/backfill": "abcdefgh"}


@pytest.fixture
def end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A backfill with a run under way, told at once; what is returned ends it."""
    monkeypatch.setattr(slack_alerts, "_BACKFILL_WAIT_SECONDS", 0.0)
    job = desk.definitions().resolve_implicit_global_asset_job_def()
    tags = {**TAGS, "dagster/partition": "2022-01-31"}
    waiting = desk.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

    def cancel() -> None:
        desk.instance.report_run_canceled(waiting)

    return cancel


def fail(desk: Desk, *days: str, asset: str = "posthog_events") -> None:
    desk.errors[asset] = ValueError("broken")
    for day in days:
        desk.run(f"2022-01-{day}", tags=TAGS)
    desk.errors.clear()


def succeed(desk: Desk, *days: str, tags: dict[str, str] | None = None) -> None:
    for day in days:
        desk.run(f"2022-01-{day}", tags=tags)


def test_days_that_fail_after_the_first_message_are_told_at_the_end(desk, end):
    fail(desk, "03")
    desk.watch()
    assert "1 of 2 runs failed so far: 2022-01-03" in desk.slack.texts()[-1]
    fail(desk, "04", "05")
    desk.watch()
    assert len(desk.slack.texts()) == 1, "it is not over"
    end()
    desk.watch()
    desk.watch()
    _, last = desk.slack.texts()
    assert "3 of 4 runs failed when it ended: 2022-01-03, 2022-01-04, 2022-01-05" in last
    succeed(desk, "03", "04", "05")
    assert desk.watch().startswith("0 alerts open")
    assert len(desk.slack.texts()) == 2, "its end was the last word"


def test_it_has_not_recovered_while_it_goes_on_or_a_later_day_fails(desk, end):
    fail(desk, "03")
    desk.watch()
    succeed(desk, "03")
    desk.watch()
    assert len(desk.slack.texts()) == 1, "further days may fail"
    fail(desk, "04")
    end()
    assert desk.watch().startswith("1 alerts open")
    assert "recovered" not in "".join(desk.slack.texts())


def test_a_recovery_names_every_day_that_failed(desk, end):
    fail(desk, "03", "04")
    desk.watch()
    succeed(desk, "03", tags=TAGS)
    end()
    desk.watch()
    assert len(desk.slack.texts()) == 1, "one day fails on"
    succeed(desk, "04")
    desk.watch()
    _, last = desk.slack.texts()
    assert "recovered after 2 failures: 2022-01-03, 2022-01-04" in last


def test_a_threshold_that_is_met_late_is_told(desk, end):
    desk.alerts["thresholds"] = {"posthog_events": 3}
    fail(desk, "03")
    desk.watch()
    assert desk.slack.texts() == []
    fail(desk, "04", "05")
    desk.watch()
    end()
    desk.watch()
    (text,) = desk.slack.texts()
    assert "3 of 4 runs failed so far" in text


def test_a_backfill_below_the_threshold_is_not_told(desk, end):
    desk.alerts["thresholds"] = {"posthog_events": 3}
    fail(desk, "03")
    end()
    desk.watch()
    assert desk.slack.texts() == []


def test_the_owners_of_all_failed_assets_hear_of_it(desk, end):
    fail(desk, "03")
    fail(desk, "04", asset="posthog_batches")
    end()
    desk.watch()
    assert desk.slack.texts("#growth") == desk.slack.texts("#web")
    (text,) = desk.slack.texts("#web")
    assert "2 of 3 runs failed" in text
    succeed(desk, "03", "04")
    desk.watch()
    assert ["recovered" in text for text in desk.slack.texts("#web")] == [False, True]


def test_an_owner_who_joins_late_is_told_once(desk, end):
    fail(desk, "03")
    end()
    desk.watch()
    fail(desk, "03", asset="posthog_batches")
    desk.watch()
    desk.watch()
    assert len(desk.slack.texts("#growth")) == len(desk.slack.texts("#web")) == 1


def test_each_asset_has_to_succeed_after_its_own_failure(desk, end):
    fail(desk, "03", asset="posthog_batches")
    fail(desk, "03")
    end()
    desk.watch()
    desk.run("2022-01-03", "posthog_batches")
    desk.watch()
    assert "recovered" not in "".join(desk.slack.texts())
    desk.run("2022-01-03", "posthog_events")
    desk.watch()
    assert "recovered" in desk.slack.texts("#growth")[-1]


def test_what_fails_again_after_a_recovery_is_told_again(desk, end):
    end()
    fail(desk, "03")
    desk.watch()
    succeed(desk, "03")
    desk.watch()
    fail(desk, "03")
    desk.watch()
    assert ["recovered" in text for text in desk.slack.texts()] == [False, True, False]
