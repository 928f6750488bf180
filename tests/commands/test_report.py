"""`report` as it is typed: letters in the terminal, and a file by its ending."""

import datetime as dt
import os

import pytest
from PIL import Image
from typer.testing import CliRunner

from snowplow_posthog_dagster.cli import app
from tests.ground import DAY, Ground, lines_of


@pytest.fixture
def typed(ground: Ground, monkeypatch, s3_environment, tmp_path):
    """Type `report` for a ground with one loaded hour; with the working directory a fresh one."""
    ground.put("a", lines_of(3))
    ground.run()
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("POSTHOG_", "SNOWPLOW_POSTHOG_"))]:
        monkeypatch.delenv(name)
    for name, value in {**s3_environment, **ground.variables()}.items():
        monkeypatch.setenv(name, value)
    return lambda *words: CliRunner().invoke(app, ["report", *words], catch_exceptions=False)


def test_the_terminal_shows_the_hours(typed):
    shown = typed("--days", "3")
    assert shown.exit_code == 0, shown.output
    assert f"{DAY} ····█···················" in shown.output
    assert "3 records, 3 acknowledged; hours: 1 delivered, 23 missing" in shown.output


def test_every_form_is_written(typed, tmp_path):
    for ending in ("svg", "png", "html", "txt"):
        assert typed("--no-listing", "--to", f"{DAY}", "--out", f"month.{ending}").exit_code == 0
    assert (tmp_path / "month.svg").read_text().startswith("<svg")
    assert Image.open(tmp_path / "month.png").format == "PNG"
    assert "<table>" in (tmp_path / "month.html").read_text()
    assert "█" in (tmp_path / "month.txt").read_text()


def test_what_is_no_form_or_no_day_is_said(typed):
    assert "ends in none of .svg, .png, .html, .txt" in typed("--out", "month.pdf").output
    assert "YYYY-MM-DD" in typed("--to", "yesterday").output
    assert typed("--to", f"{DAY - dt.timedelta(days=9)}").exit_code == 0, "nothing was loaded by then"


def test_a_folder_that_is_not_there_is_named(typed):
    said = typed("--no-listing", "--to", f"{DAY}", "--out", "nowhere/month.txt")
    assert said.exit_code == 1
    assert said.output.strip() == "nowhere/month.txt: No such file or directory"
