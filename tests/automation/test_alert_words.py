"""What a run died of, in the words of Dagster and Kubernetes, and how often in a row it did."""

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.executor.child_process_executor import ChildProcessCrashException
from dagster._utils.error import serializable_error_info_from_exc_info

from snowplow_posthog_dagster.automation.alert_words import Cause, ending_of
from snowplow_posthog_dagster.automation.failures import FailedRun, _step_causes, is_due

NO_PODS = (
    "Detected run worker status FAILED: Run has not completed but K8s job has no active pods. Marking run 1 as failed."
)
POD = "Debug information for pod dagster-run-1a2b-x7:\n\nPod status: "
ENDED = f"{POD}Failed\nContainer 'dagster' status: Terminated with exit code "
WARNINGS = "\n\nNo logs for container 'dagster'.\n\nWarning events for pod:\n"
NO_WARNINGS = "\n\nNo logs for container 'dagster'.\n\nNo warning events for pod."
TOO_LATE = "Run timed out due to taking longer than 180 seconds to start.\n"
TAINT = "0/3 nodes are available: 3 node(s) had untolerated taint {dedicated: gpu}. preemption: 0/3 nodes are available"
MEMORY, SCHEDULED, VANISHED, IMAGE = (
    "out of memory",
    "could not be scheduled",
    "process vanished",
    "could not be pulled",
)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (f"{ENDED}137: Error{NO_WARNINGS}", MEMORY),
        ("dagster: last state: Terminated, ExitCode:137", MEMORY),
        (f"{NO_PODS}\n{POD}Failed: The node was low on resource: memory. Threshold quantity: 100Mi", MEMORY),
        (f"{POD}Failed{WARNINGS}Evicted: The node was low on resource: memory. ", MEMORY),
        (f"{ENDED}137: OOMKilled{WARNINGS}FailedScheduling: {TAINT}", MEMORY),
        (f"{POD}Failed{WARNINGS}Evicted: The node was low on resource: ephemeral-storage.", VANISHED),
        (f"{POD}Pending: {TAINT}", SCHEDULED),
        (f"{TOO_LATE}{POD}Pending{WARNINGS}FailedScheduling: {TAINT} (x4)", SCHEDULED),
        (f"{TOO_LATE}{POD}Pending\nContainer 'dagster' status: Waiting: ImagePullBackOff: Back-off", IMAGE),
        ("Detected run worker status NOT_FOUND: no such job. Marking run 1a2b as failed.", VANISHED),
        ("Detected run worker status UNKNOWN. Marking run 1a2b as failed, because it has surpassed", VANISHED),
        (f"{ENDED}1370: there is no room here. crashed", VANISHED),
    ],
)
def test_kubernetes_words_of_an_ending_are_understood(message: str, named: str) -> None:
    cause = ending_of(message)
    assert named in cause.words.partition(" (")[0]
    assert cause.chapter == "killed-run"


def crashed() -> object:
    """What Dagster logs when the kernel kills the process of a step: an exception without words."""
    with pytest.raises(ChildProcessCrashException) as crash:
        raise ChildProcessCrashException(pid=7, exit_code=-9)
    return serializable_error_info_from_exc_info((crash.type, crash.value, crash.tb))


def test_a_step_whose_process_was_killed_is_a_killed_run() -> None:
    event = SimpleNamespace(step_key="posthog_batches", step_failure_data=SimpleNamespace(error=crashed()))
    context = SimpleNamespace(get_step_failure_events=lambda: [event])
    cause = _step_causes(cast(dg.RunFailureSensorContext, context))["posthog_batches"]
    assert MEMORY in cause.words
    assert cause.chapter == "killed-run"
    assert re.search("memory|transform.processes", cause.next_step)


@pytest.fixture
def instance(instance_storage: Callable[[], dict[str, Any]]) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(overrides=instance_storage()) as found:
        yield found


def died(instance: dg.DagsterInstance, day: str, *assets: str) -> FailedRun:
    """A run that was gone before its first step; without assets it names none, as a job does."""

    @dg.asset
    def posthog_events() -> None: ...

    @dg.asset
    def another() -> None: ...

    run = instance.create_run_for_job(
        dg.Definitions(assets=[posthog_events, another]).resolve_implicit_global_asset_job_def(),
        tags={"dagster/partition": day} if day else {},
        status=dg.DagsterRunStatus.STARTING,
        asset_selection=frozenset(dg.AssetKey(one) for one in assets) or None,
    )
    instance.report_run_failed(run, "ImagePullBackOff")
    return FailedRun(run.run_id, "posthog_events", day, [], Cause("killed", "", "", "killed-run"), 0.0)


@pytest.mark.parametrize(("assets", "due"), [(["posthog_events"], True), ([], True), (["another"], False)])
def test_runs_that_died_before_their_first_step_count(
    instance: dg.DagsterInstance, assets: list[str], due: bool
) -> None:
    died(instance, "2022-01-05", *assets)
    last = died(instance, "2022-01-06", *assets)
    assert is_due(instance, last, 2, 0.0) is due


def test_a_job_without_days_does_not_count_for_an_asset_with_days(instance: dg.DagsterInstance) -> None:
    died(instance, "")
    assert not is_due(instance, died(instance, "2022-01-06"), 2, 0.0)
