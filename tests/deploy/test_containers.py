"""The image, built and run for real; a run's pod, as the launcher renders it, played by podman."""

import json
import subprocess
import time
from unittest import mock

import pytest
import yaml
from dagster import DagsterInstance

from tests.deploy.chart import container_context, image_name, instance_config, namespace_values
from tests.deploy.containers import IMAGE, LIMITS, READ_ONLY, Podman, build, make_base
from tests.deploy.run_pods import Launcher, code_server
from tests.ground import DAY, lines_of
from tests.integration.servers import ceph, postgres

pytestmark = [pytest.mark.slow, pytest.mark.containers, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def podman(repository):
    folder = repository / "build" / "containers"
    folder.mkdir(parents=True, exist_ok=True)
    found = Podman(folder)
    yield found
    found("pod", "rm", "--all", "--force", check=False)


@pytest.fixture(scope="module")
def version(repository):
    told = subprocess.run(
        ["git", "describe", "--tags", "--always"], cwd=repository, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


@pytest.fixture(scope="module")
def image(podman, repository, version):
    make_base(podman)
    build(podman, repository, version)
    return IMAGE


def test_the_image_says_what_it_is_made_of_and_runs_as_nobody_special(podman, image, version):
    (found,) = json.loads(podman("image", "inspect", image))
    assert found["Labels"]["org.opencontainers.image.version"] == version
    assert found["Config"]["User"] == "10001:10001"
    assert "grpc-health-check" in " ".join(found["Config"]["Healthcheck"]["Test"])
    assert found["Size"] < 800e6, "the image grew; its size is stated in docs/deploy.md"


def test_nothing_can_be_installed_into_it_later(podman, image):
    printed = podman.in_container("python", "-c", "import importlib.util as u; print(u.find_spec('pip'))")
    assert printed.strip().endswith("None")


def test_the_demos_main_job_runs_inside_it_and_a_second_time_finds_nothing_to_do(podman, image):
    demo = "snowplow-posthog demo --folder /tmp/sandbox"
    printed = podman.in_container("sh", "-c", f"{demo} && {demo}", timeout=300)
    assert "violations of its rules: 0" in printed
    assert "failed" not in printed
    assert "There was nothing new: 0 reads, 0 posts." in printed


def test_the_code_server_is_healthy_within_a_minute(podman, image):
    started = time.monotonic()
    options = ("--detach", "--rm", "--no-healthcheck", "--network", "host", *LIMITS, *READ_ONLY)
    command = ("dagster", "code-server", "start", "-h", "127.0.0.1", "-p", "3030")
    container = podman("run", *options, image, *command, "-m", "snowplow_posthog_dagster.definitions").split()[-1]
    try:
        while True:
            check = podman.command("exec", container, "dagster", "api", "grpc-health-check", "-p", "3030")
            if subprocess.run(check, capture_output=True, check=False, timeout=60).returncode == 0:
                break
            assert time.monotonic() - started < 60, podman("logs", container, check=False)
            time.sleep(1)
    finally:
        podman("kill", container, check=False)


@pytest.fixture
def pod_environment(ground):
    """Ceph for archive and workspace, PostgreSQL for Dagster, the stand-in as PostHog."""
    with ceph() as s3, postgres() as database:
        client = s3.client()
        for bucket in (*ground.buckets, "dagster-logs"):
            client.create_bucket(Bucket=bucket)
        ground.connection = type(ground.connection)(
            endpoint_url=s3.endpoint, region="us-east-1", access_key_id=s3.access_key, secret_access_key=s3.secret_key
        )
        del ground.s3
        yield {
            "environment": {**ground.variables(), "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": s3.endpoint},
            "secret": {
                "aws_access_key_id": s3.access_key,
                "aws_secret_access_key": s3.secret_key,
                "posthog_project_api_key": ground.posthog.project_api_key,
            },
            "database": database,
            "logs": s3,
        }


def test_podman_plays_a_runs_pod_and_it_loads_a_day_from_ceph(
    podman, image, repository, ground, pod_environment, tmp_path, monkeypatch
):
    ground.put("one", lines_of(50))
    ground.put("two", lines_of(50), hour=5)
    values = namespace_values(repository, "testing")
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    deployment["image"] = {**deployment["image"], "repository": IMAGE.rpartition(":")[0], "tag": "test"}
    config = instance_config(values)
    database = pod_environment["database"]
    for name in ("run_storage", "event_log_storage", "schedule_storage"):
        config[name]["config"]["postgres_db"] |= {
            "hostname": database.host,
            "port": database.port,
            "db_name": "dagster",
        }
    config["compute_logs"]["config"]["bucket"] = "dagster-logs"
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "not asked for")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = mock.Mock()
    with (
        mock.patch("kubernetes.config.load_incluster_config"),
        mock.patch("dagster_k8s.launcher.DagsterKubernetesClient.production_client", return_value=client),
        code_server(tmp_path, container_context(values, deployment, "testing"), image_name(deployment), {}) as port,
        DagsterInstance.from_config(str(tmp_path)) as instance,
    ):
        launcher = Launcher(instance, port, client)
        launched = launcher.launch("load_day", {"dagster/partition": f"{DAY}"})
        printed = play(podman, launched, pod_environment, tmp_path)
        run = instance.get_run_by_id(launched.run_id)
        launcher.close()
    assert run.status.value == "SUCCESS", printed[-4000:]
    counts = ground.counts()
    assert (counts.records, counts.acknowledged) == (100, 100)
    assert len(ground.events()) == 100
    logs = pod_environment["logs"].client().list_objects_v2(Bucket="dagster-logs")["Contents"]
    assert any(found["Key"].startswith("testing/") for found in logs)


def play(podman, launched, given, folder):
    """The run's pod on this machine's network, until it ends; returns its log."""
    pod = {"apiVersion": "v1", "kind": "Pod", **launched.pod}
    pod["metadata"]["name"] = "run"
    pod["spec"]["hostNetwork"] = True
    pod["spec"].pop("affinity")
    user_environment = [
        source["configMapRef"]["name"] for source in launched.container["envFrom"] if "configMapRef" in source
    ]
    maps = [config_map(name, {}) for name in user_environment if name != "snowplow-posthog"]
    maps += [
        config_map("snowplow-posthog", given["environment"]),
        config_map("snowplow-posthog-settings", {"settings.yaml": "archive: [{prefix: output/}]"}),
    ]
    secrets = [
        secret("snowplow-posthog", given["secret"]),
        secret("dagster-postgresql-secret", {"postgresql-password": "x"}),
    ]
    (folder / "secrets.yaml").write_text(yaml.safe_dump_all(secrets))
    (folder / "maps.yaml").write_text(yaml.safe_dump_all(maps))
    (folder / "pod.yaml").write_text(yaml.safe_dump(pod))
    podman("play", "kube", str(folder / "secrets.yaml"))
    try:
        podman("play", "kube", "--configmap", str(folder / "maps.yaml"), "--network", "host", str(folder / "pod.yaml"))
        podman("wait", "run-dagster", timeout=200)
        return podman("logs", "run-dagster")
    finally:
        podman("pod", "rm", "--force", "run", check=False)
        for name in ("snowplow-posthog", "dagster-postgresql-secret"):
            podman("secret", "rm", name, check=False)


def config_map(name, data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name, data):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
