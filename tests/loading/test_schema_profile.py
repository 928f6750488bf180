"""What is new, gone or of another type in a day's events, from batches that were really made."""

import datetime as dt
import json

import orjson
import pytest

from snowplow_posthog_dagster.loading.measures import newest_day_file, schema_now
from snowplow_posthog_dagster.loading.schema_profile import (
    BATCHES_PER_HOUR,
    EVENTS_PER_BATCH,
    Drift,
    SchemaProfile,
    drift,
    merged,
    profile_of_events,
)
from tests.ground import DAY, Ground, lines_of

SHARES = {"new_share": 0.0001, "usual_share": 0.05}


def event(name="$pageview", **properties):
    return orjson.dumps({"uuid": "u", "event": name, "distinct_id": "d", "timestamp": "t", "properties": properties})


def profiles(*days):
    return [profile_of_events(events) for events in days]


def drifted(today, *earlier, over=True) -> Drift:
    return drift(profile_of_events(today), profiles(*earlier), over=over, **SHARES)


def test_a_profile_counts_names_types_and_fields_of_entities():
    found = profile_of_events(
        [
            event(plan="free", contexts_com_acme_user_1=[{"age": 7, "tags": []}, {"age": 8}], none=None),
            event("click", plan=3, ok=True, unstruct_event_com_acme_click_1={"where": {"x": 1.5}}),
        ]
    )
    assert (found.events, found.names) == (2, {"$pageview": 1, "click": 1})
    assert found.types["plan"] == {"string": 1, "number": 1}
    assert found.types["contexts_com_acme_user_1"] == {"array": 1}
    assert found.types["contexts_com_acme_user_1.age"] == {"number": 1}, "events are counted, not items"
    assert found.types["contexts_com_acme_user_1.tags"] == {"array": 1}
    assert found.types["unstruct_event_com_acme_click_1.where"] == {"object": 1}
    assert found.types["ok"] == {"boolean": 1}
    assert "none" not in found.types


def test_a_new_event_and_a_new_entity_are_named_with_their_number():
    usual = [event(plan="free")] * 30
    found = drifted([*usual, event("signup"), event(contexts_com_acme_user_1=[{"a": 1}])], usual, usual)
    assert found.new == ["event 'signup' (1)", "entity contexts_com_acme_user_1 (1)"]
    assert (found.gone, found.changed, found.days, found.events) == ([], [], 2, 32)


def test_what_any_earlier_day_had_is_not_new():
    usual = [event()] * 30
    assert drifted([*usual, event("signup")], usual, [*usual, event("signup")]).new == []


def test_a_name_too_rare_for_so_many_events_is_not_told():
    usual = [event()] * 30_000
    assert drifted([*usual, *[event("rare")] * 2], usual).new == []
    assert drifted([*usual, *[event("rare")] * 4], usual).new == ["event 'rare' (4)"]


def test_a_property_that_every_day_had_and_no_event_has_now_is_gone_when_the_day_is_over():
    usual = [event(plan="free", rare=1), *[event(plan="free")] * 39]
    today = [event()] * 40
    assert drifted(today, usual, usual).gone == ["plan (in 100% of the events before)"]
    assert drifted(today, usual, usual, over=False).gone == []
    assert drifted(today, usual, [event()] * 40).gone == [], "a day without it came before"
    assert drifted([event()] * 9, usual, usual).gone == [], "too few events to say"
    assert drifted(today, [], usual, usual).gone == ["plan (in 100% of the events before)"], "no event the day before"


def test_fields_of_an_entity_that_is_gone_are_not_listed_one_by_one():
    usual = [event(contexts_com_acme_user_1=[{"a": 1, "b": 2}])] * 40
    assert drifted([event()] * 40, usual).gone == ["contexts_com_acme_user_1 (in 100% of the events before)"]
    found = drifted([event(contexts_com_acme_user_1=[{"a": 1}])] * 40, usual)
    assert found.gone == ["contexts_com_acme_user_1.b (in 100% of the events before)"]


def test_another_type_is_named_with_the_one_before():
    usual = [event(plan="free", contexts_com_acme_user_1=[{"age": 7}])] * 30
    today = [*usual, event(plan=3), event(contexts_com_acme_user_1=[{"age": "7"}])]
    assert drifted(today, usual).changed == [
        "plan (string before, now number (1))",
        "contexts_com_acme_user_1.age (number before, now string (1))",
    ]
    assert drifted(today, today).changed == []


def test_nothing_is_said_without_earlier_days_or_without_events():
    assert drifted([event()]) == Drift(events=1)
    assert drifted([], [event()]) == Drift(days=1)


def test_merging_keeps_the_most_frequent_names():
    many = SchemaProfile(1, {f"n{number}": 1 for number in range(3_000)}, {})
    found = merged([many, SchemaProfile(5, {"usual": 5}, {"a": {"string": 5}})])
    assert len(found.names) == 2_000 and found.names["usual"] == 5
    assert merged([found, found]).types == {"a": {"string": 10}}


# -- on a ground ------------------------------------------------------------------------------------------


@pytest.fixture
def loaded(ground: Ground) -> Ground:
    ground.put("a", lines_of(3, app_id="web"))
    ground.put("b", lines_of(2, event="struct", se_category="c", se_action="signup"), hour=5)
    ground.run()
    return ground


def test_a_finished_day_keeps_its_profile_and_no_value(loaded: Ground):
    file = newest_day_file(loaded.workspace, DAY)
    assert file is not None and file.schema is not None
    assert (file.schema.events, file.schema.names) == (5, {"$pageview": 3, "signup": 2})
    assert file.schema.types["app_id"] == {"string": 5}
    stored = json.loads(loaded.workspace.bucket.get(loaded.stored("days")[-1]))
    assert "user-0" not in json.dumps(stored["schema"])


def test_what_was_purged_is_remembered_when_late_events_come(loaded: Ground):
    for key in loaded.stored("batches"):
        loaded.workspace.bucket.delete([key])
    loaded.put("late", lines_of(4, event="struct", se_category="c", se_action="late"), hour=6)
    loaded.run()
    file = newest_day_file(loaded.workspace, DAY)
    assert file is not None and file.schema is not None
    assert file.schema.names == {"$pageview": 3, "late": 4, "signup": 2}


def test_of_a_small_day_every_hour_is_looked_at(ground: Ground):
    for number in range(24):
        ground.put(f"f{number}", lines_of(2, event="struct", se_category="c", se_action=f"hour-{number}"), hour=number)
    ground.transform()
    found = schema_now(ground.workspace, DAY, ground.state())
    assert (len(found.names), found.events) == (24, 48)


def test_of_many_events_some_are_looked_at_and_the_hours_take_turns(ground: Ground, monkeypatch):
    monkeypatch.setattr("snowplow_posthog_dagster.loading.schema_profile.FEWEST_EVENTS", 6)
    for number in range(8):
        ground.put(f"f{number}", lines_of(2, event="struct", se_category="c", se_action=f"hour-{number}"), hour=number)
    ground.transform()
    found = schema_now(ground.workspace, DAY, ground.state())
    assert (len(found.names), found.events) == (3, 6)


def test_of_a_large_batch_the_beginning_is_looked_at(ground: Ground):
    ground.put("large", lines_of(1_500, event="struct", se_category="c", se_label="x" * 1_000, se_action="a"))
    ground.transform()
    found = schema_now(ground.workspace, DAY, ground.state())
    assert EVENTS_PER_BATCH // 2 < found.events <= EVENTS_PER_BATCH
    assert found.names == {"a": found.events}


def test_of_a_large_hour_some_batches_are_looked_at_and_the_same_again(ground: Ground):
    for number in range(BATCHES_PER_HOUR + 3):
        ground.put(f"f{number}", lines_of(EVENTS_PER_BATCH + 5 if number == 0 else 2))
    ground.transform()
    state = ground.state()
    first, again = (schema_now(ground.workspace, DAY, state) for _ in range(2))
    assert first == again
    assert first.events < 2 * (BATCHES_PER_HOUR + 3) + EVENTS_PER_BATCH
    next_day = DAY + dt.timedelta(days=1)
    assert schema_now(ground.workspace, next_day, ground.state(next_day)).events == 0
