"""Which runs of the sensor Dagster may forget, on a real instance with real materializations."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from snowplow_posthog_dagster.automation.old_runs import delete_old_runs

DAY = "2022-06-06"
DAYS = dg.DailyPartitionsDefinition("2022-06-01", end_date="2022-07-01")
NAMES = ("posthog_batches", "posthog_events")


@pytest.fixture
def instance(instance_storage: Callable[[], dict[str, Any]]) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(overrides=instance_storage()) as found:
        yield found


def keys(target: str) -> list[dg.AssetKey]:
    return [dg.AssetKey([target, name]) for name in NAMES]


def run(instance: dg.DagsterInstance, target: str, *names: str, fails: bool = False) -> str:
    """A run of the sensor of a target, of all assets or of some."""

    def asset(name: str) -> dg.AssetsDefinition:
        @dg.asset(key=[target, name], partitions_def=DAYS)
        def made() -> None:
            if fails:
                raise ValueError(name)

        return made

    job = dg.Definitions(assets=[asset(name) for name in NAMES]).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        partition_key=DAY,
        instance=instance,
        raise_on_error=False,
        tags={"dagster/sensor_name": f"{target}_new_snowplow_files"},
        asset_selection=[dg.AssetKey([target, name]) for name in names or NAMES],
    )
    return str(result.run_id)


def deleted(instance: dg.DagsterInstance, target: str, *, days: int = 15, dry_run: bool = False) -> int:
    now = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    return delete_old_runs(instance, f"{target}_new_snowplow_files", keys(target), now, dry_run=dry_run)


def left(instance: dg.DagsterInstance) -> set[str]:
    return {record.dagster_run.run_id for record in instance.get_run_records()}


def test_old_runs_go_but_the_one_that_made_what_the_day_shows(instance: dg.DagsterInstance) -> None:
    old = [run(instance, "web"), run(instance, "web", fails=True), run(instance, "web")]
    failed = run(instance, "web", fails=True)
    assert deleted(instance, "web", days=13) == 0
    assert deleted(instance, "web", dry_run=True) == 3
    assert left(instance) == {*old, failed}
    assert deleted(instance, "web") == 3
    assert left(instance) == {old[-1]}


def test_a_later_run_of_another_target_for_the_same_day_is_no_reason_to_forget_ours(
    instance: dg.DagsterInstance,
) -> None:
    ours, theirs = run(instance, "web"), run(instance, "app")
    assert deleted(instance, "web") == 0
    assert left(instance) == {ours, theirs}


def test_a_later_run_of_some_of_the_assets_leaves_the_others_theirs(instance: dg.DagsterInstance) -> None:
    whole, first, second = run(instance, "web"), *(run(instance, "web", "posthog_batches") for _ in range(2))
    assert deleted(instance, "web") == 1
    assert left(instance) == {whole, second} and first != second
    assert all(instance.get_materialized_partitions(key) == {DAY} for key in keys("web"))
