"""The image, built and run for real; a run's pod, as the launcher renders it, played by podman."""

import base64
import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from dagster import DagsterInstance

from tests.deploy.chart import container_context, image_name, instance_config, namespace_values
from tests.deploy.containers import IMAGE, READ_ONLY, Podman, build, make_base, may_run_containers
from tests.deploy.run_pods import Launcher, code_server
from tests.ground import DAY, lines_of
from tests.integration.servers import ceph, postgres

pytestmark = [pytest.mark.slow, pytest.mark.containers, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def podman(repository):
    # No missing part but a missing right, which no package brings: skipped in CI too, with these words.
    if not may_run_containers():
        pytest.skip("this machine gives no right to make namespaces and mounts, so podman cannot run here")
    folder = Path(os.environ.get("CONTAINERS_FOLDER") or repository / "build" / "containers")
    folder.mkdir(parents=True, exist_ok=True)
    found = Podman.here(folder)
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
    assert "grpc-health-check" in found["Healthcheck"]["Test"]
    assert found["Size"] < 750e6, "the image grew; its size is stated in docs/deploy.md"


def test_nothing_can_be_installed_into_it_later(podman, image):
    printed = podman.in_container("python", "-c", "import importlib.util as u; print(u.find_spec('pip'))")
    assert printed.strip().endswith("None")


def test_the_demos_main_job_runs_inside_it_and_a_second_time_finds_nothing_to_do(podman, image):
    demo = "snowplow-posthog demo --folder /tmp/sandbox"
    printed = podman.in_container("sh", "-c", f"{demo} && {demo}", timeout=900)
    assert "violations of its rules: 0" in printed
    assert "failed" not in printed
    assert "There was nothing new: 0 reads, 0 posts." in printed


def test_the_code_server_answers_its_health_check(podman, image):
    started = time.monotonic()
    options = ("--detach", "--rm", "--no-healthcheck", "--network", "host", *READ_ONLY)
    command = ("dagster", "code-server", "start", "-h", "127.0.0.1", "-p", "3030")
    container = podman("run", *options, image, *command, "-m", "snowplow_posthog_dagster.definitions").split()[-1]
    try:
        while not podman.succeeds("exec", container, "dagster", "api", "grpc-health-check", "-p", "3030"):
            assert time.monotonic() - started < 240, podman("logs", container, check=False)
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
            "environment": {
                **ground.variables(),
                "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL_S3": s3.endpoint,
                "SNOWPLOW_POSTHOG_SETTINGS": "/etc/snowplow-posthog/settings.yaml",
            },
            "secret": {
                "aws_access_key_id": s3.access_key,
                "aws_secret_access_key": s3.secret_key,
                "posthog_project_api_key": ground.posthog.project_api_key,
            },
            "database": database,
            "logs": s3,
        }


@pytest.fixture
def cluster(podman, image, repository, ground, pod_environment, tmp_path, monkeypatch):
    """The namespace `testing` as far as runs see it: instance, code server, launcher, and podman as the kubelet."""
    values = namespace_values(repository, "testing")
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    deployment["image"] = {**deployment["image"], "repository": IMAGE.rpartition(":")[0], "tag": "test"}
    config = instance_config(values)
    database = pod_environment["database"]
    for name in ("run_storage", "event_log_storage", "schedule_storage"):
        place = {"hostname": database.host, "port": database.port, "db_name": database.database}
        config[name]["config"]["postgres_db"] |= place
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
        yield Cluster(podman, instance, launcher, pod_environment, tmp_path)
        launcher.close()


def test_podman_plays_a_runs_pod_and_it_loads_a_day_from_ceph(cluster, ground):
    ground.put("one", lines_of(50))
    ground.put("two", lines_of(50), hour=5)
    launched = cluster.launcher.launch("load_day", {"dagster/partition": f"{DAY}"})
    with cluster.playing(launched):
        cluster.podman("wait", "run-dagster", timeout=200)
        assert cluster.status(launched) == "SUCCESS", cluster.podman("logs", "run-dagster")[-4000:]
    counts = ground.counts()
    assert (counts.records, counts.acknowledged) == (100, 100)
    assert len(ground.events()) == 100
    logs = cluster.given["logs"].client().list_objects_v2(Bucket="dagster-logs")["Contents"]
    assert any(found["Key"].startswith("testing/") for found in logs)


def test_terminating_a_run_ends_its_pod_within_a_minute_and_the_next_run_sends_what_is_left(cluster, ground):
    for number in range(8):
        ground.put(f"object-{number}", lines_of(200))
    launched = cluster.launcher.launch("load_day", {"dagster/partition": f"{DAY}"})
    with cluster.playing(launched, delivery={"events_per_second": 50}):
        wait_until_some_arrived(cluster, ground)
        asked = time.monotonic()
        cluster.launcher.terminate(launched.run_id)
        # What the kubelet does when the Job is deleted: SIGTERM, and SIGKILL after the grace period.
        grace = launched.pod["spec"]["terminationGracePeriodSeconds"]
        cluster.podman("pod", "stop", "--time", str(grace), "run", timeout=90)
        assert time.monotonic() - asked < 60
        assert cluster.status(launched) == "CANCELED", cluster.podman("logs", "run-dagster")[-4000:]
    stopped = ground.counts()
    assert 0 < stopped.acknowledged < 1_600
    assert stopped.acknowledged + stopped.pending == 1_600
    assert stopped.acknowledged == ground.posthog.raw_rows(), "bodies in flight were answered and logged"
    launched = cluster.launcher.launch("load_day", {"dagster/partition": f"{DAY}"})
    with cluster.playing(launched):
        cluster.podman("wait", "run-dagster", timeout=200)
    assert ground.counts().acknowledged == 1_600
    assert len(ground.events()) == 1_600
    assert ground.posthog.raw_rows() == 1_600, "something was sent twice"


def wait_until_some_arrived(cluster, ground):
    deadline = time.monotonic() + 150
    while not ground.posthog.raw_rows():
        assert time.monotonic() < deadline, cluster.podman("logs", "run-dagster")[-4000:]
        time.sleep(0.5)


@dataclass
class Cluster:
    """What a test of run pods works with."""

    podman: Podman
    instance: DagsterInstance
    launcher: Launcher
    given: dict[str, Any]
    folder: Path

    def status(self, launched):
        """The run's status in Dagster's database."""
        return self.instance.get_run_by_id(launched.run_id).status.value

    @contextlib.contextmanager
    def playing(self, launched, **sections):
        """The run's pod on this machine's network, under a settings file with these sections."""
        pod = {"apiVersion": "v1", "kind": "Pod", **launched.pod}
        pod["metadata"]["name"] = "run"
        pod["spec"]["hostNetwork"] = True
        settings = yaml.safe_dump({"archive": [{"prefix": "output/"}], **sections})
        sources = launched.container["envFrom"]
        data = {source["configMapRef"]["name"]: {} for source in sources if "configMapRef" in source}
        data |= {
            "snowplow-posthog": self.given["environment"],
            "snowplow-posthog-settings": {"settings.yaml": settings},
        }
        files = [self.write(f"{name}.yaml", config_map(name, values)) for name, values in data.items()]
        maps = [option for file in files for option in ("--configmap", file)]
        secrets = {"snowplow-posthog": self.given["secret"], "dagster-postgresql-secret": {"postgresql-password": "x"}}
        self.clean(secrets)
        try:
            for name, values in secrets.items():
                self.create_secret(name, values)
            self.podman("play", "kube", *maps, "--network", "host", self.write("pod.yaml", pod))
            yield
        finally:
            self.clean(secrets)

    def clean(self, secrets):
        """Nothing of a pod before: the volume of the settings would keep its content."""
        self.podman("pod", "rm", "--force", "run", check=False)
        self.podman("volume", "rm", "--all", "--force", check=False)
        for name in secrets:
            self.podman("secret", "rm", name, check=False)

    def write(self, name, content):
        """A file of YAML; returns its path."""
        (self.folder / name).write_text(yaml.safe_dump(content))
        return str(self.folder / name)

    def create_secret(self, name, values):
        """A Secret in the form in which podman 4.3 looks its keys up (its `play kube` writes another)."""
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps({key: base64.b64encode(value.encode()).decode() for key, value in values.items()}))
        self.podman("secret", "create", name, str(file))


def config_map(name, data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
