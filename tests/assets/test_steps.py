"""The assets on a real S3 and the stand-in, step by step: what a run of one of them notices, and what blocks."""

from typing import Any

import dagster as dg
import pytest

from snowplow_posthog_dagster.definitions import build_definitions
from tests.ground import DAY, Ground, lines_of, user_line

ACCOUNTING = "records_accounted_for"
BATCHES, EVENTS = dg.AssetKey("posthog_batches"), dg.AssetKey("posthog_events")


@pytest.fixture
def site(ground: Ground, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ground:
    """The ground, and AWS's variables as a run has them."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return ground


def materialize(ground: Ground, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
    """Run some of the assets of the day in this process."""
    job = build_definitions(ground.settings).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(partition_key=f"{DAY}", asset_selection=list(keys), raise_on_error=False)


def evaluation(result: dg.ExecuteInProcessResult, key: dg.AssetKey, name: str = ACCOUNTING) -> dg.AssetCheckEvaluation:
    """What a check said."""
    found = [one for one in result.get_asset_check_evaluations() if (one.asset_key, one.check_name) == (key, name)]
    assert len(found) == 1
    return found[0]


def materialized(result: dg.ExecuteInProcessResult) -> set[dg.AssetKey]:
    return {event.asset_key for event in result.get_asset_materialization_events() if event.asset_key}


def test_a_batch_to_send_that_is_missing_fails_the_accounting_and_nothing_is_delivered(site: Ground) -> None:
    key = site.put("a", lines_of(3))
    site.put("b", lines_of(2))
    assert evaluation(materialize(site, BATCHES), BATCHES).passed
    known = next(known for known in site.state().objects.values() if known.key == key)
    site.workspace.bucket.delete([site.workspace.batch_key(DAY, known.object_id, name) for name in known.batches])
    result = materialize(site, BATCHES, EVENTS)
    found = evaluation(result, BATCHES)
    assert not found.passed and found.severity == dg.AssetCheckSeverity.ERROR
    assert f"{key}: batches with 3 events to send are not in the workspace" in str(found.description)
    assert f"remap --from {DAY} --to {DAY} --damaged" in str(found.description)
    assert not result.success and materialized(result) == {BATCHES} and site.posthog.raw_rows() == 0


def test_a_narrowed_delivery_says_that_a_batch_of_the_rest_is_missing(site: Ground) -> None:
    site.put("a", lines_of(3), hour=4)
    site.put("b", lines_of(2), hour=5)
    materialize(site, BATCHES)
    missing = next(known for known in site.state().objects.values() if known.hour == 5)
    site.workspace.bucket.delete([site.workspace.batch_key(DAY, missing.object_id, name) for name in missing.batches])
    job = build_definitions(site.settings).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        partition_key=f"{DAY}",
        asset_selection=[EVENTS],
        raise_on_error=False,
        run_config={"ops": {"posthog_events": {"config": {"hours": [4]}}}},
    )
    assert site.posthog.raw_rows() == 3
    assert not evaluation(result, EVENTS).passed
    assert missing.key in str(evaluation(result, EVENTS).description)


def test_a_narrowed_run_finds_no_fault_with_what_it_left_out(site: Ground) -> None:
    for hour in range(24):
        site.put("a", lines_of(1), hour=hour)
    job = build_definitions(site.settings).resolve_implicit_global_asset_job_def()
    narrowed = {"ops": {name: {"config": {"hours": [4]}} for name in ("posthog_batches", "posthog_events")}}
    steps: dict[str, Any] = {"partition_key": f"{DAY}", "asset_selection": [BATCHES, EVENTS], "run_config": narrowed}
    first = job.execute_in_process(**steps)
    assert evaluation(first, EVENTS, "hours_present").passed, "all 24 hours lie in the archive"
    assert not evaluation(first, EVENTS, "complete_in_time").passed
    assert "not wholly loaded" in str(evaluation(first, EVENTS, "volume").description)
    assert evaluation(materialize(site, BATCHES, EVENTS), EVENTS, "complete_in_time").passed
    assert evaluation(job.execute_in_process(**steps), EVENTS, "complete_in_time").passed, "nothing is left of the day"


def test_events_alone_do_not_send_what_was_overwritten_since(site: Ground) -> None:
    key = site.put("a", [user_line("old"), user_line("old")])
    materialize(site, BATCHES)
    site.put("a", [user_line("new")])
    result = materialize(site, EVENTS)
    assert result.success and site.posthog.raw_rows() == 0
    (event,) = result.get_asset_materialization_events()
    changed = event.step_materialization_data.materialization.metadata["changed_objects"].value
    assert key in str(changed) and "2 events of the old one" in str(changed)
    left = evaluation(result, EVENTS, "nothing_left")
    assert not left.passed and "1 objects to transform" in str(left.description)


def test_the_right_project_with_the_key_of_another_is_found_out_before_anything_is_sent(site: Ground) -> None:
    site.put("a", lines_of(3))
    materialize(site, BATCHES)
    site.environment = {"POSTHOG_EXPECTED_PROJECT": "2", "POSTHOG_PROJECT_ID": "2"}
    result = materialize(site, EVENTS)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    told = str(failure.step_failure_data.error)
    assert "POSTHOG_PROJECT_API_KEY does not belong to project 2 (Sandbox test)" in told
    assert site.posthog.raw_rows() == 0 and site.posthog.progress()["requests"] == 0
    site.environment = {"POSTHOG_EXPECTED_PROJECT": "1"}
    assert materialize(site, EVENTS).success
    assert site.posthog.raw_rows() == 3


def test_another_project_than_the_expected_one_gets_nothing(site: Ground) -> None:
    site.put("a", lines_of(3))
    materialize(site, BATCHES)
    site.environment = {"POSTHOG_EXPECTED_PROJECT": "7"}
    assert not materialize(site, EVENTS).success
    assert site.posthog.raw_rows() == 0 and site.posthog.progress()["requests"] == 0


def test_the_check_counts_the_batches_that_lie_there_against_those_of_the_log(site: Ground) -> None:
    key = site.put("a", lines_of(3))
    site.put("b", lines_of(2))
    materialize(site, BATCHES, EVENTS)
    known = next(known for known in site.state().objects.values() if known.key == key)
    site.workspace.bucket.delete([site.workspace.batch_key(DAY, known.object_id, name) for name in known.batches])
    site.put("c", lines_of(1))
    found = evaluation(materialize(site, BATCHES), BATCHES)
    assert found.passed, "what PostHog has acknowledged may be gone"
    assert found.metadata["batches"].value == (
        "2 of 3 that the log lists lie in the workspace; 1 were deleted by something else than housekeeping"
    )
