"""`snowplow-posthog scale`: generated events through Dagster, and PostHog asked for each."""

import json
import os

import pytest
from typer.testing import CliRunner

from snowplow_posthog_dagster.cli import app
from snowplow_posthog_dagster.commands.scale import Check
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
