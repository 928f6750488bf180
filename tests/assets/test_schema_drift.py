"""The check of a day's schema on real events: Snowplow's own, loaded over three days, the last one changed."""

import datetime as dt

import pytest

from snowplow_posthog_dagster.assets.checks import DayFacts, judge_day, night_facts, schema_drift
from snowplow_posthog_dagster.sandbox.samples import sample_objects
from snowplow_posthog_dagster.settings import ChecksSection
from snowplow_posthog_dagster.snowplow.columns import COLUMNS
from tests.ground import DAY, Ground

LIMITS = ChecksSection()
DAYS = [DAY + dt.timedelta(days=number) for number in range(3)]
NOW = dt.datetime(2022, 6, 20, tzinfo=dt.UTC)
PLACE = {column.name: number for number, column in enumerate(COLUMNS)}


def changed(line: bytes, **columns: str) -> bytes:
    fields = line.split(b"\t")
    for name, value in columns.items():
        fields[PLACE[name]] = value.encode()
    return b"\t".join(fields)


def an_entity(name: str, data: str) -> str:
    """The column `contexts` with one entity."""
    inner = f'{{"schema":"iglu:com.acme/{name}/jsonschema/1-0-0","data":{data}}}'
    return f'{{"schema":"iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0","data":[{inner}]}}'


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Real web events: 200 of them."""
    found = [line for one in sample_objects() if "2021/03/0" in one.key for line in one.lines.split(b"\n") if line]
    return [line for line in found if line.split(b"\t")[PLACE["platform"] : PLACE["platform"] + 1] == [b"web"]][:200]


def put_and_run(ground: Ground, day: dt.date, lines: list[bytes]) -> None:
    ground.put("web", lines, day=day)
    assert ground.run(day).closed


def verdict(ground: Ground, day: dt.date, now: dt.datetime = NOW):
    load = ground.load(day)
    judged = judge_day(night_facts(load, load.log.state(), [], now, LIMITS), LIMITS)
    return next(one for one in judged if one.check == "schema_drift")


def test_the_same_events_again_are_no_drift(ground: Ground, lines):
    for day in DAYS:
        put_and_run(ground, day, lines)
    found = verdict(ground, DAYS[2])
    assert found.passed, found.words
    assert "against 2 earlier days" in found.words
    assert verdict(ground, DAYS[0]).words == "not judged: no earlier day has a profile"


def test_a_new_event_a_new_entity_and_an_empty_column_are_named(ground: Ground, lines):
    for day in DAYS[:2]:
        put_and_run(ground, day, lines)
    entity = an_entity("cart", '{"sum":7}')
    today = [changed(line, page_title="") for line in lines]
    today[0] = changed(today[0], contexts=entity)
    today[1] = changed(today[1], event="struct", event_name="event", se_category="shop", se_action="checkout_v2")
    put_and_run(ground, DAYS[2], today)
    found = verdict(ground, DAYS[2])
    assert not found.passed
    for words in ("event 'checkout_v2' (1)", "contexts_com_acme_cart_1 (1)", "title", "ask the owners of the trackers"):
        assert words in found.words
    assert found.numbers["new"] == 2 and found.numbers["gone"] >= 1
    live = verdict(ground, DAYS[2], dt.datetime.combine(DAYS[2], dt.time(9), dt.UTC))
    assert live.numbers["gone"] == 0, "the day is not over"


def test_a_property_of_another_type_is_named(ground: Ground, lines):
    def with_plan(value: str) -> list[bytes]:
        entity = an_entity("user", f'{{"plan":{value}}}')
        return [changed(line, contexts=entity) for line in lines[:30]]

    put_and_run(ground, DAYS[0], with_plan('"free"'))
    put_and_run(ground, DAYS[1], [*with_plan('"free"')[:29], *with_plan("3")[29:]])
    found = verdict(ground, DAYS[1])
    assert "contexts_com_acme_user_1.plan (string before, now number (1))" in found.words


def test_a_closed_day_is_judged_from_its_file(ground: Ground, lines):
    put_and_run(ground, DAYS[0], lines[:50])
    put_and_run(ground, DAYS[1], lines[:50])
    for key in ground.stored("batches"):
        ground.workspace.bucket.delete([key])
    load = ground.load(DAYS[1])
    found = schema_drift(load, load.log.state(), NOW, LIMITS, closed=True)
    assert (found.events, found.new, found.gone) == (46, [], []), "50 records with 4 repeats"


def test_thresholds_come_from_the_settings(ground: Ground, lines):
    put_and_run(ground, DAYS[0], lines)
    put_and_run(ground, DAYS[1], [changed(lines[0], event="struct", se_category="c", se_action="once"), *lines[1:]])
    load = ground.load(DAYS[1])
    state = load.log.state()
    assert schema_drift(load, state, NOW, LIMITS).new == ["event 'once' (1)"]
    assert schema_drift(load, state, NOW, ChecksSection(schema_new_share=0.05)).new == []
    assert schema_drift(ground.load(DAYS[2]), ground.state(DAYS[2]), NOW, ChecksSection(schema_days=1)).days == 1
    assert DayFacts._field_defaults["drift"].days == 0
