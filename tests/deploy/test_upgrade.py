"""A release with new property rules in the middle of a day: what is done stays done, only the rest is made anew."""

import json

import pytest

from snowplow_posthog_dagster.errors import WorkspaceError
from snowplow_posthog_dagster.loading.day import Narrowing
from snowplow_posthog_dagster.loading.setup import mapper_of
from snowplow_posthog_dagster.mapping import versions
from snowplow_posthog_dagster.storage.workspace import LAYOUT_VERSION
from tests.ground import DAY, lines_of


def new_settings(ground, _monkeypatch):
    """The property rules of the settings file change."""
    ground.file = {"mapping": {"properties": {"drop": ["page_title"]}, "events": {"page_ping": "drop"}}}


def new_release(_ground, monkeypatch):
    """The property rules of the code change, and their constant is raised with them."""
    monkeypatch.setattr(versions, "MAPPING_CODE", versions.MAPPING_CODE + 1)


@pytest.fixture(params=[new_settings, new_release])
def upgrade(request, ground, monkeypatch):
    """Upgrades; returns the mapping versions before and after, which have one identity version."""

    def upgraded():
        before = mapper_of(ground.settings)
        request.param(ground, monkeypatch)
        after = mapper_of(ground.settings)
        assert after.mapping_version != before.mapping_version
        assert after.identity_version == before.identity_version
        return before.mapping_version, after.mapping_version

    return upgraded


def ids(lines):
    return {line.split(b"\t")[6].decode() for line in lines}


def made_by(ground):
    """Event id -> the mapping version that PostHog's event carries."""
    return {event["uuid"]: event["properties"]["snowplow_mapping_version"] for event in ground.events()}


def test_half_a_day_done_before_it_is_not_sent_again_and_the_rest_gets_the_new_rules(ground, upgrade):
    morning, afternoon = lines_of(5), lines_of(3)
    ground.put("morning", morning, hour=8)
    ground.run()
    sent = ground.posthog.totals()
    before, after = upgrade()
    ground.run()
    assert ground.posthog.totals() == sent, "nothing new: nothing is sent, not even once"
    ground.put("afternoon", afternoon, hour=15)
    ground.run()
    assert ground.posthog.raw_rows() == len(morning) + len(afternoon)
    assert ground.counts().acknowledged == len(morning) + len(afternoon)
    assert made_by(ground) == {**dict.fromkeys(ids(morning), before), **dict.fromkeys(ids(afternoon), after)}
    assert ground.is_closed()


def test_a_batch_that_was_sent_in_part_before_it_is_finished_as_it_was_made(ground, upgrade):
    lines = lines_of(10)
    ground.put("morning", lines, hour=8)
    ground.transform()
    ground.deliver(DAY, Narrowing(max_events=4))
    assert ground.posthog.raw_rows() == 4
    before, _ = upgrade()
    ground.run()
    assert ground.posthog.raw_rows() == 10
    assert made_by(ground) == dict.fromkeys(ids(lines), before)


def test_batches_made_before_it_are_delivered_after_it(ground, upgrade):
    lines = lines_of(5)
    ground.put("morning", lines, hour=8)
    ground.transform()
    before, _ = upgrade()
    ground.run()
    assert made_by(ground) == dict.fromkeys(ids(lines), before)


@pytest.mark.parametrize("layout", [0, LAYOUT_VERSION + 1, "two", None])
def test_a_workspace_of_another_layout_is_refused_with_words_and_left_alone(ground, layout):
    """Layout 1 is the first: an older one does not exist, and a later release that has 2 says what it does with 1."""
    ground.put("morning", lines_of(1))
    ground.run()
    bucket, prefix = ground.settings.workspace_place
    said = json.dumps({"layout": layout} if layout is not None else {})
    ground.s3.put_object(Bucket=bucket, Key=f"{prefix}workspace.json", Body=said.encode())

    def keys():
        return [found["Key"] for found in ground.s3.list_objects_v2(Bucket=bucket)["Contents"]]

    before = keys()
    ground.put("afternoon", lines_of(1), hour=15)
    with pytest.raises(WorkspaceError, match=rf"this release writes and reads layout {LAYOUT_VERSION}"):
        ground.run()
    assert keys() == before
    assert ground.posthog.raw_rows() == 1
