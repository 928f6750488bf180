"""Two targets from one image, split by app_id: every record goes to one of them, and nothing of them meets."""

import uuid

import pytest
import yaml

from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.loading.setup import mapper_of
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.settings import Environment, Settings, load_file
from snowplow_posthog_dagster.snowplow.lines import records
from tests.deploy.chart import container_context, image_name, instance_config, values
from tests.deploy.run_pods import code_server, launcher
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


def test_nothing_in_dagster_has_one_name_for_both(settings):
    graphs = [build_definitions(settings[name]) for name in TARGETS]
    keys = [graph.resolve_asset_graph().get_all_asset_keys() for graph in graphs]
    assert keys[0].isdisjoint(keys[1])
    pools = [{found.op.pool for found in graph.assets if hasattr(found, "op") and found.op.pool} for graph in graphs]
    assert pools == [{"web_posthog_ingest"}, {"app_posthog_ingest"}]
    sensors = [{sensor.name for sensor in graph.sensors or []} for graph in graphs]
    assert sensors[0].isdisjoint(sensors[1])


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
