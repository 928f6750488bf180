"""Server errors of PostHog concern the target: Slack is told once, however many runs and days meet them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation import slack_alerts
from snowplow_posthog_dagster.resources.slack import AlertSlackResource
from snowplow_posthog_dagster.settings import AlertsSection, DeliverySection, Environment, Settings, SettingsFile
from tests.automation.slack_server import TOKEN, SlackServer, running_slack

KEY = dg.AssetKey("posthog_events")
CHECK = dg.AssetCheckSpec("posthog_errors", asset=KEY)


@dg.asset(key=KEY, check_specs=[CHECK], partitions_def=dg.DailyPartitionsDefinition("2022-01-01"))
def posthog_events() -> dg.MaterializeResult:  # type: ignore[type-arg]
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name=CHECK.name)])


@dataclass
class Desk:
    instance: dg.DagsterInstance
    slack: SlackServer

    def run(self, day: str, *, errors: int) -> None:
        """A run's evaluation of the check."""
        evaluation = dg.AssetCheckEvaluation(
            asset_key=KEY,
            check_name=CHECK.name,
            passed=errors < 3,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{errors} times 5xx",
            metadata={"partition": dg.MetadataValue.text(day)},
        )
        self.instance.report_runless_asset_event(evaluation)

    def watch(self, later: float = 0.0) -> list[str]:
        """One look of slack_watch so many seconds from now; everything that Slack was told by then."""
        file = SettingsFile(alerts=AlertsSection(), delivery=DeliverySection(production=True))
        definitions = dg.Definitions(assets=[posthog_events])
        context = dg.build_sensor_context(instance=self.instance, repository_def=definitions.get_repository_def())
        resource = AlertSlackResource(token=TOKEN, base_url=self.slack.url)
        slack_alerts.watch(context, Graph(Settings(Environment(), file)), resource, time.time() + later)
        return self.slack.texts()


@pytest.fixture
def desk() -> Iterator[Desk]:
    with running_slack() as slack, dg.instance_for_test() as instance:
        yield Desk(instance, slack)


def test_one_message_for_several_days_and_runs(desk: Desk):
    desk.run("2022-01-03", errors=3)
    desk.run("2022-01-04", errors=4)
    (text,) = desk.watch()
    assert "posthog_errors" in text and "docs/runbook.md#posthog-errors" in text
    desk.run("2022-01-03", errors=3)
    desk.run("2022-01-05", errors=5)
    assert desk.watch(later=30) == [text]


def test_a_quiet_run_a_moment_later_is_no_end_and_no_new_beginning(desk: Desk):
    desk.run("2022-01-03", errors=3)
    desk.watch()
    desk.run("2022-01-04", errors=0)
    desk.watch(later=60)
    desk.run("2022-01-05", errors=3)
    assert len(desk.watch(later=120)) == 1


def test_five_quiet_minutes_end_it_and_the_next_time_is_told_again(desk: Desk):
    desk.run("2022-01-03", errors=3)
    desk.watch()
    desk.run("2022-01-02", errors=0)
    assert "passes again for 2022-01-03" in desk.watch(later=400)[-1], "the day that was told of"
    desk.run("2022-01-04", errors=3)
    assert "fails for 2022-01-04" in desk.watch(later=900)[-1]
    assert len(desk.slack.texts()) == 3


def test_a_run_that_met_few_is_not_told(desk: Desk):
    desk.run("2022-01-03", errors=2)
    assert desk.watch() == []


def test_it_ends_by_itself_when_the_last_run_of_all_passed_too_early_for_an_end(desk: Desk):
    desk.run("2022-01-03", errors=3)
    desk.watch()
    desk.run("2022-01-04", errors=0)
    assert len(desk.watch(later=120)) == 1
    assert "passes again for 2022-01-03" in desk.watch(later=400)[-1]


def test_errors_of_another_day_are_told_though_nothing_passed_in_between(desk: Desk):
    desk.run("2022-01-03", errors=3)
    desk.watch()
    desk.run("2022-02-03", errors=9)
    assert "fails for 2022-02-03" in desk.watch(later=30 * 86_400)[-1]
