"""A mistake in the settings stops the code location from loading; it never does nothing in silence."""

import pytest
from pydantic import ValidationError

from snowplow_posthog_dagster.mapping.settings import MappingSettings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"evnets": {}}, "Extra inputs are not permitted"),
        ({"privacy": {"drop": ["user_ip"]}}, "'user_ip' is no column"),
        ({"privacy": {"drop": ["contexts"]}}, "'contexts' is no column"),
        ({"privacy": {"drop": ["client_session..userId"]}}, "is no path"),
        ({"privacy": {"hash": ["domain_sessionidx"]}}, "only text can be hashed"),
        ({"privacy": {"truncate": {"geo_latitude": 3}}}, "only text can be hashed or truncated"),
        ({"privacy": {"truncate": {"page_title": 0}}}, "greater than or equal to 1"),
        ({"events": {"struct": "{se_value}"}}, "expected one or more of se_category"),
        ({"events": {"struct": "static"}}, "expected one or more of se_category"),
        ({"events": {"struct": "{se_action!r}"}}, "is no template"),
        ({"events": {"self_describing": {"a": "{type"}}}, ""),
        ({"events": {"self_describing": {"a": " "}}}, "must not be empty"),
        ({"identity": {"distinct_id": []}}, "at least 1 item"),
        ({"identity": {"identified_by": ["page_title"]}}, "which distinct_id does not"),
        ({"identity": {"person_properties": {"set": {"a": "app_id"}}}}, "overwrite current ones"),
        ({"filters": [{"name": "a"}]}, "needs either drop or keep"),
        ({"filters": [{"name": "a", "drop": {}}]}, "a condition needs one of"),
        ({"filters": [{"name": "sample", "drop": {"app_id": ["a"]}}]}, "taken by a built-in rule"),
        ({"filters": [{"name": "A b", "drop": {"app_id": ["a"]}}]}, "should match pattern"),
        ({"filters": [{"name": "a", "drop": {"matches": {"app_id": "("}}}]}, "is no regular expression"),
        ({"filters": [{"name": "a", "drop": {"app_id": ["a"]}}, {"name": "a", "drop": {"app_id": ["b"]}}]}, "one name"),
        ({"sample": {"percent": 0}}, "greater than 0"),
        ({"properties": {"drop": ["$geoip_disable"]}}, "no column or property that may be left out"),
        ({"geo": "posthog", "properties": {"drop": ["$ip"]}}, "where the loader runs"),
        ({"properties": {"drop": ["nonsense"]}}, "no column or property that may be left out"),
        ({"entities": {"rules": {"a": {"prefix": "$a"}}}}, "should match pattern"),
        ({"entities": {"rules": {"iglu:com.acme/thing/jsonschema/1-0-0": {}}}}, "is no schema"),
        ({"entities": {"rules": {"com.acme/thing/1": {}}}}, "is no schema"),
        ({"events": {"self_describing": {"com.acme/thing/jsonschema/1-0-0": "a"}}}, "is no schema"),
        ({"privacy": {"drop": ["iglu:com.acme/thing/jsonschema/1-0-0.field"]}}, "is no path"),
    ],
)
def test_a_mistake_is_named(settings, words):
    with pytest.raises(ValidationError) as error:
        MappingSettings.model_validate(settings)
    assert words in str(error.value)


def test_settings_survive_the_way_to_a_pool_worker():
    settings = MappingSettings.model_validate({
        "privacy": {"preset": "strict", "truncate": {"user_ipaddress": "ip", "page_title": 5}},
        "identity": {"person_properties": {"set": {"a": "app_id"}, "since": "2022-01-01"}},
        "filters": [{"name": "a", "drop": {"matches": {"user_id": "^qa"}}}],
        "entities": {"rules": {"gitlab_standard": {"carry": "flatten", "fields": ["plan"]}}}})  # fmt: skip
    assert MappingSettings.model_validate_json(settings.model_dump_json(by_alias=True)) == settings
