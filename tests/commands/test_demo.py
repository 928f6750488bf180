"""The first minute of a new user: demo, demo again, doctor, preview, load, status; each in its own process."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from snowplow_posthog_dagster.sandbox.servers import Sandbox

REPOSITORY = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def run(*arguments: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "snowplow_posthog_dagster.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("sandbox")
    yield path
    Sandbox(path).down()


@pytest.fixture(scope="module")
def first(folder: Path) -> "subprocess.CompletedProcess[str]":
    return run("demo", "--folder", str(folder))


@pytest.fixture(scope="module")
def environment(folder: Path, first: object) -> dict[str, str]:
    return Sandbox(folder).environment()


def test_the_demo_accounts_for_every_record(first: "subprocess.CompletedProcess[str]") -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    assert "The counting equation" in first.stdout
    assert re.search(r"2021-02-26 │ +63 │ +63 │ +0 │ +0 │ +0 │ +63 │ +63 │ +0 │ +0 │ +0", first.stdout)
    assert "expected 131 columns, found 108" in first.stdout
    assert "violations of its rules: 0" in first.stdout
    assert "http://127.0.0.1:" in first.stdout
    assert "--max-events" in first.stdout


def test_a_second_demo_after_everything_was_stopped_finds_nothing_new(folder: Path, first: object) -> None:
    Sandbox(folder).down()
    again = run("demo", "--folder", str(folder))
    assert "There was nothing new: 0 reads, 0 posts." in again.stdout


def test_the_doctor_passes_on_the_sandbox_and_finds_its_test_event(environment: dict[str, str]) -> None:
    result = run("doctor", environment=environment)
    assert result.returncode == 0, result.stdout
    assert "AWS credentials: from env" in result.stdout
    assert "sent and found again" in result.stdout


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID"),
        ({"AWS_S3_SNOWPLOW_BUCKET": "nowhere"}, "s3://nowhere/"),
        ({"POSTHOG_PROJECT_API_KEY": "phx_mine"}, "holds a personal key"),
        ({"POSTHOG_PROJECT_API_KEY": "phc_other"}, "does not belong to project"),
        ({"POSTHOG_PERSONAL_API_KEY": "phx_wrong"}, "POSTHOG_PERSONAL_API_KEY"),
        ({"POSTHOG_HOST": "http://127.0.0.1:1"}, "check POSTHOG_HOST"),
        ({"SNOWPLOW_POSTHOG_WORKSPACE": ""}, "SNOWPLOW_POSTHOG_WORKSPACE is not set"),
    ],
)
def test_the_doctor_says_what_to_fix_and_sends_nothing(
    environment: dict[str, str], changed: dict[str, str], words: str
) -> None:
    result = run("doctor", environment={**environment, **changed})
    assert result.returncode == 1
    assert words in result.stdout
    assert "Sending" not in result.stdout


def test_preview_shows_records_beside_events_and_sends_nothing(environment: dict[str, str]) -> None:
    result = run("preview", "s3://snowplow-archive/output/2021/03/02/", "--limit", "1", environment=environment)
    assert "Snowplow record" in result.stdout
    assert "PostHog event" in result.stdout
    assert "nothing was sent" in result.stderr


def test_load_says_where_it_sends_and_does_only_what_is_new(environment: dict[str, str]) -> None:
    result = run("load", "2021-03-02", environment=environment)
    assert result.returncode == 0, result.stderr
    assert "Sending 2021-03-02 to http://127.0.0.1:" in result.stdout
    assert "The counting equation" in result.stdout


def test_a_production_target_needs_a_yes(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("delivery: {production: true}")
    result = run("load", "2021-03-02", environment={**environment, "SNOWPLOW_POSTHOG_SETTINGS": str(file)})
    assert result.returncode == 2
    assert "--yes" in result.stderr


def test_status_comes_from_the_logs_alone(environment: dict[str, str]) -> None:
    without_dagster = {name: value for name, value in environment.items() if name != "DAGSTER_HOME"}
    result = run("status", "--from", "2021-03-01", "--to", "2021-03-02", environment=without_dagster)
    assert result.returncode == 0, result.stderr
    assert "2021-03-01" in result.stdout
    assert "2021-02-26" not in result.stdout
