"""`.env.example` names every environment variable that the project reads, each with a word about it."""

import re

import pytest

from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.settings import Environment, Settings, SettingsFile

# Read by boto3, not by us.
BOTO3 = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL_S3"}
VARIABLE = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]+)=")
SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "POSTHOG_PROJECT_API_KEY", "POSTHOG_PERSONAL_API_KEY",
           "SLACK_BOT_TOKEN", "SNOWPLOW_POSTHOG_PRIVACY_SECRET"}  # fmt: skip


@pytest.fixture(scope="module")
def lines(repository):
    return (repository / ".env.example").read_text().splitlines()


def variables(lines):
    return [match.group(1) for line in lines if (match := VARIABLE.match(line))]


def test_it_names_every_variable_and_no_other(lines):
    known = {name.upper() for name in Environment.model_fields}
    assert set(variables(lines)) == known | BOTO3


def test_no_variable_stands_there_twice(lines):
    assert len(variables(lines)) == len(set(variables(lines)))


def test_every_variable_has_a_comment_above_it_or_above_its_neighbours(lines):
    bare = []
    commented = False
    for line in lines:
        if VARIABLE.match(line):
            if not commented:
                bare.append(line)
        else:
            commented = line.startswith("# ") and not line.startswith("# ---")
    assert bare == []


def test_it_holds_no_secret(lines):
    filled = [line for line in lines if (match := VARIABLE.match(line)) and match.group(1) in SECRETS
              and line.partition("=")[2]]  # fmt: skip
    assert filled == []


def test_a_copy_with_the_blanks_filled_loads(lines, monkeypatch, tmp_path):
    from dotenv import dotenv_values

    copy = tmp_path / ".env"
    copy.write_text("\n".join(lines))
    for name, value in dotenv_values(copy).items():
        monkeypatch.setenv(name, value or "")
    environment = Environment()
    assert environment.posthog_target == "test"
    assert environment.posthog_backfill_end_date is None
    assert environment.posthog_project_api_key is None


def test_the_readme_names_things_as_they_are_called_under_its_target(repository):
    readme = (repository / "README.md").read_text()
    graph = build_definitions(Settings(Environment(posthog_target="test"), SettingsFile())).get_repository_def()
    events = next(found for key, found in graph.assets_defs_by_key.items() if key.path[-1] == "posthog_events")
    names = [events.key.to_user_string(), str(list(events.key.path)).replace("'", '"'), events.op.name]
    names += [sensor.name for sensor in graph.sensor_defs if sensor.name.endswith("new_snowplow_files")]
    assert [name for name in names if f"`{name}`" not in readme] == []
