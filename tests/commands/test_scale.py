"""`snowplow-posthog scale`: generated events through Dagster, and PostHog asked for each."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from snowplow_posthog_dagster.cli import app
from snowplow_posthog_dagster.commands import scale
from snowplow_posthog_dagster.commands.scale import FIRST_DAY, Check
from snowplow_posthog_dagster.sandbox.servers import Sandbox


@pytest.fixture(autouse=True)
def environment_of_its_own():
    """The command takes over the sandbox's environment for its process; a test gives it back."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_a_check_holds_when_both_sides_say_the_same():
    assert Check("events", "1,000", "1,000").holds
    assert not Check("events", "1,000", "999").holds


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_generated_event_is_found_again_in_posthog(tmp_path):
    folder, report = tmp_path / "sandbox", tmp_path / "scale.json"
    try:
        done = CliRunner().invoke(
            app,
            [
                *("scale", "--events", "3000", "--per-object", "500", "--seed", "7"),
                *("--folder", str(folder), "--report", str(report)),
            ],
        )
    finally:
        left = [server.name for server in Sandbox(folder).status() if server.running]
        Sandbox(folder).down()
    assert done.exit_code == 0, done.output
    assert left == [], "its servers end with it"
    result = json.loads(report.read_text())
    assert all(check["holds"] for check in result["checks"])
    assert result["acknowledged"] == result["events"] > 2_950
    assert result["posts"] > 0 and result["cpu_seconds"] > 0 and result["peak_mb"] > 0
    assert 0 < result["post_seconds_p50"] <= result["post_seconds_p95"] <= result["post_seconds_p99"]


def test_a_project_of_ones_own_must_be_named_before_anything_is_sent(tmp_path, monkeypatch):
    for name in ("POSTHOG_HOST", "POSTHOG_PROJECT_API_KEY", "POSTHOG_PERSONAL_API_KEY", "POSTHOG_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "sandbox"
    try:
        done = CliRunner().invoke(app, ["scale", "--project", "--folder", str(folder)])
    finally:
        Sandbox(folder).down()
    assert done.exit_code != 0
    assert "POSTHOG_HOST is not set" in " ".join(done.output.split())
    assert not (folder / "truth").exists()


def test_a_report_that_cannot_be_written_is_told_before_anything_is_loaded(tmp_path):
    done = CliRunner().invoke(app, ["scale", "--folder", str(tmp_path / "s"), "--report", "/dev/null/r.json"])
    assert done.exit_code == 1
    assert "/dev/null" in done.output and "Traceback" not in done.output
    assert not (tmp_path / "s" / "s3").exists()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The environment of somebody's own project, which is marked production and loads days of 2024."""
    settings = tmp_path / "settings.yaml"
    settings.write_text("delivery: {production: true, events_per_second: 7}\n")
    given = {
        "POSTHOG_HOST": "http://127.0.0.1:9", "POSTHOG_PROJECT_API_KEY": "phc_theirs",
        "POSTHOG_PERSONAL_API_KEY": "phx_theirs", "POSTHOG_PROJECT_ID": "42",
        "POSTHOG_BACKFILL_START_DATE": "2024-01-01", "POSTHOG_BACKFILL_END_DATE": "2024-12-31",
        "SNOWPLOW_POSTHOG_SETTINGS": str(settings),
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    yield tmp_path / "sandbox"
    Sandbox(tmp_path / "sandbox").down()


def test_a_project_that_is_marked_production_gets_no_generated_event_without_yes(project):
    done = CliRunner().invoke(app, ["scale", "--project", "--folder", str(project)])
    assert done.exit_code == 2
    assert "42, target scale (production)" in done.output and "add --yes" in done.output
    assert not (project / "truth").exists()


def test_a_project_is_sent_to_at_its_pace_whatever_days_its_loads_are_bound_to(project):
    current = scale._settings(project, project=True)
    assert current.first_day <= FIRST_DAY and current.last_day > FIRST_DAY.replace(year=2025)
    assert current.events_per_second == 7
    assert current.target_identity.project_id == "42"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_test_that_is_terminated_leaves_no_server_behind(tmp_path):
    command = [sys.executable, "-m", "snowplow_posthog_dagster.cli", "scale", "--folder", str(tmp_path / "sandbox")]
    running = subprocess.Popen([*command, "--report", str(tmp_path / "r.json")], stderr=subprocess.DEVNULL)
    try:
        truth, until = tmp_path / "sandbox" / "truth", time.monotonic() + 60
        while not truth.exists() and time.monotonic() < until:
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 128 + signal.SIGTERM
        assert [server.name for server in Sandbox(tmp_path / "sandbox").status() if server.running] == []
    finally:
        running.kill()
        Sandbox(tmp_path / "sandbox").down()
