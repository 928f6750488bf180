"""Which records are sent at all, and under which name the others are counted."""

import pytest

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping.filters import compile_sample
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered
from snowplow_posthog_dagster.mapping.privacy import digest
from snowplow_posthog_dagster.mapping.settings import MappingSettings, Sample
from tests.mapping.support import CLIENT_SESSION, GITLAB_STANDARD, IAB, SECRET, YAUAA, mapper, rule, unstruct
from tests.snowplow.samples import contexts, record


def drop(**condition):
    return {"filters": [{"name": "test", "drop": condition}]}


@pytest.mark.parametrize(
    ("condition", "caught", "passed"),
    [
        ({"app_id": ["a", "b"]}, {"app_id": "a"}, {"app_id": "c"}),
        ({"platform": ["srv"]}, {"platform": "srv"}, {"platform": "web"}),
        ({"event": ["$pageview"]}, {"event": "page_view"}, {"event": "page_ping"}),
        ({"host": ["localhost"]}, {"page_urlhost": "localhost"}, {"page_urlhost": "localhost.org"}),
        ({"host": ["localhost"]}, {"page_urlhost": "127.0.0.1"}, {"page_urlhost": "128.0.0.1"}),
        ({"host": ["localhost"]}, {"page_url": "http://[::1]:3000/a"}, {"page_url": "http://a.org/localhost"}),
        ({"host": ["staging"]}, {"page_urlhost": "customers.stg.example.org"}, {"page_urlhost": "upstage.org"}),
        ({"host": ["staging"]}, {"page_urlhost": "shop-staging.example.org"}, {"page_urlhost": ""}),
        ({"matches": {"user_id": "^qa-"}}, {"user_id": "qa-1"}, {"user_id": "a-qa-1"}),
        ({"matches": {"page_urlport": "^8"}}, {"page_urlport": "8080"}, {"page_urlport": "443"}),
        ({"matches": {"br_cookies": "false"}}, {"br_cookies": "0"}, {"br_cookies": "1"}),
        ({"matches": {"gitlab_standard.environment": "staging"}},
         {"entities": [(GITLAB_STANDARD, {"environment": "staging"})]}, {"entities": [(GITLAB_STANDARD, {})]}),
        ({"bot": ["iab"]}, {"derived": [(IAB, {"spiderOrRobot": True})]},
         {"derived": [(IAB, {"spiderOrRobot": False})]}),
        ({"bot": ["yauaa"]}, {"derived": [(YAUAA, {"deviceClass": "Robot Mobile"})]},
         {"derived": [(YAUAA, {"deviceClass": "Phone"})]}),
        ({"bot": ["yauaa"]}, {"derived": [(YAUAA, {"agentClass": "Hacker"})]}, {}),
        ({"bot": ["useragent"]}, {"useragent": "Googlebot/2.1"}, {"useragent": "Mozilla/5.0 [FBAN/FBIOS]"}),
        ({"app_id": ["a"], "platform": ["srv"]}, {"app_id": "a", "platform": "srv"}, {"app_id": "a"}),
    ],
)  # fmt: skip
def test_a_condition_drops_or_keeps(condition, caught, passed):
    assert rule(drop(**condition), **caught) == "test"
    assert rule(drop(**condition), **passed) is None
    keep = {"filters": [{"name": "only", "keep": condition}]}
    assert rule(keep, **caught) is None
    assert rule(keep, **passed) == "only"


PRODUCT = "iglu:com.snowplowanalytics.snowplow.ecommerce/product/jsonschema/1-0-0"
SUBMIT_FORM = "iglu:com.snowplowanalytics.snowplow/submit_form/jsonschema/1-0-0"


@pytest.mark.parametrize("path", ["product.id", "com.snowplowanalytics.snowplow.ecommerce/product.id"])
def test_a_filter_looks_at_all_entities_of_a_schema(path):
    cart = [(PRODUCT, {"id": "tea"}), (PRODUCT, {"id": "TEST-1"})]
    assert rule(drop(matches={path: "^TEST"}), entities=cart) == "test"
    assert rule(drop(matches={path: "^TEST"}), entities=cart[:1], derived=cart[1:]) == "test"
    assert rule(drop(matches={path: "^TEST"}), entities=cart[:1]) is None
    assert rule({"filters": [{"name": "only", "keep": {"matches": {path: "^TEST"}}}]}, entities=cart) is None


def test_a_filter_looks_at_all_items_of_a_list():
    form = {"formId": "f", "formClasses": ["a", "internal"], "elements": [{"value": "tea"}, {"value": "a@b.org"}]}
    assert rule(drop(matches={"submit_form.elements.value": "@"}), **unstruct(SUBMIT_FORM, form)) == "test"
    assert rule(drop(matches={"submit_form.formClasses": "^internal$"}), **unstruct(SUBMIT_FORM, form)) == "test"
    assert rule(drop(matches={"submit_form.elements.name": "^$"}), **unstruct(SUBMIT_FORM, form)) == "test"
    assert rule(drop(matches={"submit_form.formId": "^$"}), **unstruct(SUBMIT_FORM, form)) is None
    assert rule(drop(matches={"submit_form.formId": "^$"})) == "test", "a missing value is empty text"


def test_the_first_filter_that_applies_gives_the_name():
    filters = [{"name": "first", "drop": {"app_id": ["a"]}}, {"name": "second", "drop": {"platform": ["web"]}}]
    assert rule({"filters": filters}, app_id="a", platform="web") == "first"
    assert rule({"filters": filters}, app_id="b", platform="web") == "second"


def test_filters_see_what_privacy_hides():
    settings = {**drop(matches={"user_id": "^qa-"}), "privacy": {"drop": ["user_id"]}}
    assert rule(settings, user_id="qa-1") == "test"


def test_page_pings_can_be_dropped():
    assert rule({"events": {"page_ping": "drop"}}, event="page_ping") == "page_ping"
    assert rule(event="page_ping") is None


def test_a_sample_is_of_users_and_of_the_size_it_says():
    sampled = [rule({"sample": {"percent": 25}}, user_id=f"user-{number}") for number in range(400)]
    assert set(sampled) == {"sample", None}
    assert 70 <= sampled.count(None) <= 130
    belongs = compile_sample(Sample(percent=10))
    assert belongs is not None
    assert 900 <= sum(belongs(str(number)) for number in range(10_000)) <= 1_100


def test_a_user_is_in_the_sample_with_all_events_of_all_days_or_not_at_all():
    settings = {"sample": {"percent": 50}}
    events = [
        {"event": "page_view", "derived_tstamp": "2022-06-06 04:00:00.000"},
        {"event": "page_ping", "derived_tstamp": "2022-06-06 04:00:10.000", "event_id": ""},
        {"event": "struct", "se_action": "a", "derived_tstamp": "2022-06-05 23:59:59.999", "platform": "srv"},
    ]
    fates = [{rule(settings, user_id=f"user-{number}", **each) for each in events} for number in range(40)]
    assert all(len(fate) == 1 for fate in fates)
    assert {None, "sample"} == set().union(*fates)


def test_another_salt_draws_other_users_and_a_smaller_sample_is_part_of_a_larger_one():
    one, other = compile_sample(Sample(percent=10, salt="a")), compile_sample(Sample(percent=10, salt="b"))
    assert one is not None
    assert other is not None
    ids = [str(number) for number in range(1_000)]
    assert [one(text) for text in ids] != [other(text) for text in ids]
    larger = compile_sample(Sample(percent=20, salt="a"))
    assert larger is not None
    assert all(larger(text) for text in ids if one(text))


@pytest.mark.parametrize(
    "columns",
    [{"user_id": "ada"}, {"domain_userid": "ada"}, {"network_userid": "ada"},
     {"user_id": "bob", "domain_userid": "ada"},
     {"contexts": contexts((CLIENT_SESSION, {"userId": "ada"}))}],
)  # fmt: skip
def test_the_records_of_a_forgotten_person_are_filtered(columns):
    forgotten = {digest(SECRET, "ada")}
    mapping = mapper(forgotten=forgotten).for_object(object_id="o", archive_day="2022-06-06")
    assert mapping(record(**columns)) == Filtered("forgotten")
    assert not isinstance(mapping(record(user_id="bob")), Filtered)


def test_a_person_can_be_forgotten_by_the_hashed_id_that_posthog_knows():
    forgotten = {digest(SECRET, digest(SECRET, "ada"))}
    mapping = mapper({"privacy": {"hash": ["user_id"]}}, forgotten=forgotten)
    assert mapping.for_object(object_id="o", archive_day="d")(record(user_id="ada")) == Filtered("forgotten")


def test_forgetting_needs_the_secret():
    with pytest.raises(SettingsError, match="SNOWPLOW_POSTHOG_PRIVACY_SECRET"):
        Mapper(MappingSettings(), forgotten={"x"})
