"""Slack in a real `dagster dev`: a run of the UI fails, its owner is told once, and told again when it is over."""

import pytest

from snowplow_posthog_dagster.sandbox import faults
from tests.automation.slack_server import TOKEN, running_slack
from tests.dagster.server import Home, running_dagster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_failed_run_is_told_once_and_so_is_its_recovery(make_home):
    home: Home = make_home()
    with running_slack() as slack:
        home.settings(
            owners=["team:data"],
            alerts={
                "channels": {"team:data": "#growth"},
                "outside_production": True,
                "seconds": 5,
                "slack_api_url": slack.url,
                "checks": ["dead_letter_share"],
            },
        )
        home.environment["SLACK_BOT_TOKEN"] = TOKEN
        with running_dagster(home) as dagster:
            home.posthog.play(faults.status(401))
            assert dagster.wait_for_run(dagster.materialize("2021-03-01", job="__ASSET_JOB")) == "FAILURE"
            dagster.wait_for(lambda: slack.messages, "a message", 90)
            home.posthog.play()
            assert dagster.wait_for_run(dagster.materialize("2021-03-01", job="__ASSET_JOB")) == "SUCCESS"
            dagster.wait_for(lambda: len(slack.messages) >= 3, "the recovery and the check", 90)
    failure, *others = slack.texts("#growth")
    assert "*posthog_events* failed for *2021-03-01*" in failure
    assert "AuthenticationError" in failure
    assert len(others) == 2
    assert any("*posthog_events* recovered: 2021-03-01" in text for text in others)
    assert any("dead_letter_share" in text and "5 dead letters of 28 records" in text for text in others)
