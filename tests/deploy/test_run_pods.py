"""The pods of runs, whoever started them: sensor, UI backfill or command line."""

import kubernetes_validate
import pytest
import yaml

from snowplow_posthog_dagster.settings import Environment
from tests.deploy.chart import (
    NAMESPACES,
    container_context,
    image_name,
    instance_config,
    namespace_values,
)
from tests.deploy.run_pods import ASSET_JOB, code_server, launcher

pytestmark = pytest.mark.slow

ASSETS = ("snowplow_manifest", "posthog_batches", "posthog_events")
STARTED_BY = {
    "sensor": ("load_day", {"dagster/partition": "2022-06-06", "dagster/sensor_name": "new_snowplow_files"}, ()),
    "UI backfill": (ASSET_JOB, {"dagster/partition": "2022-06-06", "dagster/backfill": "abcdefgh"}, ASSETS),
    "command line": ("load_day", {"dagster/partition": "2022-06-06"}, ()),
}
ENVIRONMENT = {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module", params=NAMESPACES)
def namespace(request):
    return request.param


@pytest.fixture(scope="module")
def values(repository, namespace):
    return namespace_values(repository, namespace)


@pytest.fixture(scope="module")
def deployment(values):
    (found,) = values["dagster-user-deployments"]["deployments"]
    return found


@pytest.fixture(scope="module")
def launching(values, deployment, namespace, tmp_path_factory):
    context = container_context(values, deployment, namespace)
    folder = tmp_path_factory.mktemp("code-server")
    with (
        code_server(folder, context, image_name(deployment), ENVIRONMENT) as port,
        launcher(instance_config(values)["run_launcher"], port) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def launched(launching):
    return {who: launching.launch(*what) for who, what in STARTED_BY.items()}


@pytest.fixture(params=STARTED_BY)
def run(request, launched):
    return launched[request.param]


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_kubernetes_takes_it(run, version):
    kubernetes_validate.validate(run.job, version, strict=True)


def test_it_goes_to_the_nodes_for_data(run):
    spec = run.pod["spec"]
    assert spec["nodeSelector"] == {"workload": "data"}
    assert {"key": "data", "operator": "Equal", "value": "true", "effect": "NoSchedule"} in spec["tolerations"]
    assert "podAntiAffinity" in spec["affinity"]


def test_it_has_the_memory_and_cores_of_the_code_location(run, deployment):
    assert run.container["resources"] == deployment["resources"]


def test_it_runs_the_image_of_the_code_server(run, deployment):
    assert run.container["image"] == image_name(deployment)


def test_it_finds_settings_and_secrets(run):
    sources = run.container["envFrom"]
    assert {"configMapRef": {"name": "snowplow-posthog"}} in sources
    assert {"secretRef": {"name": "snowplow-posthog"}} in sources
    assert {"name": "settings", "configMap": {"name": "snowplow-posthog-settings"}} in run.pod["spec"]["volumes"]
    mounted = {mount["name"]: mount["mountPath"] for mount in run.container["volumeMounts"]}
    assert mounted == {"settings": "/etc/snowplow-posthog", "scratch": "/tmp"}


def test_it_reads_the_secrets_of_gitlabs_runbook_under_their_names(run, repository):
    template = yaml.safe_load((repository / "deploy/kubernetes/secret.gitlab.template.yaml").read_text())
    for key in template["stringData"]:
        source = run.environment(key.upper())["valueFrom"]["secretKeyRef"]
        assert source == {"name": template["metadata"]["name"], "key": key, "optional": True}


@pytest.mark.parametrize("spelled", [str.upper, str.lower], ids=["our names", "the runbook's names"])
def test_a_rotated_secret_reaches_the_next_pod_under_either_name(run, repository, namespace, spelled):
    """A pod reads its Secret when it starts; the project gets the same whichever way the keys are spelled."""
    manifests = list(yaml.safe_load_all((repository / f"deploy/kubernetes/config.{namespace}.yaml").read_text()))
    config_maps = {found["metadata"]["name"]: found["data"] for found in manifests}
    database = {"postgresql-password": "one"}

    def settings(generation):
        names = ("aws_access_key_id", "aws_secret_access_key", "posthog_project_api_key", "posthog_personal_api_key")
        secret = {spelled(name): f"{name}-{generation}" for name in names}
        variables = run.variables(config_maps, {"snowplow-posthog": secret, "dagster-postgresql-secret": database})
        return variables, Environment.model_validate({name.lower(): value for name, value in variables.items()})

    for generation in ("old", "rotated"):
        variables, environment = settings(generation)
        assert variables["AWS_ACCESS_KEY_ID"] == f"aws_access_key_id-{generation}"
        assert variables["AWS_SECRET_ACCESS_KEY"] == f"aws_secret_access_key-{generation}"
        assert environment.posthog_project_api_key.get_secret_value() == f"posthog_project_api_key-{generation}"
        assert environment.posthog_personal_api_key.get_secret_value() == f"posthog_personal_api_key-{generation}"
        assert environment.aws_s3_snowplow_bucket == "my-snowplow-archive"
        assert environment.posthog_target == namespace


def test_no_secret_stands_in_it(run):
    literal = {entry["name"] for entry in run.container["env"] if "value" in entry}
    assert literal <= {"DAGSTER_HOME", "DAGSTER_RUN_JOB_NAME", "DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT"}


def test_it_may_do_nothing_that_it_does_not_need(run):
    security = run.container["securityContext"]
    assert security["runAsNonRoot"] and security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert run.pod["spec"]["securityContext"]["runAsUser"] == 10001
    assert run.pod["spec"]["serviceAccountName"] == "snowplow-posthog"


def test_it_says_what_it_works_on(run, namespace):
    for labels in (run.pod["metadata"]["labels"], run.job["metadata"]["labels"]):
        assert labels["snowplow-posthog/partition"] == "2022-06-06"
        assert labels["snowplow-posthog/target"] == namespace
        assert labels["dagster/run-id"] == run.run_id


@pytest.mark.parametrize("who", ["UI backfill", "sensor"])
def test_it_names_its_assets(launched, who):
    label = launched[who].pod["metadata"]["labels"]["snowplow-posthog/asset"]
    assert label == "posthog_batches.posthog_events.snowplow_manifest"


def test_a_backfills_pods_are_found_by_the_backfill(launched):
    assert launched["UI backfill"].pod["metadata"]["labels"]["snowplow-posthog/backfill"] == "abcdefgh"
    assert "snowplow-posthog/backfill" not in launched["sensor"].pod["metadata"]["labels"]


def test_it_lives_in_its_own_namespace_and_cleans_up_after_a_day(run, namespace):
    assert run.namespace == namespace
    assert run.job["spec"]["ttlSecondsAfterFinished"] == 86400
    assert run.job["spec"]["backoffLimit"] == 0


def test_terminating_deletes_its_job_and_leaves_time_to_log(launching, launched, namespace):
    run = launched["command line"]
    delete = launching.terminate(run.run_id)
    assert delete.call_args.kwargs == {"job_name": f"dagster-run-{run.run_id}", "namespace": namespace}
    assert 5 <= run.pod["spec"]["terminationGracePeriodSeconds"] <= 60
