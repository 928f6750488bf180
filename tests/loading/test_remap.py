"""Days done again under other settings: in place while identities agree, refused when PostHog would keep twins."""

import pytest

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.day import Narrowing
from snowplow_posthog_dagster.loading.remap import IN_PLACE, TWINS, UNCHANGED, RemapPlan, measure, plan, remap
from snowplow_posthog_dagster.loading.setup import mapper_of
from tests.ground import Ground, lines_of, user_line

OTHER_PROPERTIES = {"mapping": {"properties": {"drop": ["page_title"]}}}
OTHER_IDENTITY = {"mapping": {"identity": {"distinct_id": ["network_userid", "domain_userid"]}}}
WITHOUT_NOISE = {"mapping": {"filters": [{"name": "noise", "drop": {"app_id": ["noise"]}}]}}


def planned(ground: Ground, *, measured: bool = False) -> RemapPlan:
    load, mapper = ground.load(), mapper_of(ground.settings, ground.workspace)
    made = plan(load, mapper)
    if measured:
        measure(load, mapper, made, max_record_bytes=1 << 24, max_object_bytes=1 << 30)
    return made


def do(ground: Ground, *, force: bool = False) -> int:
    return remap(ground.load(), planned(ground), by="me", force=force)


def test_unchanged_settings_remap_nothing(ground: Ground) -> None:
    ground.put("a", lines_of(2))
    ground.run()
    assert do(ground) == 0 and planned(ground).objects == {UNCHANGED: 1}
    assert ground.is_closed()


def test_other_properties_replace_every_event_in_place(ground: Ground) -> None:
    ground.put("a", [user_line("u", page_title="a title") for _ in range(3)])
    ground.run()
    assert all("title" in event["properties"] for event in ground.events())
    ground.file = OTHER_PROPERTIES
    assert planned(ground).outcome == IN_PLACE
    assert do(ground) == 1 and not ground.is_closed()
    report = ground.run()
    assert report.events == 3 and ground.is_closed()
    assert len(ground.events()) == 3 and ground.posthog.raw_rows() == 6
    assert not any("title" in event["properties"] for event in ground.events())
    counts = ground.counts()
    assert (counts.acknowledged, counts.resent, counts.objects_done) == (3, 3, 1)
    assert ground.state().problems() == []
    assert do(ground) == 0, "asked again, there is nothing to do"


def test_exact_copies_are_not_counted_as_billed_again(ground: Ground) -> None:
    line = user_line("u", page_title="a title")
    ground.put("a", [line, line])
    ground.run()
    ground.file = OTHER_PROPERTIES
    assert planned(ground, measured=True).billed_again == 1


def test_another_identity_is_refused_unless_forced(ground: Ground) -> None:
    ground.put("a", [user_line("u", network_userid="n")])
    ground.run()
    ground.file = OTHER_IDENTITY
    assert planned(ground).outcome == TWINS
    with pytest.raises(SettingsError, match="twins"):
        do(ground)
    assert do(ground, force=True) == 1
    ground.run()
    assert sorted(event["distinct_id"] for event in ground.events()) == ["n", "u"]


def test_another_identity_of_events_that_were_never_sent_makes_no_twins(ground: Ground) -> None:
    ground.put("a", [user_line("u", network_userid="n")])
    ground.transform()
    ground.file = OTHER_IDENTITY
    assert do(ground) == 1
    ground.run()
    assert [event["distinct_id"] for event in ground.events()] == ["n"]


def test_an_object_that_the_archive_no_longer_has_is_named_and_refused(ground: Ground) -> None:
    key = ground.put("a", lines_of(1))
    ground.put("b", lines_of(1))
    ground.run()
    ground.delete(key)
    ground.file = OTHER_PROPERTIES
    assert planned(ground).missing == [key]
    with pytest.raises(SettingsError, match=key):
        do(ground)


def test_the_dry_run_counts_what_is_billed_again_and_what_stays(ground: Ground) -> None:
    ground.put("a", [*lines_of(3), *lines_of(2, app_id="noise")])
    ground.run()
    ground.file = WITHOUT_NOISE
    made = planned(ground, measured=True)
    assert (made.billed_again, made.staying, dict(made.filtered)) == (3, 2, {"noise": 2})
    assert ground.is_closed(), "a dry run changes nothing"


def test_a_dry_run_without_the_batches_says_that_it_does_not_know(ground: Ground) -> None:
    ground.put("a", lines_of(3))
    ground.run()
    ground.workspace.bucket.delete(ground.stored("batches"))
    ground.file = WITHOUT_NOISE
    made = planned(ground, measured=True)
    assert (made.staying, made.staying_unknown, made.billed_again) == (0, 3, 3)


def test_a_day_of_which_posthog_lost_events_is_sent_again_when_asked(ground: Ground) -> None:
    ground.put("a", lines_of(3))
    ground.run()
    ground.posthog.reset()  # PostHog answered 200 and has nothing
    load = ground.load()
    assert remap(load, plan(load, mapper_of(ground.settings, ground.workspace), again=True), by="me", force=False) == 1
    ground.run()
    assert len(ground.events()) == 3 and ground.counts().resent == 3 and ground.is_closed()


def test_a_remap_while_a_batch_is_half_sent_sends_everything_anew(ground: Ground) -> None:
    ground.put("a", [user_line("u", page_title="t") for _ in range(4)])
    ground.transform()
    ground.deliver(narrowing=Narrowing(max_events=1))
    ground.file = OTHER_PROPERTIES
    do(ground)
    assert ground.counts().pending == 0 and ground.counts().objects_pending == 1
    ground.run()
    counts = ground.counts()
    assert (counts.acknowledged, counts.resent, len(ground.events())) == (4, 1, 4)
