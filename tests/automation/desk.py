"""Assets of the project's names that fail on request, on a real Dagster instance, and a Slack of our own."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg

from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation import slack_alerts
from snowplow_posthog_dagster.resources.slack import AlertSlackResource
from snowplow_posthog_dagster.settings import AlertsSection, DeliverySection, Environment, Settings, SettingsFile
from tests.automation.slack_server import TOKEN, SlackServer

DAYS = dg.DailyPartitionsDefinition("2022-01-01", end_date="2022-02-01")


@dataclass
class Desk:
    """An instance, the alerts' settings, and what the assets do next."""

    instance: dg.DagsterInstance
    slack: SlackServer
    errors: dict[str, Exception | None] = field(default_factory=dict)
    check_passes: bool = True
    accepted: str = ""
    alerts: dict[str, object] = field(default_factory=dict)
    production: bool = True
    now: float = 0.0

    @property
    def graph(self) -> Graph:
        alerts = {"channels": {"team:web": "#web", "anna@example.com": "#growth"}, **self.alerts}
        file = SettingsFile(alerts=AlertsSection(**alerts), delivery=DeliverySection(production=self.production))
        return Graph(Settings(Environment(), file))

    @property
    def resource(self) -> AlertSlackResource:
        return AlertSlackResource(token=TOKEN, base_url=self.slack.url)

    def definitions(self) -> dg.Definitions:
        @dg.asset(partitions_def=DAYS, owners=["team:web"])
        def posthog_batches() -> None:
            self.fail("posthog_batches")

        checks = [dg.AssetCheckSpec("broken_objects", asset="posthog_events")]

        @dg.asset(partitions_def=DAYS, owners=["anna@example.com"], deps=[posthog_batches], check_specs=checks)
        def posthog_events(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
            self.fail("posthog_events")
            result = dg.AssetCheckResult(
                passed=self.check_passes,
                check_name="broken_objects",
                severity=dg.AssetCheckSeverity.WARN,
                description="left: 1 broken object",
                metadata={
                    "partition": context.partition_key,
                    **({"acknowledged": self.accepted} if self.accepted else {}),
                },
            )
            yield dg.MaterializeResult(check_results=[result])

        @dg.asset(partitions_def=DAYS, owners=["team:nobody"])
        def another() -> None:
            self.fail("another")

        return dg.Definitions(assets=[posthog_batches, posthog_events, another])

    def fail(self, name: str) -> None:
        error = self.errors.get(name)
        if error:
            raise error

    def run(self, day: str, *assets: str, tags: dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
        """Run as the UI does, in the implicit asset job, and let the failure sensor see it if it failed."""
        names = assets or ("posthog_batches", "posthog_events")
        job = self.definitions().resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            partition_key=day,
            instance=self.instance,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(name) for name in names],
            tags=tags,
        )
        if not result.success:
            self.see(result.dagster_run, result.get_run_failure_event())
        return result

    def see(self, run: dg.DagsterRun, event: dg.DagsterEvent) -> dg.SkipReason | None:
        """The failure sensor's evaluation of one run."""
        sensor = slack_alerts.build_slack_sensors(self.graph)[0]
        context = dg.build_run_status_sensor_context(
            sensor_name="slack_on_failure",
            dagster_instance=self.instance,
            dagster_run=run,
            dagster_event=event,
            resources={"slack": self.resource},
            repository_def=self.definitions().get_repository_def(),
        ).for_run_failure()
        answer = sensor(context)
        assert answer is None or isinstance(answer, dg.SkipReason)
        return answer

    def watch(self, later: float = 0.0) -> str:
        """One tick of slack_watch, so many seconds from now."""
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=self.definitions().get_repository_def()
        )
        return slack_alerts.watch(context, self.graph, self.resource, time.time() + later)
