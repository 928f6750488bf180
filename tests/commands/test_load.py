"""`load` and `backfill` as they are typed: the days that exist, and a failure in its own words."""

import datetime as dt
import socket
from pathlib import Path

import pytest

from tests.commands.test_operate import Typed
from tests.ground import DAY, Ground, lines_of

TODAY = dt.datetime.now(dt.UTC).date()
TOMORROW = TODAY + dt.timedelta(days=1)


@pytest.fixture
def typed(ground: Ground, monkeypatch: pytest.MonkeyPatch, s3_environment: dict[str, str], tmp_path: Path) -> Typed:
    monkeypatch.chdir(tmp_path)
    return Typed(ground, monkeypatch, s3_environment)


@pytest.mark.parametrize("command", [("load", "{}"), ("backfill", "--from", "{}", "--to", "{}", "--keep-going")])
@pytest.mark.parametrize(
    ("day", "words"),
    [
        ("2022-06-04", "2022-06-04 lies before 2022-06-05, the first day; POSTHOG_BACKFILL_START_DATE sets it"),
        ("2022-06-08", "2022-06-08 lies after 2022-06-07, the last day; POSTHOG_BACKFILL_END_DATE sets it"),
    ],
)
def test_a_day_outside_the_bounds_is_refused_by_the_variable(
    typed: Typed, command: tuple[str, ...], day: str, words: str
) -> None:
    typed.ground.environment = {
        "POSTHOG_BACKFILL_START_DATE": "2022-06-05",
        "POSTHOG_BACKFILL_END_DATE": "2022-06-07",
    }
    said = typed(*(word.format(day) for word in command))
    assert said.exit_code == 1
    assert words in said.output and "Sending" not in said.output


def test_a_range_that_reaches_past_today_is_refused_before_anything_is_sent(typed: Typed) -> None:
    said = typed("backfill", "--from", f"{TODAY}", "--to", f"{TOMORROW}", "--keep-going")
    assert said.exit_code == 1
    assert f"{TOMORROW} lies after {TODAY}, the last day; that is today in UTC" in said.output
    assert "Sending" not in said.output


def test_a_load_while_s3_is_away_says_what_it_could_not_read(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("s3: {max_attempts: 1, connect_timeout_seconds: 2}")
    typed.ground.environment = {
        "SNOWPLOW_POSTHOG_SETTINGS": "settings.yaml",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    }
    said = typed("load", f"{DAY}")
    assert said.exit_code == 1
    (failed,) = [line for line in said.output.splitlines() if line.startswith("failed: ")]
    assert "StorageUnavailableError: cannot read s3://" in failed


def test_a_load_says_what_came_of_the_day_and_what_is_left(typed: Typed) -> None:
    typed.ground.put("a", lines_of(3))
    assert f"{DAY}: 3 records = 3 mapped" in typed("load", f"{DAY}").output
    assert f"{DAY}: nothing new: 0 reads, 0 posts" in typed("load", f"{DAY}").output
    key = typed.ground.put("broken", lines_of(2))
    typed.ground.s3.put_object(Bucket=typed.ground.buckets[0], Key=key, Body=b"\x1f\x8b\x08 cut")
    assert "left: 1 broken objects" in typed("load", f"{DAY}").output


@pytest.mark.parametrize("command", [("load", f"{DAY}"), ("backfill", "--from", f"{DAY}", "--to", f"{DAY}")])
def test_a_day_without_a_file_is_not_taken_for_a_day_without_news(typed: Typed, command: tuple[str, ...]) -> None:
    said = typed(*command)
    assert said.exit_code == 0, said.output
    assert "no file in the archive there; `archive` in the settings file says where" in said.output
    assert "nothing new" not in said.output


@pytest.mark.parametrize("place", ["home", "/nowhere/home"])
@pytest.mark.parametrize("command", [("load", f"{DAY}"), ("housekeeping",)])
def test_a_home_that_dagster_does_not_take_is_said_in_one_line(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], place: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", place)
    said = typed(*command)
    assert said.exit_code == 1
    assert "SettingsError: DAGSTER_HOME: " in said.output and "Traceback" not in said.output


def test_a_file_of_metrics_that_cannot_be_written_holds_no_load_up(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("metrics: {log: /nowhere/metrics.jsonl}")
    typed.ground.environment = {"SNOWPLOW_POSTHOG_SETTINGS": "settings.yaml"}
    typed.ground.put("a", lines_of(3))
    said = typed("load", f"{DAY}")
    assert said.exit_code == 0, said.output
    assert "mapped = 3 acknowledged" in said.output


def test_the_sandboxs_ui_says_that_its_port_is_taken_and_starts_nothing(typed: Typed, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = typed("dev", "--port", str(port), "--folder", str(tmp_path / "sandbox"))
    assert said.exit_code == 1
    assert f"port {port} is taken" in said.output and f"--port {port + 1}" in said.output
    assert not (tmp_path / "sandbox").exists()
