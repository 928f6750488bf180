"""docs/deploy.md: the names that it has its readers type are those of the namespace that it speaks of."""

import re
from pathlib import Path

import dagster as dg
import pytest
import yaml

from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.settings import Environment, Settings, SettingsFile, load_file


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "deploy.md").read_text()


@pytest.fixture(scope="module")
def testing(repository: Path) -> dg.Definitions:
    """The definitions of the namespace that the page begins with."""
    config = next(yaml.safe_load_all((repository / "deploy/kubernetes/config.testing.yaml").read_text()))
    target = config["data"]["POSTHOG_TARGET"]
    return build_definitions(Settings(Environment(posthog_target=target), SettingsFile()))


def test_its_run_config_is_one_of_that_target(page: str, testing: dg.Definitions) -> None:
    (config,) = re.findall(r"`(ops: .*?)`", page)
    assert dg.validate_run_config(testing.resolve_implicit_global_asset_job_def(), yaml.safe_load(config))


def test_everything_that_ships_stopped_is_started(page: str, testing: dg.Definitions) -> None:
    repository = testing.get_repository_def()
    stopped = [one.name for one in repository.sensor_defs if one.default_status == dg.DefaultSensorStatus.STOPPED]
    stopped += [one.name for one in repository.schedule_defs if one.default_status == dg.DefaultScheduleStatus.STOPPED]
    (step,) = re.findall(r"^\*\*9\..*?(?=^\*\*10\.)", page, re.DOTALL | re.MULTILINE)
    assert len(stopped) == 3
    assert [name for name in stopped if f"`{name}`" not in step] == []


def test_it_says_how_alerts_are_switched_on_and_where(page: str, repository: Path) -> None:
    (step,) = re.findall(r"^\*\*10\..*?(?=^\*\*11\.)", page, re.DOTALL | re.MULTILINE)
    assert all(f"`{name}`" in step for name in ("SLACK_BOT_TOKEN", "alerts", "alerts.outside_production: true"))
    assert load_file(repository / "examples" / "gitlab.yaml").alerts.webserver_url
