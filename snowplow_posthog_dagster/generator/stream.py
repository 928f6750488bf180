"""One hour as a stream of records in order of arrival: many visits at once, and the faults that were asked for.

    visits under way --an event each--> record --late | broken | oversized | repeated--> records

Time passes evenly; at each step one of the visits under way does its next thing, and a visit that ends makes room for a
new one. So neighbouring lines belong to different people, as in real files.

Hours are independent of each other (any can be made again alone, or in parallel), yet visits cross their borders,
midnight too: the visits that an hour begins with are drawn from a seed of their own, and the hour before begins the
same ones in its last ten minutes.
"""

import datetime as dt
from collections import deque
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from snowplow_posthog_dagster.generator import faults
from snowplow_posthog_dagster.generator.line import Event
from snowplow_posthog_dagster.generator.settings import GeneratorSettings
from snowplow_posthog_dagster.generator.visits import JOURNEYS, Journey
from snowplow_posthog_dagster.generator.world import Visit, World

HOUR = 3_600_000  # milliseconds
LAST_TEN_MINUTES = HOUR - 600_000
LONGEST_DELAY = 72 * HOUR  # of what a device kept while it was offline
SECONDS_BETWEEN_EVENTS = 20  # of one visit, on average
FEWEST_VISITS, MOST_VISITS = 20, 4_000  # under way at once; one holds about 8 KB
RECENT = 64  # records that a repeat is taken from: copies lie close together, as after a retry of the collector

GOOD, LATE, BROKEN, OVERSIZED, REPEAT = "good", "late", "broken", "oversized", "repeat"

_MILLISECONDS = tuple(b"%03d" % number for number in range(1000))


class Made(NamedTuple):
    """One record and what must become of it."""

    record: bytes  # without newline
    event_id: bytes  # as text: a UUID of version 4
    arrival: int  # milliseconds since 1970
    kind: str  # web, shop, mobile or server
    schema: bytes  # event_vendor .. event_version
    fate: str  # good, late, broken, oversized or repeat


class _Seconds(dict[int, bytes]):
    """Seconds since 1970 as text, made on first use; an hour needs some 4,000, and a few more per late record."""

    def __missing__(self, second: int) -> bytes:
        text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%d %H:%M:%S.").encode()
        if len(self) < 100_000:
            self[second] = text
        return text


_SECONDS = _Seconds()


def stamp(milliseconds: int) -> bytes:
    """A timestamp as Enrich writes it: UTC, three decimals, no zone."""
    return _SECONDS[milliseconds // 1000] + _MILLISECONDS[milliseconds % 1000]


def visits_under_way(settings: GeneratorSettings) -> int:
    """How many visits go on at once, so that one visit's events are some 20 s apart."""
    rate = settings.events / settings.hours / 3600
    return int(min(max(rate * SECONDS_BETWEEN_EVENTS, FEWEST_VISITS), MOST_VISITS))


class Hour:
    """The records of one hour of arrival."""

    def __init__(self, world: World, start: dt.datetime, events: int) -> None:
        self.world, self.settings, self.events = world, world.settings, events
        self.start = int(start.timestamp()) * 1000
        self.random = Random(f"hour {self.settings.seed} {self.start}")
        self.wide = self.settings.wide
        late = self.settings.late
        broken = late + self.settings.broken
        self.limits = ((LATE, late), (BROKEN, broken), (OVERSIZED, broken + self.settings.oversized))

    def records(self) -> Iterator[Made]:
        """All records, in order of arrival; a repeat follows its original closely."""
        random, share = self.random.random, self.settings.repeats
        recent: deque[Made] = deque(maxlen=RECENT)
        for made in self.originals():
            yield made
            if made.fate in {GOOD, LATE}:
                recent.append(made)
            if recent and random() < share:
                yield recent[int(random() * len(recent))]._replace(fate=REPEAT, arrival=made.arrival)

    def originals(self) -> Iterator[Made]:
        """The records without their repeats."""
        random = self.random.random
        journeys = [self.journey(visit) for visit in self.border_visits(self.start)]
        coming = self.border_visits(self.start + HOUR)
        pace = HOUR / self.events
        for number in range(self.events):
            elapsed = int(number * pace)
            slot = int(random() * len(journeys))
            event = next(journeys[slot].events, None)
            while event is None:
                visit = coming[slot] if elapsed >= LAST_TEN_MINUTES else self.world.visit(self.random)
                journeys[slot] = self.journey(visit)
                event = next(journeys[slot].events, None)
            yield self.made(journeys[slot], event, self.start + elapsed)

    def border_visits(self, border: int) -> list[Visit]:
        """The visits that go on across that border between two hours."""
        random = Random(f"border {self.settings.seed} {border}")
        return [self.world.visit(random) for _ in range(visits_under_way(self.settings))]

    def journey(self, visit: Visit) -> Journey:
        """What this visitor does."""
        return JOURNEYS[visit.kind](self.world, self.random, visit)

    def made(self, journey: Journey, event: Event, arrival: int) -> Made:
        """The record of one event, with the fault that its draw gives it."""
        fate = self.fate()
        small = self.random.getrandbits(32)
        digits = b"%064x" % self.random.getrandbits(256)
        event_id = b"%b-%b-4%b-a%b-%b" % (digits[:8], digits[8:12], digits[13:16], digits[17:20], digits[20:32])
        waited = (small >> 8 & 2047) + (self.offline() if fate == LATE else 0)
        visit, template, _ = journey
        name, page, contexts, action, schema, click = event
        sent = arrival - 20 - (small & 255) + visit.clock_error
        record = (
            template
            % (
                stamp(arrival + 200 + (small >> 19 & 1023)),
                stamp(arrival),
                stamp(sent - waited),
                name,
                event_id,
                page,
                contexts,
                action,
                click,
                stamp(sent),
                stamp(arrival - waited),  # Enrich: collector - (sent - created)
                schema,
                digits[32:] if self.wide else b"",
            )
        )
        if fate == BROKEN:
            record = faults.broken(self.random, record)
        elif fate == OVERSIZED:
            record = faults.oversized(self.random, record)
        return Made(record, event_id, arrival, visit.kind, schema, fate)

    def fate(self) -> str:
        """What becomes of a record, by the shares of the settings."""
        drawn = self.random.random()
        if drawn < self.limits[-1][1]:
            for fate, limit in self.limits:
                if drawn < limit:
                    return fate
        return GOOD

    def offline(self) -> int:
        """Milliseconds that an event waited on its device: an hour to three days, rather less than more."""
        return HOUR + int(self.random.random() ** 3 * (LONGEST_DELAY - HOUR))
