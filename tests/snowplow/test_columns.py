"""The columns are Snowplow's, in Snowplow's order."""

from collections import Counter

from snowplow_posthog_dagster.snowplow.columns import COLUMN_COUNT, COLUMNS, INDEX, NAMES, Kind


def test_there_are_131_columns_with_131_names() -> None:
    assert len(COLUMNS) == len(set(NAMES)) == len(INDEX) == COLUMN_COUNT == 131


def test_landmarks_stand_where_enrich_writes_them() -> None:
    landmarks = {
        "app_id": 0,
        "event_id": 6,
        "contexts": 52,
        "unstruct_event": 58,
        "useragent": 77,
        "doc_height": 107,
        "dvce_sent_tstamp": 119,
        "refr_dvce_tstamp": 121,
        "derived_contexts": 122,
        "domain_sessionid": 123,
        "derived_tstamp": 124,
        "true_tstamp": 130,
    }
    assert {name: INDEX[name] for name in landmarks} == landmarks


def test_each_kind_occurs_as_often_as_in_the_scala_sdk() -> None:
    assert Counter(column.kind for column in COLUMNS) == {
        Kind.TEXT: 84,
        Kind.INTEGER: 15,
        Kind.DOUBLE: 11,
        Kind.BOOLEAN: 11,
        Kind.TIMESTAMP: 7,
        Kind.CONTEXTS: 2,
        Kind.UNSTRUCT: 1,
    }
