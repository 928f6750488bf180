"""What the truth promises is what the mapping does with the records, under its default settings."""

import datetime as dt

import pytest

from snowplow_posthog_dagster.generator import GeneratorSettings, Profile
from snowplow_posthog_dagster.generator.stream import BROKEN, GOOD, LATE, OVERSIZED, Hour
from snowplow_posthog_dagster.generator.world import World
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.record import Record, Rejected

START = dt.datetime(2022, 6, 6, 4, tzinfo=dt.UTC)


@pytest.mark.parametrize("profile", list(Profile))
def test_good_records_become_events_under_their_own_id_and_broken_ones_dead_letters(profile):
    settings = GeneratorSettings(start=START, events=3_000, profile=profile, late=0.1, broken=0.05, oversized=0.001)
    event = Mapper(MappingSettings()).for_object(object_id="0" * 32, archive_day="2022-06-06")
    seen = set()
    for made in Hour(World(settings), START, settings.events).records():
        (read,) = records([made.record + b"\n"])
        outcome = event(read) if isinstance(read, Record) else read
        seen.add(made.fate)
        if made.fate == BROKEN:
            assert isinstance(outcome, Rejected), made.record
        elif made.fate == OVERSIZED:
            assert isinstance(outcome, Mapped | Rejected)
        else:
            assert isinstance(outcome, Mapped), outcome
            assert outcome.uuid == made.event_id.decode()
    assert {GOOD, LATE, BROKEN, OVERSIZED} <= seen
