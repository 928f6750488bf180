"""Visits: what one person or machine does in one go, as a line with holes and the events that fill it.

    Visit --web | shop | mobile | server--> Journey(line, events)

Each kind is a generator of events that reads like the story of such a visit. What all events of it share (person,
place, browser) is in the line; an event adds its page, entities and action.
"""

from collections.abc import Callable
from random import Random

from snowplow_posthog_dagster.generator.visits.mobile import mobile
from snowplow_posthog_dagster.generator.visits.server import server
from snowplow_posthog_dagster.generator.visits.shared import Journey
from snowplow_posthog_dagster.generator.visits.shop import shop
from snowplow_posthog_dagster.generator.visits.web import web
from snowplow_posthog_dagster.generator.world import Visit, World

JOURNEYS: dict[str, Callable[[World, Random, Visit], Journey]] = {
    "web": web,
    "shop": shop,
    "mobile": mobile,
    "server": server,
}

__all__ = ["JOURNEYS", "Journey"]
