"""What stands beside a materialization: the report of the day, and where the links lead."""

import datetime as dt
import urllib.request

import pytest

from snowplow_posthog_dagster.assets.checks import Verdict
from snowplow_posthog_dagster.assets.day_report import day_report
from snowplow_posthog_dagster.assets.metadata import activity_url
from snowplow_posthog_dagster.loading.reports import StepReport
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.target import TargetIdentity
from tests.ground import Ground


def test_the_report_has_sums_run_checks_and_their_chapters():
    counts = Counts(records=5, mapped=4, dead_letters=1, acknowledged=3, pending=1)
    report = StepReport(posts=2, events=3, retries=1, seconds=1.5, sent_bytes=2_500_000, left="1 events to send")
    report.counts = counts
    verdicts = [Verdict("volume", True, "as usual", {}), Verdict("dead_letter_share", False, "1 of 5 | too many", {})]
    text = day_report(dt.date(2022, 6, 6), report, verdicts)
    assert text.startswith("**2022-06-06**: left: 1 events to send")
    assert "records 5 = 4 mapped + 1 dead letters" in text and "mapped 4 = 3 acknowledged" in text
    assert "3 events at 2/s, 2 posts, 1 retries, 2.5 MB sent" in text
    assert "| volume | ok | as usual |" in text
    assert "| dead_letter_share | WARNS | 1 of 5 \\| too many (docs/runbook.md#dead-letter-share) |" in text


@pytest.mark.parametrize(
    ("host", "project", "link"),
    [
        ("https://eu.i.posthog.com", "7", "https://eu.posthog.com/project/7/activity/explore"),
        ("https://us.i.posthog.com", "7", "https://us.posthog.com/project/7/activity/explore"),
        ("https://posthog.example.com", "1", "https://posthog.example.com/project/1/activity/explore"),
        ("https://posthog.example.com", "", "https://posthog.example.com"),
    ],
)
def test_the_link_leads_to_the_activity_of_the_project(host, project, link):
    assert activity_url(TargetIdentity(host, project, "k")) == link


def test_in_the_sandbox_the_link_leads_to_the_live_page(ground: Ground):
    with urllib.request.urlopen(activity_url(ground.settings.target_identity), timeout=10) as answer:
        assert answer.url.endswith("/events")
        assert "Live events" in answer.read().decode()
