"""Schema URIs, and the names that entities and self-describing data get from them."""

import pytest

from snowplow_posthog_dagster.snowplow.schema import Schema, contexts_key, parse_schema, unstruct_event_key


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("iglu:com.gitlab/gitlab_standard/jsonschema/1-0-8", "contexts_com_gitlab_gitlab_standard_1"),
        ("iglu:org.w3/PerformanceTiming/jsonschema/1-0-0", "contexts_org_w3_performance_timing_1"),
        ("iglu:com.acme-corp.x/my-entity/jsonschema/1-0-0", "contexts_com_acme_corp_x_my_entity_1"),
        ("iglu:com.urbanairship.connect/OPEN/jsonschema/1-0-0", "contexts_com_urbanairship_connect_open_1"),
        ("iglu:com.acme/userIDContext/jsonschema/2-1-0", "contexts_com_acme_user_idcontext_2"),
        ("iglu:com.pascal/VoidCase_dummy/jsonschema/80-0-5", "contexts_com_pascal_void_case_dummy_80"),
        ("iglu:com.dev/VoidCase32/jsonschema/9-0-5", "contexts_com_dev_void_case32_9"),
        ("iglu:com.dev/schema80TestDb_system/jsonschema/7-0-5", "contexts_com_dev_schema80_test_db_system_7"),
        ("iglu:com.acme/ThisStringIsAMixture/jsonschema/1-0-0", "contexts_com_acme_this_string_is_amixture_1"),
        ("iglu:com.Acme/some_Name/jsonschema/12-0-0", "contexts_com_acme_some_name_12"),
        ("iglu:com.gitlab/gitlab_experiment/jsonschema/0-3-0", "contexts_com_gitlab_gitlab_experiment_0"),
    ],
)
def test_a_schema_names_its_entities(uri: str, key: str) -> None:
    assert contexts_key(uri) == key
    assert unstruct_event_key(uri) == key.replace("contexts_", "unstruct_event_", 1)


def test_the_parts_of_a_schema() -> None:
    schema = parse_schema("iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-2")
    assert schema == Schema("com.snowplowanalytics.snowplow", "link_click", "jsonschema", 1, 0, 2)
    assert schema is not None
    assert schema.version == "1-0-2"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "iglu:",
        "com.acme/event/jsonschema/1-0-0",
        "iglu:com.acme/event/jsonschema/1-0",
        "iglu:com.acme/event/jsonschema/01-0-0",
        "iglu:com.acme/event/jsonschema/1-0-0\n",
        "iglu:com.acme/event/jsonschema/1-0-0-0",
        "iglu:com.acme/ev ent/jsonschema/1-0-0",
        "iglu:com.acme//jsonschema/1-0-0",
        "iglu:com.acmé/event/jsonschema/1-0-0",
        "iglu:com.acme/event/jsonschema/١-0-0",
    ],
)
def test_what_is_no_schema_has_no_name(uri: str) -> None:
    assert parse_schema(uri) is None
    assert contexts_key(uri) is None
    assert unstruct_event_key(uri) is None
