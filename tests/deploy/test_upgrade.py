"""A release with new property rules in the middle of a day: what is done stays done, only the rest is made anew."""

import pytest

from snowplow_posthog_dagster.errors import WorkspaceError
from snowplow_posthog_dagster.loading.setup import mapper_of
from tests.ground import lines_of


def test_new_property_rules_send_nothing_again(ground):
    ground.put("morning", lines_of(5), hour=8)
    ground.run()
    before = mapper_of(ground.settings)
    sent = ground.posthog.raw_rows()
    # What a release does to the mapping version, settings do as well: other properties, the same identity.
    ground.file = {"mapping": {"properties": {"drop": ["page_title"]}, "events": {"page_ping": "drop"}}}
    after = mapper_of(ground.settings)
    assert after.mapping_version != before.mapping_version
    assert after.identity_version == before.identity_version
    ground.put("afternoon", lines_of(3), hour=15)
    ground.run()
    assert ground.posthog.raw_rows() == sent + 3
    assert ground.counts().acknowledged == 8
    versions = {event["properties"]["snowplow_mapping_version"] for event in ground.events()}
    assert versions == {before.mapping_version, after.mapping_version}


def test_batches_made_before_an_upgrade_are_delivered_after_it(ground):
    ground.put("morning", lines_of(5), hour=8)
    ground.transform()
    before = mapper_of(ground.settings).mapping_version
    ground.file = {"mapping": {"properties": {"drop": ["page_title"]}}}
    ground.run()
    assert {event["properties"]["snowplow_mapping_version"] for event in ground.events()} == {before}
    assert len(ground.events()) == 5


def test_a_workspace_of_a_later_layout_is_refused_with_words(ground):
    ground.put("morning", lines_of(1))
    ground.run()
    name, prefix = ground.settings.workspace_place
    ground.s3.put_object(Bucket=name, Key=f"{prefix}workspace.json", Body=b'{"layout": 999}')
    with pytest.raises(WorkspaceError, match="999"):
        ground.run()
