"""`doctor` as it is typed: every check runs, whatever the one before it met, and nothing is well while runs fail."""

from pathlib import Path

import pytest

from snowplow_posthog_dagster.commands import doctor
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.storage import target
from snowplow_posthog_dagster.storage.suppressed import suppress
from tests.commands.test_operate import Typed
from tests.ground import Ground, lines_of

NO_EVENT = ("doctor", "--no-test-event")


@pytest.fixture
def typed(ground: Ground, monkeypatch: pytest.MonkeyPatch, s3_environment: dict[str, str], tmp_path: Path) -> Typed:
    """Commands on a target that has all that a load needs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text("s3: {max_attempts: 1, connect_timeout_seconds: 2}")
    ground.environment = {"SNOWPLOW_POSTHOG_SETTINGS": "settings.yaml"}
    ground.put("a", lines_of(1))
    return Typed(ground, monkeypatch, s3_environment)


def test_a_target_that_has_all_that_a_load_needs_is_well(typed: Typed) -> None:
    said = typed(*NO_EVENT)
    assert (said.exit_code, said.output.splitlines()[-1]) == (0, "All is well."), said.output


@pytest.mark.parametrize("entry", ["{prefix: output}", "{prefix: output/, layout: '{yyyy}-{MM}-{dd}/'}"])
def test_an_archive_whose_files_lie_elsewhere_than_days_are_looked_for_is_told_of(
    typed: Typed, tmp_path: Path, entry: str
) -> None:
    (tmp_path / "settings.yaml").write_text(f"archive: [{entry}]")
    said = typed(*NO_EVENT)
    assert said.exit_code == 0, said.output
    (line,) = [line for line in said.output.splitlines() if line.startswith("warns archive: ")]
    assert "where days are looked for; check `prefix` and `layout`" in line


def test_an_entry_of_other_days_is_held_against_the_layout_alone(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("archive: [{prefix: output/, from: 2024-01-01}]")
    assert "ok    archive: listed and read" in typed(*NO_EVENT).output


def test_every_check_runs_while_s3_is_away(typed: Typed) -> None:
    typed.ground.environment["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:9"
    said = typed(*NO_EVENT)
    assert said.exit_code == 1
    lines = [line.split(":")[0].split(maxsplit=1) for line in said.output.splitlines()]
    results = {name: mark for mark, name in lines[: len(doctor.CHECKS)]}
    assert list(results) == [name for name, _ in doctor.CHECKS]
    assert {results[name] for name in ("archive", "region", "workspace", "target")} == {"fails"}
    assert results["PostHog host"] == results["project"] == "ok"


def test_a_profile_that_does_not_exist_fails_its_checks_and_no_other(typed: Typed) -> None:
    typed.ground.environment["AWS_PROFILE"] = "nobody"
    said = typed(*NO_EVENT)
    assert said.exit_code == 1
    assert "fails AWS credentials: " in said.output and "ok    PostHog host" in said.output


def test_people_who_were_forgotten_under_another_secret_are_told_of(typed: Typed) -> None:
    suppress(typed.ground.workspace, ["ann"], secret=b"the old one", by="test")
    typed.ground.environment["SNOWPLOW_POSTHOG_PRIVACY_SECRET"] = "the new one"
    said = typed(*NO_EVENT)
    assert said.exit_code == 1
    assert "fails forgotten people: people were forgotten under another SNOWPLOW_POSTHOG_PRIVACY_SECRET" in said.output


def test_a_pause_is_shown_with_who_and_why(typed: Typed) -> None:
    target.pause(typed.ground.workspace, reason="[maintenance]", until="", by="ann")
    said = typed(*NO_EVENT)
    assert said.exit_code == 0
    assert "warns pause: default is paused by ann: [maintenance]" in said.output
    assert "All is well" not in said.output


def test_a_warning_stands_there_without_markup(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (("region", lambda current: doctor.Warned("events leave the EU")),))
    assert typed(*NO_EVENT).output.splitlines() == ["warns region: events leave the EU", "Nothing fails; 1 warned."]


def test_what_dagster_refuses_is_told_before_the_location_fails_to_load(typed: Typed) -> None:
    typed.ground.file = {"automation": {"nightly_cron": "0 0 31 feb *"}}
    with pytest.raises(SettingsError, match=r"0 0 31 feb .* for schedule .nightly"):
        doctor._location(typed.ground.settings)
