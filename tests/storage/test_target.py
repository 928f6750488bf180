"""A target's name stands for one project, and nothing is sent while it is paused."""

import datetime as dt
import json

import pytest

from snowplow_posthog_dagster.errors import PausedError, SettingsError, TargetError, WorkspaceError
from snowplow_posthog_dagster.storage import target, workspace
from snowplow_posthog_dagster.storage.target import TargetIdentity
from tests.ground import Ground

HERE = TargetIdentity("https://eu.i.posthog.com", "1", "aaaa")


def test_the_first_use_records_the_project_without_its_key(ground: Ground) -> None:
    identity = ground.settings.target_identity
    target.check_target(ground.workspace, identity)
    target.check_target(ground.workspace, identity)
    (entry,) = ground.workspace.control_entries()
    assert entry["kind"] == "identity" and entry["host"] == ground.posthog.host
    assert ground.posthog.project_api_key not in str(entry)


@pytest.mark.parametrize(
    "other",
    [
        TargetIdentity("https://us.i.posthog.com", "1", "aaaa"),
        TargetIdentity(HERE.host, "2", "aaaa"),
        TargetIdentity(HERE.host, "1", "bbbb"),
    ],
    ids=["host", "project", "key"],
)
def test_another_host_project_or_key_is_refused_until_it_is_accepted(ground: Ground, other: TargetIdentity) -> None:
    target.check_target(ground.workspace, HERE)
    with pytest.raises(TargetError, match="accept-key"):
        target.check_target(ground.workspace, other)
    target.accept_identity(ground.workspace, other, by="me")
    target.check_target(ground.workspace, other)
    with pytest.raises(TargetError):
        target.check_target(ground.workspace, HERE)


def test_a_project_id_that_was_left_out_once_agrees(ground: Ground) -> None:
    target.check_target(ground.workspace, TargetIdentity(HERE.host, "", HERE.key_fingerprint))
    target.check_target(ground.workspace, HERE)


def test_two_first_users_that_disagree_are_both_refused(ground: Ground) -> None:
    other = TargetIdentity(HERE.host, "2", "bbbb")
    for identity in (HERE, other):  # as two runs write that looked before either had written
        ground.workspace.append_control(target._entry("identity", identity))
    for identity in (HERE, other):
        with pytest.raises(TargetError, match="two projects at once"):
            target.check_target(ground.workspace, identity)
    target.accept_identity(ground.workspace, other, by="me")
    target.check_target(ground.workspace, other)


def test_two_first_users_that_agree_are_one(ground: Ground) -> None:
    for _ in range(2):
        ground.workspace.append_control(target._entry("identity", HERE))
    target.check_target(ground.workspace, HERE)


def test_targets_do_not_meet(ground: Ground) -> None:
    target.check_target(ground.workspace, HERE)
    ground.environment = {"POSTHOG_TARGET": "test"}
    target.check_target(ground.workspace, TargetIdentity("https://other.example", "9", "cccc"))


def test_all_targets_of_a_workspace_are_found(ground: Ground) -> None:
    for name in ("b", "a-b", "a", "a_b"):
        ground.environment = {"POSTHOG_TARGET": name}
        for _ in range(3):
            target.check_target(ground.workspace, HERE)
            target.resume(ground.workspace, by="me")
    assert target.targets_in(ground.workspace.bucket, "posthog/") == ["a", "a-b", "a_b", "b"]


def test_the_expected_project_must_match(ground: Ground) -> None:
    ground.environment = {"POSTHOG_EXPECTED_PROJECT": "2"}
    with pytest.raises(SettingsError, match="POSTHOG_EXPECTED_PROJECT"):
        _ = ground.settings.target_identity
    ground.environment = {"POSTHOG_EXPECTED_PROJECT": "1"}
    assert ground.settings.target_identity.project_id == "1"


def test_a_pause_holds_until_it_is_resumed(ground: Ground) -> None:
    target.refuse_when_paused(ground.workspace)
    target.pause(ground.workspace, reason="billing", until="", by="ann")
    with pytest.raises(PausedError, match="ann: billing"):
        target.refuse_when_paused(ground.workspace)
    target.resume(ground.workspace, by="ann")
    target.refuse_when_paused(ground.workspace)


def test_a_pause_holds_after_a_resume_by_a_machine_whose_clock_is_fast(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = workspace.timestamp_name
    with monkeypatch.context() as fast:
        fast.setattr(workspace, "timestamp_name", lambda: real(dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)))
        target.pause(ground.workspace, reason="night", until="", by="a fast clock")
        target.resume(ground.workspace, by="a fast clock")
        assert target.current_pause(ground.workspace) is None
    target.pause(ground.workspace, reason="incident", until="", by="ann")
    found = target.current_pause(ground.workspace)
    assert found is not None and found.by == "ann"
    target.resume(ground.workspace, by="ann")
    assert target.current_pause(ground.workspace) is None


def write(ground: Ground, name: str, **entry: object) -> None:
    """A control entry of this name, as another writer wrote it."""
    ground.workspace.bucket.put(ground.workspace.key("control", None, f"{name}.json"), json.dumps(entry).encode())


PAUSE = {"kind": "pause", "reason": "r", "until": "", "by": "ann"}
RESUME = {"kind": "resume", "by": "bob"}


def test_of_a_pause_and_a_resume_at_the_same_moment_the_pause_holds(ground: Ground) -> None:
    write(ground, "1", **PAUSE, number=1)
    write(ground, "2", **PAUSE, number=2)
    write(ground, "3", **RESUME, number=2)
    assert target.current_pause(ground.workspace) is not None


def test_entries_of_releases_that_wrote_no_numbers_are_ordered_by_their_time(ground: Ground) -> None:
    write(ground, "1", **PAUSE)
    write(ground, "2", **RESUME)
    assert target.current_pause(ground.workspace) is None
    target.pause(ground.workspace, reason="r", until="", by="ann")
    write(ground, "3", **RESUME)
    assert target.current_pause(ground.workspace) is None
    write(ground, "4", **PAUSE)
    assert target.current_pause(ground.workspace) is not None


def test_a_control_entry_that_was_emptied_is_named(ground: Ground) -> None:
    key = ground.workspace.key("control", None, "1.json")
    ground.workspace.bucket.put(key, b"")
    with pytest.raises(WorkspaceError, match=key):
        target.current_pause(ground.workspace)


def test_a_pause_ends_at_its_time(ground: Ground) -> None:
    target.pause(ground.workspace, reason="night", until="2999-01-01T01:00:00+01:00", by="ann")
    found = target.current_pause(ground.workspace)
    assert found is not None and found.until == "2999-01-01T00:00:00Z"
    assert target.current_pause(ground.workspace, dt.datetime(2999, 1, 1, tzinfo=dt.UTC)) is None


@pytest.mark.parametrize(
    ("until", "words"),
    [
        ("tomorrow", "no time"),
        ("2999-01-01T00:00:00", "no zone"),
        ("2999-01-01", "write 2999-01-01T00:00:00Z"),
        ("2001-01-01T00:00Z", "passed"),
    ],
)
def test_a_wrong_end_of_a_pause_is_refused(ground: Ground, until: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        target.pause(ground.workspace, reason="r", until=until, by="ann")


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("eu.i.posthog.com", "https://eu.i.posthog.com"),
        ("https://EU.i.posthog.com/", "https://eu.i.posthog.com"),
        ("https://eu.i.posthog.com:443", "https://eu.i.posthog.com"),
        ("http://127.0.0.1:8000/ph/", "http://127.0.0.1:8000/ph"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_writings_of_one_host_are_one(given: str, normal: str) -> None:
    assert target.normalised_host(given) == normal


@pytest.mark.parametrize(
    "given",
    ["ftp://x", "https://", "https://user:secret@host", "https://host/?a=1", "https://host:99999", "https://[::1"],
)
def test_what_is_no_host_is_refused(given: str) -> None:
    with pytest.raises(SettingsError):
        target.normalised_host(given)
