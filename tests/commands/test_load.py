"""`load` and `backfill` as they are typed: the days that exist, and a failure in its own words."""

import datetime as dt
from pathlib import Path

import pytest

from tests.commands.test_operate import Typed
from tests.ground import DAY, Ground

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
