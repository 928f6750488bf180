"""A failed run, understood: which asset failed, whose it is, why, and how often in a row.

Only the public records of the instance are read. What "in a row" means: finished runs, newest first; a run and its
retries are one, a partition counts once by its last run. A single day that keeps failing for an hour counts too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from snowplow_posthog_dagster.assets.graph import Graph
from snowplow_posthog_dagster.automation.alert_words import Cause, cause_of, ending_of
from snowplow_posthog_dagster.automation.flying import UNFINISHED

_ASSET_JOB = "__ASSET_JOB"
_UNKNOWN = cause_of("", "").chapter
_LAST_RUNS = 200
_KEEPS_FAILING_SECONDS = 3600.0
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


@dataclass(frozen=True)
class FailedRun:
    """One asset of a failed run; `asset` is its key with slashes, `ended` seconds since 1970.

    Of a step that makes no asset of ours `asset` is the step, and `job` the job whose success is its recovery.
    """

    run_id: str
    asset: str
    partition: str
    channels: list[str]
    cause: Cause
    ended: float
    job: str = ""


def failed_run(context: dg.RunFailureSensorContext, graph: Graph) -> list[FailedRun]:
    """What failed in a run: each failed asset with its channels, or the run's first unfinished asset."""
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    ended = (record.end_time if record else None) or 0.0
    partition = run.tags.get("dagster/partition", "")
    specs = _specs_by_step(context)
    causes = _step_causes(context)
    if not causes:
        step = _unfinished_step(context, specs)
        causes = {step: ending_of(_run_words(context))}
    return [
        FailedRun(
            run.run_id,
            specs[step].key.to_user_string() if step in specs else step,
            partition,
            channels_of(graph, list(specs[step].owners) if step in specs else []),
            cause,
            ended,
            "" if step in specs else _job_name(run),
        )
        for step, cause in causes.items()
    ]


def channels_of(graph: Graph, owners: list[str]) -> list[str]:
    """The channels of these owners; the default channel for owners without one."""
    section = graph.settings.file.alerts
    found = [section.channels[owner] for owner in owners if owner in section.channels]
    return list(dict.fromkeys(found)) or [section.default_channel]


def _specs_by_step(context: dg.RunFailureSensorContext) -> dict[str, dg.AssetSpec]:
    """Step key -> spec of its asset, in the order of the graph."""
    repository = context.repository_def
    if repository is None:
        return {}
    found = {}
    for definition in repository.assets_defs_by_key.values():
        if definition.is_executable:
            for spec in definition.specs:
                found[definition.op.name] = spec
    return found


def _step_causes(context: dg.RunFailureSensorContext) -> dict[str, Cause]:
    """Step key -> why it failed."""
    return {
        event.step_key or "run": _cause(event.step_failure_data.error) for event in context.get_step_failure_events()
    }


def _cause(error: SerializableErrorInfo | None) -> Cause:
    """The first error with a chapter of its own: ours name the thing, what they were raised from is a library's word.

    Without one the innermost error, which is the one that was raised on purpose.
    """
    causes = []
    while error is not None:
        causes.append(cause_of(error.cls_name or "", error.message))
        error = error.cause
    known = (cause for cause in causes if cause.chapter != _UNKNOWN)
    return next(known, causes[-1] if causes else ending_of(""))


def _unfinished_step(context: dg.RunFailureSensorContext, specs: dict[str, dg.AssetSpec]) -> str:
    """The first asset of a run that did not get done: the one that was under way when the run was killed."""
    run = context.dagster_run
    stats = {one.step_key: one.status for one in context.instance.get_run_step_stats(run.run_id)}
    done = {step for step, status in stats.items() if status and status.value == "SUCCESS"}
    selected = [step for step, spec in specs.items() if not run.asset_selection or spec.key in run.asset_selection]
    under_way = [step for step in selected if step in stats and step not in done]
    left = under_way or [step for step in selected if step not in done]
    return left[0] if left else run.job_name


def _job_name(run: dg.DagsterRun) -> str:
    """The name of a job; the one that Dagster runs chosen assets in stands for nothing that could recover."""
    return "" if run.job_name.startswith(_ASSET_JOB) else run.job_name


def _run_words(context: dg.RunFailureSensorContext) -> str:
    event = context.failure_event
    # A run that its launcher or the monitoring gave up has a message and no data.
    failure = getattr(event.event_specific_data, "error", None)
    error = f" {failure.message}" if failure else ""
    return f"{event.message or ''}{error}"


def is_over(instance: dg.DagsterInstance, backfill: str) -> bool:
    """Whether a backfill asks for no further runs and none of its runs is unfinished."""
    known = instance.get_backfill(backfill)
    if known is not None and known.status.value not in {
        "COMPLETED", "FAILED", "CANCELED", "COMPLETED_SUCCESS", "COMPLETED_FAILED"
    }:  # fmt: skip
        return False
    unfinished = dg.RunsFilter(tags={"dagster/backfill": backfill}, statuses=list(UNFINISHED))
    return not instance.get_run_records(unfinished, limit=1)


def is_due(instance: dg.DagsterInstance, failed: FailedRun, threshold: int, now: float) -> bool:
    """Whether an asset has failed often enough in a row to be told of."""
    if threshold <= 1:
        return True
    outcomes = list(_outcomes(instance, failed))
    in_a_row: dict[str, bool] = {}
    for partition, succeeded, _ in outcomes:
        in_a_row.setdefault(partition, succeeded)
    days = next((place for place, good in enumerate(in_a_row.values()) if good), len(in_a_row))
    same = [(succeeded, ended) for partition, succeeded, ended in outcomes if partition == failed.partition]
    tries = next((place for place, (good, _) in enumerate(same) if good), len(same))
    for_long = tries >= threshold and now - same[tries - 1][1] >= _KEEPS_FAILING_SECONDS
    return days >= threshold or for_long


def _outcomes(instance: dg.DagsterInstance, failed: FailedRun) -> Iterator[tuple[str, bool, float]]:
    """(partition, succeeded, end) of the asset in finished runs, newest first; retries of a run are one outcome."""
    step = failed.asset.replace("/", "__")
    seen = set()
    for record in instance.get_run_records(dg.RunsFilter(statuses=_FINISHED), limit=_LAST_RUNS):
        run = record.dagster_run
        root = run.root_run_id or run.run_id
        statuses = {one.step_key: one.status for one in instance.get_run_step_stats(run.run_id)}
        selected = run.run_id == failed.run_id or step in statuses or (not statuses and _died_early(run, failed))
        if root in seen or not selected or run.tags.get("dagster/will_retry") == "true":
            continue
        seen.add(root)
        status = statuses.get(step)
        good = status is not None and status.value == "SUCCESS"
        yield run.tags.get("dagster/partition", run.run_id), good, record.end_time or 0.0


def _died_early(run: dg.DagsterRun, failed: FailedRun) -> bool:
    """Whether a run without steps was to make the asset: its image was not pulled, or it found no node."""
    if not run.asset_selection:
        # A job names no assets. Those without a partition do something else.
        return run.is_failure and ("dagster/partition" in run.tags) == bool(failed.partition)
    return run.is_failure and dg.AssetKey.from_user_string(failed.asset) in run.asset_selection
