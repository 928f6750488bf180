"""The PostHog resource: how one project is reached, and how hard it may be pushed.

The project API key is not a field: it comes from POSTHOG_PROJECT_API_KEY when a run begins, so that it can
stand in no run config and no page of Dagster's UI.
"""

from typing import Literal

import dagster as dg
from pydantic import Field

from snowplow_posthog_dagster.loading.delivery import DeliveryOptions
from snowplow_posthog_dagster.posthog.capture import CaptureClient
from snowplow_posthog_dagster.settings import Settings


class PostHogResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Delivery settings of the target."""

    events_per_second: float | None = Field(None, description="Cap over all senders; empty: 2,000 on PostHog Cloud")
    max_connections: int = Field(8, description="Bodies in flight at most; the number adapts below it")
    timeout_seconds: float = 60.0
    historical_migration: Literal["auto", "never"] = "auto"
    retry_seconds_per_body: float = 300.0
    retry_seconds_per_run: float = 3600.0
    max_refused_share: float = Field(0.01, description="A larger share of refused events stops the run")
    ca_bundle: str | None = None
    proxy: str | None = None

    def client(self, settings: Settings) -> CaptureClient:
        """A capture client for the target's host."""
        return CaptureClient(
            settings.host,
            connections=self.max_connections,
            timeout_seconds=self.timeout_seconds,
            ca_bundle=self.ca_bundle,
            proxy=self.proxy,
            secret=settings.project_api_key,
        )

    def options(self, *, strict_dead_letters: bool = False) -> DeliveryOptions:
        """Budgets and limits of a delivery; strict dead letters follow the mapping's privacy preset."""
        return DeliveryOptions(
            historical=self.historical_migration == "auto",
            max_connections=self.max_connections,
            retry_seconds_per_body=self.retry_seconds_per_body,
            retry_seconds_per_run=self.retry_seconds_per_run,
            max_refused_share=self.max_refused_share,
            strict_dead_letters=strict_dead_letters,
        )
