"""What a change of settings does to records."""

from snowplow_posthog_dagster.mapping.difference import compare
from tests.mapping.support import mapper
from tests.snowplow.samples import record


def test_equal_settings_make_no_difference():
    found = compare(mapper(), mapper(), [record(), record(txn_id="x")])
    assert (found.records, found.same, found.twins, found.parts, found.outcomes) == (2, 2, 0, {}, {})


def test_a_changed_property_is_counted_and_shown():
    records = [record(page_title=title) for title in ("Earl Grey", "Assam", "Tea", "Darjeeling", "Oolong")]
    found = compare(mapper(), mapper({"privacy": {"truncate": {"page_title": 3}}}), records)
    assert (found.same, found.twins, found.parts) == (1, 0, {"title": 4})
    assert found.examples["title"] == [("Earl Grey", "Ear"), ("Assam", "Ass"), ("Darjeeling", "Dar")]


def test_events_that_posthog_would_keep_twice_are_twins():
    found = compare(mapper(), mapper({"privacy": {"hash": ["user_id"]}}), [record(user_id="u"), record()])
    assert (found.twins, found.same) == (1, 1)
    assert set(found.parts) == {"distinct_id", "$user_id"}


def test_another_name_of_an_event_is_a_difference_though_its_column_is_the_same():
    named = mapper({"events": {"struct": "{se_category} {se_action}"}})
    found = compare(mapper(), named, [record(event="struct", se_category="shop", se_action="buy")])
    assert (found.twins, found.same, found.examples) == (1, 0, {"event": [("buy", "shop buy")]})
    without = compare(mapper(), mapper({"properties": {"drop": ["event"]}}), [record()])
    assert (without.same, without.examples) == (0, {"event (property)": [("page_view", None)]})


def test_records_that_are_no_longer_sent_are_counted_by_their_fate():
    found = compare(mapper(), mapper({"filters": [{"name": "bots", "drop": {"app_id": ["shop"]}}]}), [record()])
    assert found.outcomes == {"sent -> filtered (bots)": 1}
