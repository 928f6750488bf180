"""What a backend reports: no browser and no session, everything of interest in an entity."""

from collections.abc import Iterator
from random import Random

from snowplow_posthog_dagster.generator import line
from snowplow_posthog_dagster.generator.line import INDEX, Event
from snowplow_posthog_dagster.generator.visits.shared import Journey, experiment, gitlab_standard, person_row, pick
from snowplow_posthog_dagster.generator.vocabulary import BACKEND, ELEMENTS
from snowplow_posthog_dagster.generator.world import Visit, World

# What Enrich's old user agent library makes of a program.
_RUBY = {
    "useragent": b"Ruby",
    "br_name": b"Unknown",
    "br_family": b"Unknown",
    "br_type": b"unknown",
    "br_renderengine": b"OTHER",
    "os_name": b"Unknown",
    "os_family": b"Unknown",
    "os_manufacturer": b"Other",
    "dvce_type": b"Unknown",
    "dvce_ismobile": b"0",
}


def server(world: World, random: Random, visit: Visit) -> Journey:
    """What a backend reports of one user: no browser, no session, everything of interest in an entity."""
    row = person_row(world, visit, b"srv", b"rb-0.6.1")
    for name, value in _RUBY.items():
        row[INDEX[name]] = value
    return Journey(visit, line.template(row), server_events(world, random, visit))


def server_events(world: World, random: Random, visit: Visit) -> Iterator[Event]:
    """A handful of actions."""
    extra = [experiment(visit)] if visit.user.number % 12 == 0 or world.settings.wide else []
    entities = line.contexts(gitlab_standard(random, visit, "gitlab-rails"), *extra)
    while True:
        category, verb = BACKEND[int(random.random() * len(BACKEND))]
        value = b"%d" % int(random.random() * 1000) if random.random() < 0.2 else b""
        action = line.struct(category.encode(), verb.encode(), pick(random, ELEMENTS), b"", value)
        yield Event(b"struct", line.NO_PAGE, entities, action, line.STRUCT)
        if random.random() < 0.2:
            return
