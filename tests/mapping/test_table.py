"""The table is made from the code: it names every property, and the committed page is it."""

import re

from snowplow_posthog_dagster.mapping import envelope, reading, size
from snowplow_posthog_dagster.mapping.entities import NOT_ALLOWED
from snowplow_posthog_dagster.mapping.properties import PROPERTY_NAMES
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.mapping.table import NOTES, declared_properties, fields, mapping_table
from snowplow_posthog_dagster.snowplow.columns import NAMES


def rows(settings=None):
    """By source; a column's own row comes before those of rules that read it."""
    found = reversed(fields(MappingSettings.model_validate(settings or {})))
    return {row.source: row for row in found}


def test_the_committed_page_is_the_table(repository):
    page = (repository / "docs" / "mapping.md").read_text(encoding="utf-8")
    assert page == mapping_table(), "write it anew: python -m snowplow_posthog_dagster.mapping.table > docs/mapping.md"


def test_every_property_is_declared_by_a_rule_or_is_a_column():
    assert declared_properties() == PROPERTY_NAMES


def test_every_note_is_explained():
    written = re.findall(r'append\("(\w+)"\)', (open(reading.__file__).read()))  # noqa: PTH123, SIM115
    assert {*written, size.SHED, envelope.NO_DISTINCT_ID, envelope.TIMESTAMP_REPLACED, NOT_ALLOWED} == set(NOTES)


def test_the_list_for_a_security_review_names_every_column():
    assert set(NAMES) <= set(rows())
    assert rows()["page_url"].target == "$current_url"
    assert rows()["mobile_context.appleIdfa"] == ("mobile_context.appleIdfa", "-", "privacy: drop")


def test_it_shows_what_the_settings_do():
    found = rows({"privacy": {"drop": ["page_title"], "hash": ["user_id"]}, "geo": "none",
                  "properties": {"drop": ["useragent"]},
                  "entities": {"rules": {"gitlab_standard": {"carry": "flatten", "fields": ["plan"],
                                                             "groups": {"namespace": "namespace_id"}}}}})  # fmt: skip
    assert (found["page_title"].target, found["page_title"].rule) == ("-", "privacy: drop")
    assert (found["user_id"].target, found["user_id"].rule) == ("$user_id", "privacy: hash")
    assert found["geo_city"].target == found["useragent"].target == "-"
    assert found["gitlab_standard"].rule == "entities.rules: flatten, only plan"
    assert found["gitlab_standard.namespace_id"].target == "$groups.namespace"
    assert rows({"privacy": {"preset": "strict"}})["any other entity"].target == "-"


def test_it_shows_the_chain_of_ids_and_the_person_properties_of_the_settings():
    settings = MappingSettings.model_validate(
        {"identity": {"distinct_id": ["gitlab_standard.user_id", "domain_userid"],
                      "person_properties": {"set": {"plan": "gitlab_standard.plan"}, "force_history": True}},
         "entities": {"rules": {"com.acme/CartItem": {"carry": "flatten"}}}})  # fmt: skip
    found = fields(settings)
    assert [row.source for row in found if row.target == "distinct_id"] == ["gitlab_standard.user_id, domain_userid"]
    assert ("gitlab_standard.plan", "$set.plan") in [(row.source, row.target) for row in found]
    assert "cart_item_..." in [row.target for row in found]
    assert [row.target for row in fields(MappingSettings()) if "person_properties" in row.source] == ["-"]


def test_without_places_none_of_their_properties_are_listed():
    targets = [row.target for row in fields(MappingSettings.model_validate({"geo": "none"}))]
    assert not [target for target in targets if target.startswith("$geoip_") and target != "$geoip_disable"]
