"""`preview` and `fields --diff` show what trackers sent, whatever that is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.snowplow.samples import contexts, line

PROGRAM = [sys.executable, "-m", "snowplow_posthog_dagster.cli"]
EXPERIMENT = "iglu:com.acme/experiment/jsonschema/1-0-0"
HOSTILE = "[/red]\x9b31m\u202e"
SPELLED = "[/red]\\x9b31m\\u202e"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, check=False, timeout=60, text=True)


@pytest.fixture
def records(tmp_path: Path) -> str:
    """A file with one record, whose title and entity hold markup and characters that steer a terminal."""
    path = tmp_path / "records.tsv"
    entity = contexts((EXPERIMENT, {"name": HOSTILE, "variant": "a"}))
    path.write_bytes(line(page_title=HOSTILE, contexts=entity, se_label="é" * 100) + b"\n")
    return str(path)


def test_preview_shows_a_record_and_its_event_and_steers_no_terminal(records: str) -> None:
    result = run("preview", records)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(SPELLED) == 3, "title of the record, title and entity of the event"
    assert "\x9b" not in result.stdout and "\u202e" not in result.stdout
    assert result.stdout.count("é") == 200, "a value that is wider than its half of the terminal is shown whole"


def test_the_difference_of_settings_shows_a_property_whose_name_looks_like_markup(records: str, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("mapping: {entities: {rules: {experiment: {features: {name: variant}}}}}\n")
    result = run("fields", records, "--diff", str(other))
    assert result.returncode == 0, result.stderr
    assert f"$feature/{SPELLED}" in result.stdout


def test_other_settings_that_are_not_there_are_not_taken_for_those_of_the_environment(records: str) -> None:
    result = run("fields", records, "--diff", "/nowhere/other.yaml")
    assert (result.returncode, "'--diff'" in result.stderr) == (2, True)
    assert "SNOWPLOW_POSTHOG_SETTINGS" not in result.stderr
