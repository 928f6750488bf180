"""Pages for people: the events that landed, as in PostHog's activity view, and the sessions they make.

Rendered on the server from the store; every value is escaped by the template. Nothing is loaded from elsewhere.
"""

from collections.abc import Mapping

from snowplow_posthog_dagster.sandbox.store import Store


def page(store: Store, route: str, query: Mapping[str, list[str]]) -> str | None:
    """The HTML of a route, or None when there is no such page."""
    return None
