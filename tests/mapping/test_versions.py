"""The versions change when events would, and the constants of the code are raised when the rules change."""

import gzip
import json
from pathlib import Path

import orjson
import pytest

from snowplow_posthog_dagster.mapping import versions as mapping_versions
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.mapping.versions import IDENTITY_CODE, MAPPING_CODE
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.record import Record
from tests.mapping.support import SECRET, mapper

GOLDEN = Path(__file__).parent / "data" / "golden_events.json"
SAMPLES = Path(__file__).parents[2] / "snowplow_posthog_dagster" / "sandbox" / "data"
LINES = Path(__file__).parents[1] / "snowplow" / "data"
UNTIL_RAISED = """{what} of fixed records changed. If that was meant: raise {constant} in mapping/versions.py and write
the golden events anew with `python -m tests.mapping.test_versions`."""


def golden_events():
    """Events of fixed records; the mapping version in them is left out, since it also digests the settings."""
    mapping = Mapper(MappingSettings()).for_object(object_id="0" * 32, archive_day="2021-03-03")
    lines = [gzip.decompress((SAMPLES / f"{name}_events.tsv.gz").read_bytes()) for name in ("web", "mobile")]
    lines += [(LINES / name).read_bytes() for name in ("gitlab_struct_event.tsv", "rdb_loader_lines.tsv")]
    found = {}
    for number, record in enumerate(each for data in lines for each in records([data])):
        if number % 7 == 0 and isinstance(record, Record):
            outcome = mapping(record)
            if isinstance(outcome, Mapped):
                event = orjson.loads(outcome.event)
                del event["properties"]["snowplow_mapping_version"]
                found[str(number)] = event
    return found


def test_the_rules_of_the_identity_are_those_of_the_version():
    golden = json.loads(GOLDEN.read_text())
    ours = {number: identity(event) for number, event in golden_events().items()}
    theirs = {number: identity(event) for number, event in golden["events"].items()}
    if golden["identity_code"] == IDENTITY_CODE:
        assert ours == theirs, UNTIL_RAISED.format(
            what="uuid, event, distinct_id or timestamp", constant="IDENTITY_CODE"
        )
    else:
        assert ours != theirs, "IDENTITY_CODE was raised, yet the identity of the golden events is unchanged"


def test_the_rules_of_the_properties_are_those_of_the_version():
    golden = json.loads(GOLDEN.read_text())
    if (golden["mapping_code"], golden["identity_code"]) == (MAPPING_CODE, IDENTITY_CODE):
        message = UNTIL_RAISED.format(what="Properties", constant="MAPPING_CODE")
        assert golden_events() == golden["events"], message
    else:
        pytest.fail("the golden events are of another version; write them anew: python -m tests.mapping.test_versions")


def identity(event):
    return [event[name] for name in ("uuid", "event", "distinct_id", "timestamp")]


BASE = mapper()
OF_THE_IDENTITY = [
    {"identity": {"distinct_id": ["domain_userid"]}},
    {"identity": {"illegal_ids": ["x"]}},
    {"identity": {"duplicates": "keep_all"}},
    {"events": {"struct": "{se_category}"}},
    {"events": {"self_describing": {"link_click": "Link clicked"}}},
    {"privacy": {"hash": ["user_id"]}},
    {"privacy": {"drop": ["derived_tstamp"]}},
    {"privacy": {"drop": ["collector_tstamp"]}},
    {"privacy": {"drop": ["domain_userid"]}},
    {"privacy": {"hash": ["com.snowplowanalytics.snowplow/client_session.userId"]}},
    {"privacy": {"truncate": {"se_action": 5}}},
    {"privacy": {"preset": "strict"}},
]
OF_THE_MAPPING = [
    {"geo": "none"},
    {"sample": {"percent": 10}},
    {"sample": {"salt": "x"}},
    {"events": {"page_ping": "drop"}},
    {"filters": [{"name": "a", "drop": {"app_id": ["a"]}}]},
    {"identity": {"person_profiles": "never"}},
    {"identity": {"identified_by": ["domain_userid"]}},
    {"identity": {"person_properties": {"set": {"a": "app_id"}, "force_history": True}}},
    {"privacy": {"drop": ["page_title"]}},
    {"privacy": {"hash": ["se_label"]}},
    {"privacy": {"keep": ["submit_form.elements.value"]}},
    {"privacy": {"strip_query_parameters": {"names": ["a"]}}},
    {"entities": {"default": "drop"}},
    {"entities": {"rules": {"web_page": {"carry": "drop"}}}},
    {"properties": {"drop": ["page_title"]}},
    {"properties": {"parse_user_agent": False}},
]


@pytest.mark.parametrize("settings", OF_THE_IDENTITY)
def test_settings_that_decide_the_identity_change_both_versions(settings):
    changed = mapper(settings)
    assert changed.identity_version != BASE.identity_version
    assert changed.mapping_version != BASE.mapping_version


def test_what_happens_to_a_whole_object_happens_to_the_id_in_it():
    source = {"identity": {"distinct_id": ["gitlab_standard.extra.uid", "domain_userid"]}}
    dropped = {**source, "privacy": {"drop": ["com.gitlab/gitlab_standard.extra"]}}
    assert mapper(dropped).identity_version != mapper(source).identity_version


@pytest.mark.parametrize("settings", OF_THE_MAPPING)
def test_other_settings_change_the_mapping_version_alone(settings):
    changed = mapper(settings)
    assert changed.identity_version == BASE.identity_version
    assert changed.mapping_version != BASE.mapping_version


def test_another_order_of_what_has_no_order_is_the_same_identity():
    """A remap would be refused for it."""

    def version(*, ids, paths):
        return mapper({"identity": {"illegal_ids": ids}, "privacy": {"hash": paths}}).identity_version

    sorted_ones = version(ids=["a", "b"], paths=["domain_userid", "user_id"])
    assert version(ids=["b", "a"], paths=["user_id", "domain_userid"]) == sorted_ones
    other_chain = {"identity": {"distinct_id": ["domain_userid", "user_id"]}}
    assert mapper(other_chain).identity_version != BASE.identity_version, "the chain has one"


def test_the_secret_counts_only_where_it_is_used():
    def versions(settings, secret):
        made = mapper(settings, privacy_secret=secret)
        return made.identity_version, made.mapping_version

    assert versions({}, SECRET) == versions({}, b"other") == versions({}, None)
    hashed_id, hashed_label = {"privacy": {"hash": ["user_id"]}}, {"privacy": {"hash": ["se_label"]}}
    assert versions(hashed_id, SECRET)[0] != versions(hashed_id, b"other")[0]
    assert versions(hashed_label, SECRET)[0] == versions(hashed_label, b"other")[0]
    assert versions(hashed_label, SECRET)[1] != versions(hashed_label, b"other")[1]


def test_what_reads_user_agents_counts_only_where_it_is_asked(monkeypatch):
    def versions():
        return mapper().mapping_version, mapper({"properties": {"parse_user_agent": False}}).mapping_version

    asked, never_asked = versions()
    identity_version = mapper().identity_version
    monkeypatch.setattr(mapping_versions, "version", lambda package: f"a later {package}")
    assert (asked != versions()[0], never_asked == versions()[1]) == (True, True)
    assert mapper().identity_version == identity_version


def test_the_same_settings_give_the_same_versions_and_forgetting_does_not_change_them():
    again = mapper({}, forgotten={"x"})
    assert (again.identity_version, again.mapping_version) == (BASE.identity_version, BASE.mapping_version)
    assert len(BASE.mapping_version) == len(BASE.identity_version) == 16


if __name__ == "__main__":
    content = {"identity_code": IDENTITY_CODE, "mapping_code": MAPPING_CODE, "events": golden_events()}
    GOLDEN.write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
