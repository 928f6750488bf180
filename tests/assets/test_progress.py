"""A step says how far it is: in the run's log every few seconds, and to the bar of a terminal at every look."""

import re
import time
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from snowplow_posthog_dagster.assets import run
from snowplow_posthog_dagster.commands import load as load_command
from snowplow_posthog_dagster.definitions import build_definitions
from tests.ground import DAY, Ground, lines_of

LINE = re.compile(r"([\d,]+) of ([\d,]+) (events|archive bytes), ([\d,]+)/s(?:, about ([\d,]+) s left)?")


@pytest.fixture
def site(ground: Ground, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ground:
    """Twelve objects that a cap of 400 events a second holds up for some seconds; AWS's variables as a run has them."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    ground.file = {"delivery": {"events_per_second": 400}}
    for number in range(12):
        ground.put(f"o-{number}", lines_of(200))
    return ground


def materialize(ground: Ground, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = build_definitions(ground.settings).resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey("posthog_batches"), dg.AssetKey("posthog_events")]
    return job.execute_in_process(partition_key=f"{DAY}", asset_selection=keys, instance=instance)


@pytest.mark.slow
def test_the_log_of_a_run_tells_rate_and_remaining_time_as_they_are(
    site: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_PROGRESS_SECONDS", 0.5)
    with dg.instance_for_test() as instance:
        began = time.monotonic()
        result = materialize(site, instance)
        seconds = time.monotonic() - began
        told = [LINE.search(entry.user_message) for entry in instance.all_logs(result.run_id)]
    lines = [found.groups() for found in told if found and found[3] == "events"]
    assert 2 <= len(lines) <= seconds / 0.5 + 1, "every few moments, not with every body"
    done = [int(one[0].replace(",", "")) for one in lines]
    assert done == sorted(done) and {one[1] for one in lines} == {"2,400"}
    assert all(left is not None for events, _, _, _, left in lines if events != "0")
    assert int(lines[-1][3].replace(",", "")) <= 1.2 * 400


@pytest.mark.slow
def test_a_terminal_shows_a_bar_for_each_step(site: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "screen").open("w+") as screen, dg.instance_for_test() as instance:
        console = Console(file=screen, force_terminal=True, width=100)
        monkeypatch.setattr(load_command, "err", console)
        with load_command.progress_bar():
            materialize(site, instance)
        screen.seek(0)
        shown = screen.read()
    assert "archive bytes" in shown
    assert "events" in shown and "2400/2400" in shown
    assert run._observers == []
