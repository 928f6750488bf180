"""Two targets from one image, split by app_id: every record goes to one of them, and nothing of them meets."""

import os
import uuid

import pytest
import yaml
from typer.testing import CliRunner

from snowplow_posthog_dagster.cli import app
from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.loading.setup import mapper_of
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.settings import Environment, Settings, load_file
from snowplow_posthog_dagster.snowplow.lines import records
from tests.deploy.chart import container_context, image_name, instance_config, values
from tests.deploy.run_pods import code_server, launcher
from tests.ground import lines_of
from tests.snowplow.samples import line

TARGETS = ("web", "app")


@pytest.fixture(scope="module")
def settings(repository):
    folder = repository / "examples" / "two-targets"
    return {name: Settings(Environment(posthog_target=name), load_file(folder / f"{name}.yaml")) for name in TARGETS}


@pytest.mark.parametrize(("app_id", "taker"), [("gitlab", "web"), ("about", "web"), ("mobile", "app"), ("other", None)])
def test_a_record_goes_to_one_target_at_most(settings, app_id, taker):
    (record,) = records([line(event_id=str(uuid.uuid4()), app_id=app_id) + b"\n"])
    outcomes = {
        name: mapper_of(settings[name]).for_object(object_id="one", archive_day="2022-06-06")(record)
        for name in TARGETS
    }
    assert [name for name, outcome in outcomes.items() if isinstance(outcome, Mapped)] == ([taker] if taker else [])
    left = {name: outcome.rule for name, outcome in outcomes.items() if isinstance(outcome, Filtered)}
    assert left == {name: f"not_the_{'website' if name == 'web' else name}" for name in TARGETS if name != taker}


@pytest.fixture
def status(ground, s3_environment, monkeypatch, tmp_path):
    """`snowplow-posthog status` on the ground's workspace."""
    monkeypatch.chdir(tmp_path)

    def shown(*words):
        for name in [name for name in os.environ if name.startswith(("POSTHOG_", "SNOWPLOW_POSTHOG_"))]:
            monkeypatch.delenv(name)
        for name, value in {**s3_environment, **ground.variables()}.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(app, ["status", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return shown


def load_for(target, repository, ground):
    """Load the day as a target of the example."""
    ground.environment = {"POSTHOG_TARGET": target}
    ground.file = yaml.safe_load((repository / "examples" / "two-targets" / f"{target}.yaml").read_text())
    ground.run()
    return ground.counts()


def test_status_of_all_targets_names_the_app_ids_that_nobody_takes(repository, ground, status):
    apps = {"gitlab": 3, "about": 2, "mobile": 4, "forgotten": 5, "": 1}
    ground.put("mixed", [line for app_id, count in apps.items() for line in lines_of(count, app_id=app_id)])
    ground.put("more", lines_of(2, app_id="forgotten"), hour=5)
    web = load_for("web", repository, ground)
    rows = left_over(status("--all-targets"))
    assert rows == {"forgotten": ["7", "web"], "mobile": ["4", "web"], "(none)": ["1", "web"]}, "app has read nothing"
    app_target = load_for("app", repository, ground)
    assert (web.mapped, app_target.mapped) == (5, 4)
    assert left_over(status("--all-targets")) == {"forgotten": ["7", "app, web"], "(none)": ["1", "app, web"]}
    assert "app_ids that no target takes" not in status(), "one target alone cannot say"


def test_nothing_is_named_when_every_app_id_has_a_taker(repository, ground, status):
    ground.put("mixed", [*lines_of(1, app_id="gitlab"), *lines_of(1, app_id="mobile")])
    for target in TARGETS:
        load_for(target, repository, ground)
    assert "Every app_id in these days is taken by a target." in status("--all-targets")


def left_over(shown):
    """The rows of the table of app_ids without a target."""
    _, _, table = shown.partition("app_ids that no target takes")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


def test_nothing_in_dagster_has_one_name_for_both(settings):
    graphs = [build_definitions(settings[name]) for name in TARGETS]
    keys = [graph.resolve_asset_graph().get_all_asset_keys() for graph in graphs]
    assert keys[0].isdisjoint(keys[1])
    pools = [{found.op.pool for found in graph.assets if hasattr(found, "op") and found.op.pool} for graph in graphs]
    assert pools == [{"web_posthog_ingest"}, {"app_posthog_ingest"}]
    sensors = [{sensor.name for sensor in graph.sensors or []} for graph in graphs]
    assert sensors[0].isdisjoint(sensors[1])


@pytest.mark.parametrize("target", TARGETS)
def test_its_deployment_is_the_one_of_the_common_values_but_for_its_names(repository, target):
    """Helm replaces lists whole: what the common values say of a code location must be said again."""
    (common,) = values(repository, "values.yaml")["dagster-user-deployments"]["deployments"]
    chart = values(repository, "values.yaml", "../../examples/two-targets/values.yaml")
    (own,) = [found for found in chart["dagster-user-deployments"]["deployments"] if found["name"] == target]
    assert own.pop("labels") == {"snowplow-posthog/target": target}
    renamed = yaml.safe_dump(own["env"]).replace(f"snowplow-posthog-{target}", "snowplow-posthog")
    assert sorted(yaml.safe_load(renamed), key=str) == sorted(common["env"], key=str)
    assert set(own) == set(common)
    named = {"name", "env", "envConfigMaps", "envSecrets", "volumes"}
    assert {name: own[name] for name in set(own) - named} == {name: common[name] for name in set(common) - named}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_its_pods_have_its_own_variables_and_label(repository, target, tmp_path):
    chart = values(repository, "values.yaml", "values.default.yaml", "../../examples/two-targets/values.yaml")
    deployments = {found["name"]: found for found in chart["dagster-user-deployments"]["deployments"]}
    assert set(deployments) == set(TARGETS)
    context = container_context(chart, deployments[target], "default")
    environment = {"POSTHOG_TARGET": target}
    with (
        code_server(tmp_path, context, image_name(deployments[target]), environment) as port,
        launcher(instance_config(chart)["run_launcher"], port) as launching,
    ):
        run = launching.launch(f"{target}_load_day", {"dagster/partition": "2022-06-06"})
    assert run.pod["metadata"]["labels"]["snowplow-posthog/target"] == target
    assert {"configMapRef": {"name": f"snowplow-posthog-{target}"}} in run.container["envFrom"]
    assert {"secretRef": {"name": f"snowplow-posthog-{target}"}} in run.container["envFrom"]
    other = next(name for name in TARGETS if name != target)
    assert f"snowplow-posthog-{other}" not in str(run.job)


def test_the_workspace_file_names_both(repository):
    locations = yaml.safe_load((repository / "examples" / "two-targets" / "workspace.yaml").read_text())["load_from"]
    assert [found["grpc_server"]["location_name"] for found in locations] == list(TARGETS)
