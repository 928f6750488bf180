"""The projects of the stand-in, and what PostHog drops after it has answered 200.

Capture never asks whether a project key exists. An unknown key, a billing limit, a restriction or the team's
"drop events older than" setting lose events in silence; here each lost event is recorded with its reason, so
that a reconciliation can be tested against the truth (reference: posthog.md 1.9).
"""

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from snowplow_posthog_dagster.sandbox.capture import CapturedEvent
from snowplow_posthog_dagster.sandbox.timestamps import SECOND

PROJECT_API_KEY = "phc_sandbox"
TEST_PROJECT_API_KEY = "phc_sandbox_test"
PERSONAL_API_KEY = "phx_sandbox"


class Project(BaseModel):
    """One PostHog project and the settings of its team that lose events.

    `drop_events_older_than_seconds`: None or 0 is off, as in PostHog.
    `billing_limit`: every event is dropped while it is on.
    `restricted_events`, `restricted_distinct_ids`: dropped by PostHog's own event restrictions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    name: str
    api_token: str
    drop_events_older_than_seconds: int | None = None
    billing_limit: bool = False
    restricted_events: frozenset[str] = frozenset()
    restricted_distinct_ids: frozenset[str] = frozenset()

    def loses(self, event: CapturedEvent, now: int) -> str | None:
        """Why this project drops an event that was answered with 200, or None when it is kept."""
        if self.billing_limit:
            return "billing_limit"
        if event.event in self.restricted_events or event.distinct_id in self.restricted_distinct_ids:
            return "event_restriction"
        age = self.drop_events_older_than_seconds
        if age and event.timestamp < now - age * SECOND:
            return "event_dropped_too_old"
        if event.event == "$groupidentify" and not _has_legal_group(event):
            return "invalid_group_set"
        return None


def _has_legal_group(event: CapturedEvent) -> bool:
    properties: dict[str, Any] = orjson.loads(event.properties)
    return isinstance(properties.get("$group_set", {}), dict)


def default_projects() -> list[Project]:
    """A project that stands for production and one to try a load in first."""
    return [
        Project(id=1, name="Sandbox", api_token=PROJECT_API_KEY),
        Project(id=2, name="Sandbox test", api_token=TEST_PROJECT_API_KEY),
    ]


def sort_out(
    events: list[CapturedEvent], project: Project | None, now: int
) -> tuple[list[CapturedEvent], list[tuple[str, CapturedEvent]]]:
    """Split events into those that the project keeps and those that are lost, each with the reason."""
    kept: list[CapturedEvent] = []
    lost: list[tuple[str, CapturedEvent]] = []
    for event in events:
        reason = project.loses(event, now) if project else "unknown_token"
        if reason:
            lost.append((reason, event))
        else:
            kept.append(event)
    return kept, lost
