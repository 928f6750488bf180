"""Odd objects in CI: some dozens of seeds through the whole transform, hypothesis on lines; `make fuzz` goes on."""

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.bad_rows import bad_row
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.record import Rejected
from tests.fuzz.mutations import harmed_line, made_object, real_lines
from tests.fuzz.run import fuzz, fuzzing
from tests.fuzz.verdict import SECRET, SETTINGS, DefectError, check_event

MAPPERS = [Mapper(MappingSettings.model_validate(each), privacy_secret=SECRET) for each in SETTINGS]
LINES = real_lines(None)


@pytest.mark.slow
def test_whatever_an_object_holds_its_records_are_accounted_for_and_its_events_are_what_posthog_takes(shared_fixtures):
    with fuzzing(shared_fixtures) as fuzzer:
        assert fuzz(fuzzer, 20_220_606, seconds=100, objects=60) is None
    seen = fuzzer.seen
    assert seen["objects"] == 60, "the machine was too slow"
    at_least = {"mapped": 800, "dead letters": 400, "repeats": 30, "glued": 20, "filtered": 1, "broken objects": 4}
    assert {name: seen[name] for name, number in at_least.items() if seen[name] < number} == {}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(LINES), st.randoms(use_true_random=False), st.sampled_from(MAPPERS))
def test_a_harmed_line_becomes_events_and_dead_letters_and_never_an_exception(line, random, mapper):
    event_of = mapper.for_object(object_id="0" * 32, archive_day="2022-06-06")
    for record in records([harmed_line(random, line)]):
        outcome = record if isinstance(record, Rejected) else event_of(record)
        if isinstance(outcome, Mapped):
            check_event(outcome.event)
        elif isinstance(outcome, Rejected):
            row = bad_row(outcome, bucket="b", key="k", object_id="o", day="2022-06-06")
            assert row["reason"] and json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")
        else:
            assert isinstance(outcome, Filtered)


def test_a_seed_is_an_object():
    import random

    first, again, other = (made_object(random.Random(seed), LINES) for seed in (7, 7, 8))
    assert first == again != other
    kinds = Counter(made_object(random.Random(seed), LINES).raw is None for seed in range(60))
    assert kinds[False] > 40 and kinds[True] > 2


GOOD = {
    "uuid": "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
    "event": "$pageview",
    "distinct_id": "u",
    "timestamp": "2022-06-06T04:29:37.999Z",
    "properties": {"a": 1, "snowplow_mapping_version": "m"},
}


@pytest.mark.parametrize(
    "event",
    [
        json.dumps({**GOOD, "properties": {"a": float("nan")}}),
        json.dumps({**GOOD, "properties": {"a": None}}),
        json.dumps({**GOOD, "properties": {"a": ""}}),
        json.dumps({**GOOD, "properties": {"a": "x\x00y"}}),
        json.dumps(GOOD).replace('"a": 1', '"a": 1, "a": 1'),
        json.dumps({**GOOD, "uuid": GOOD["uuid"].upper()}),  # type: ignore[attr-defined]
        json.dumps({**GOOD, "distinct_id": " "}),
        json.dumps({**GOOD, "more": 1}),
        json.dumps({**GOOD, "properties": {"a": "x" * 1_000_000}}),
    ],
)
def test_the_fuzz_test_sees_an_event_that_must_not_be(event):
    check_event(json.dumps(GOOD).encode())
    with pytest.raises((DefectError, ValueError)):
        check_event(event.encode())
