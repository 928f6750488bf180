"""A short soak: files of every kind, a backfill beside, upstream's faults and PostHog's, counted to the last event."""

from pathlib import Path

import pytest

from tests.soak.play import Soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_nothing_is_lost_or_doubled_and_every_alert_was_expected(tmp_path: Path) -> None:
    verdict = Soak(tmp_path, minutes=0.5, seed=20_220_606, chosen=("flaky",)).run()
    print(verdict.result.line())
    assert verdict.problems == []
    result = verdict.result
    assert result.arrived == result.delivered > 3000
    assert result.alerts_sent == result.alerts_expected >= 4
    assert 0 < result.latency_p50_s <= result.latency_p95_s


def test_what_is_missing_unasked_for_or_said_twice_is_a_problem() -> None:
    from tests.automation.slack_server import SlackServer
    from tests.soak.story import Story

    slack = SlackServer()
    story = Story(slack)
    story.expect("fails", "2022-06-06")
    story.expect("passes again")
    slack.messages = [{"channel": "data", "text": "check fails for 2022-06-06"}] * 2
    assert story.problems() == [
        "unexpected message: check fails for 2022-06-06",
        "no message with ('passes again',)",
    ]
