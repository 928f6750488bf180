"""Entities and self-describing data: what is carried, and under which name."""

import orjson
import pytest

from snowplow_posthog_dagster.snowplow.record import Rejected
from tests.mapping.support import (
    GITLAB_EXPERIMENT,
    GITLAB_STANDARD,
    SNOWPLOW,
    WEB_PAGE,
    link_click,
    mapped,
    outcome,
    properties,
    unstruct,
)
from tests.snowplow.samples import contexts

STANDARD = "contexts_com_gitlab_gitlab_standard_1"
LINK = "unstruct_event_com_snowplowanalytics_snowplow_link_click_1"


def test_entities_are_lists_with_their_versions_those_of_both_columns_joined():
    found = properties(entities=[("iglu:org.acme/thing/jsonschema/1-0-0", {"a": 1})],
                       derived=[("iglu:org.acme/thing/jsonschema/1-0-1", {"a": 2}),
                                ("iglu:org.acme/thing/jsonschema/2-0-0", {"a": 3})])  # fmt: skip
    assert found["contexts_org_acme_thing_1"] == [
        {"a": 1, "_schema_version": "1-0-0"}, {"a": 2, "_schema_version": "1-0-1"},
    ]  # fmt: skip
    assert found["contexts_org_acme_thing_2"] == [{"a": 3, "_schema_version": "2-0-0"}]


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("iglu:com.acme-corp.x/my-entity/jsonschema/1-0-0", "contexts_com_acme_corp_x_my_entity_1"),
        ("iglu:com.gitlab/gitlab_experiment/jsonschema/0-3-0", "contexts_com_gitlab_gitlab_experiment_0"),
        ("iglu:org.w3/PerformanceTiming/jsonschema/1-0-0", "contexts_org_w3_performance_timing_1"),
    ],
)
def test_names_are_those_of_the_analytics_sdks_without_hyphens(schema, name):
    assert name in properties(entities=[(schema, {"k": 0})])


def test_self_describing_data_has_its_own_name():
    assert properties(**link_click(targetUrl="https://a.org/"))[LINK] == {"targetUrl": "https://a.org/"}
    assert LINK not in properties(**link_click())


@pytest.mark.parametrize("number", [2**53 + 1, 2**64 - 1, 2**64, -(2**63) - 1, 10**40])
def test_integers_are_exact_whatever_their_size(number):
    event = mapped(entities=[(WEB_PAGE, {"id": "p", "n": number})]).event
    assert b'"n":%d,' % number in event
    orjson.loads(event)


@pytest.mark.parametrize("data", [None, [], "text", 5, {}])
def test_degenerate_data_of_an_entity_is_kept_as_it_is(data):
    found = properties(entities=[(WEB_PAGE, data)])["contexts_com_snowplowanalytics_snowplow_web_page_1"]
    assert found == [{"_schema_version": "1-0-0"} if data == {} else data]


@pytest.mark.parametrize("data", [None, [], "", {}])
def test_degenerate_data_of_an_event_is_no_property(data):
    assert LINK not in properties(**unstruct(f"{SNOWPLOW}/link_click/jsonschema/1-0-1", data))


@pytest.mark.parametrize("text", ["masked", "{}", "null", '{"schema":"iglu:a/b/jsonschema/1-0-0","data":null}'])
def test_an_event_lives_on_without_a_json_column_that_holds_nothing(text):
    made = mapped(event="unstruct", event_name="submit_form", unstruct_event=text, contexts=text, user_id="u")
    assert made.notes == ("json_column_empty", "json_column_empty")


@pytest.mark.parametrize(
    "text",
    ["&&&", "[]", '{"data":[{"schema":"nonsense","data":{}}]}', '{"data":[{"data":{}}]}', '{"data":[{"schema":5}]}'],
)
def test_a_damaged_json_column_makes_a_dead_letter(text):
    found = outcome(contexts=text)
    assert isinstance(found, Rejected)
    assert [error.column for error in found.errors] == ["contexts"]


def nested(levels):
    value = "[" * levels + "1" + "]" * levels
    return contexts((WEB_PAGE, {"a": "VALUE"})).replace('"VALUE"', value)


@pytest.mark.parametrize(
    ("levels", "good"),
    [(5, True), (8, True), (9, True), (95, True), (96, True), (97, False), (5000, False)],
)
def test_nesting_is_carried_up_to_the_level_that_posthog_reads(levels, good):
    assert isinstance(outcome(contexts=nested(levels)), Rejected) is not good


def test_rules_drop_flatten_and_choose_fields():
    rules = {"gitlab_standard": {"carry": "flatten", "prefix": "gitlab_", "fields": ["plan", "namespace_id", "extra"]},
             "com.snowplowanalytics.snowplow/web_page": {"carry": "drop"},
             "link_click": {"fields": ["targetUrl"]}}  # fmt: skip
    standard = {"plan": "gold", "namespace_id": None, "extra": {}, "user_id": "u"}
    entities = [(WEB_PAGE, {"id": "p"}), (GITLAB_STANDARD, standard)]
    found = properties({"entities": {"rules": rules}}, entities=entities, **link_click(targetUrl="t", elementId="e"))
    assert found["gitlab_plan"] == "gold"
    assert not {"gitlab_namespace_id", "gitlab_extra", "gitlab_user_id", STANDARD} & set(found)
    assert "contexts_com_snowplowanalytics_snowplow_web_page_1" not in found
    assert found["$pageview_id"] == "p"
    assert found[LINK] == {"targetUrl": "t"}


def test_flattened_fields_have_the_schemas_name_before_them_and_keep_off_ours():
    flat = {"entities": {"rules": {"gitlab_standard": {"carry": "flatten"}, "geo": {"carry": "flatten"}}}}
    found = properties(
        flat, entities=[(GITLAB_STANDARD, {"plan": "gold"}), ("iglu:a/geo/jsonschema/1-0-0", {"isp": 1})]
    )
    assert found["gitlab_standard_plan"] == "gold"
    reserved = {"entities": {"rules": {"geo": {"carry": "flatten", "prefix": "app_"}}}}
    found = properties(reserved, entities=[("iglu:a/geo/jsonschema/1-0-0", {"id": "x"})])
    assert (found["app_id"], found["contexts_a_geo_1_app_id"]) == ("shop", "x")


def test_only_the_first_entity_of_a_schema_is_flattened():
    flat = {"entities": {"rules": {"gitlab_standard": {"carry": "flatten"}}}}
    found = properties(flat, entities=[(GITLAB_STANDARD, {"plan": "a"}), (GITLAB_STANDARD, {"plan": "b"})])
    assert (found["gitlab_standard_plan"], found[STANDARD]) == ("a", [{"plan": "b", "_schema_version": "1-0-8"}])


def test_two_entities_of_a_schema_never_melt_into_one_that_nobody_sent():
    flat = {"entities": {"rules": {"gitlab_standard": {"carry": "flatten"}}}}
    found = properties(flat, entities=[(GITLAB_STANDARD, {"plan": "a", "realm": None}),
                                       (GITLAB_STANDARD, {"plan": "", "realm": "saas"})])  # fmt: skip
    assert (found["gitlab_standard_plan"], "gitlab_standard_realm" in found) == ("a", False)
    assert found[STANDARD][0]["realm"] == "saas"


def test_groups_and_features_are_declared_in_the_settings():
    rules = {"gitlab_standard": {"groups": {"namespace": "namespace_id", "project": "project_id"}},
             "gitlab_experiment": {"carry": "drop", "features": {"experiment": "variant"}}}  # fmt: skip
    found = properties({"entities": {"rules": rules}}, entities=[
        (GITLAB_STANDARD, {"namespace_id": 7, "project_id": None}),
        (GITLAB_EXPERIMENT, {"experiment": "trial", "variant": "candidate"}),
        (GITLAB_EXPERIMENT, {"experiment": "menu", "variant": "control"})])  # fmt: skip
    assert found["$groups"] == {"namespace": "7"}
    assert (found["$feature/trial"], found["$feature/menu"]) == ("candidate", "control")
    assert "contexts_com_gitlab_gitlab_experiment_1" not in found


def test_under_strict_an_entity_that_nobody_allowed_is_dropped_and_counted():
    strict = {"privacy": {"preset": "strict"}, "entities": {"rules": {"web_page": {}}}}
    given = {"entities": [(WEB_PAGE, {"id": "p"}), (GITLAB_STANDARD, {"plan": "gold"})], "user_id": "u"}
    assert mapped(strict, **given).notes == ("entity_not_allowed",)
    found = properties(strict, **given)
    assert STANDARD not in found
    assert "contexts_com_snowplowanalytics_snowplow_web_page_1" in found
    assert STANDARD in properties({**strict, "entities": {"default": "keep"}}, **given)
    assert STANDARD not in properties({"entities": {"default": "drop"}}, **given)


def test_a_tracker_that_makes_up_schemas_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("snowplow_posthog_dagster.mapping.entities._MOST_SCHEMAS", 3)
    made_up = [(f"iglu:a/b{number}/jsonschema/1-0-0", {"n": number}) for number in range(10)]
    found = properties(entities=made_up)
    assert all(found[f"contexts_a_b{number}_1"][0]["n"] == number for number in range(10))
