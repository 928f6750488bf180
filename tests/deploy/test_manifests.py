"""Everything under deploy/ that Kubernetes, the chart or compose reads, checked strictly; nothing secret in it."""

import json
import re

import kubernetes_validate
import pytest
import yaml
from dagster import DagsterInvalidConfigError
from dagster._core.instance.config import dagster_instance_config
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._serdes import ConfigurableClassData

from snowplow_posthog_dagster.settings import Environment, Settings, SettingsFile
from tests.deploy.chart import (
    NAMESPACES,
    WEBSERVER_PROBE,
    instance_config,
    namespace_values,
    values,
    webserver_container,
)

KUBERNETES = ("1.29", "1.33", "1.37")


@pytest.fixture(scope="module")
def manifests(repository):
    files = sorted((repository / "deploy" / "kubernetes").glob("*.yaml"))
    return [(file.name, found) for file in files for found in yaml.safe_load_all(file.read_text())]


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_every_manifest(manifests, version):
    assert len(manifests) >= 10
    for _, manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_no_secret_holds_a_value(manifests):
    secrets = [manifest for _, manifest in manifests if manifest["kind"] == "Secret"]
    assert len(secrets) == 3
    assert all(value == "" for secret in secrets for value in secret["stringData"].values())


def test_what_the_manifests_set_is_what_the_project_reads(manifests):
    known = {name.upper() for name in Environment.model_fields} | {
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    named = {
        name.upper()
        for _, manifest in manifests
        if manifest["metadata"]["name"] == "snowplow-posthog"
        for name in {**manifest.get("data", {}), **manifest.get("stringData", {})}
    }
    assert named <= known


def pod_of(deployment):
    """The parts of a chart's deployment that go into its pod as they are."""
    container = {
        "name": deployment.get("name", "dagster"),
        "image": deployment["image"]["repository"],
        "resources": deployment["resources"],
        "securityContext": deployment["securityContext"],
        "env": deployment.get("env", []) if isinstance(deployment.get("env", []), list) else [],
        "envFrom": [
            *({"configMapRef": found} for found in deployment.get("envConfigMaps", [])),
            *({"secretRef": found} for found in deployment.get("envSecrets", [])),
        ],
        "volumeMounts": deployment.get("volumeMounts", []),
    }
    spec = {
        "containers": [container],
        "volumes": deployment.get("volumes", []),
        "securityContext": deployment["podSecurityContext"],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checked"}, "spec": spec}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_kubernetes_takes_what_the_values_hand_to_pods(repository, namespace, version):
    chart = namespace_values(repository, namespace)
    for deployment in [
        chart["dagsterWebserver"],
        chart["dagsterDaemon"],
        *chart["dagster-user-deployments"]["deployments"],
    ]:
        kubernetes_validate.validate(pod_of(deployment), version, strict=True)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_code_location_has_what_the_chart_requires(repository, namespace):
    chart = namespace_values(repository, namespace)
    for deployment in chart["dagster-user-deployments"]["deployments"]:
        assert {"name", "image", "port"} <= set(deployment)
        assert set(deployment["image"]) == {"repository", "tag", "pullPolicy"}
        assert ("codeServerArgs" in deployment) != ("dagsterApiGrpcArgs" in deployment)
        assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}


def test_one_image_runs_everything(repository):
    chart = namespace_values(repository, "default")
    images = [chart["dagsterWebserver"]["image"], chart["dagsterDaemon"]["image"]]
    images += [deployment["image"] for deployment in chart["dagster-user-deployments"]["deployments"]]
    assert all(image == images[0] for image in images)
    assert images[0]["tag"] != "latest"


def test_the_webservers_are_asked_where_they_answer(repository):
    container = webserver_container(namespace_values(repository, "default"))
    asked = container["readinessProbe"]
    assert asked["httpGet"] == {"path": "/server_info", "port": container["ports"][0]["containerPort"]}
    assert asked == {**WEBSERVER_PROBE, "httpGet": asked["httpGet"]}


def roles_of(chart):
    """The IAM roles of the code location's account and of Dagster's own."""
    accounts = [chart["serviceAccount"], chart["dagster-user-deployments"]["serviceAccount"]]
    return [account["annotations"]["eks.amazonaws.com/role-arn"] for account in accounts]


def test_two_namespaces_share_nothing_that_is_written(repository, manifests):
    instances = [instance_config(namespace_values(repository, namespace)) for namespace in NAMESPACES]
    places = [
        lambda config: config["run_storage"]["config"]["postgres_db"]["db_name"],
        lambda config: config["compute_logs"]["config"]["prefix"],
        lambda config: config["run_launcher"]["config"]["job_namespace"],
        lambda config: config["run_launcher"]["config"]["labels"]["snowplow-posthog/target"],
    ]
    for place in places:
        assert place(instances[0]) != place(instances[1])
    roles = [role for namespace in NAMESPACES for role in roles_of(namespace_values(repository, namespace))]
    assert len(set(roles)) == 2 * len(NAMESPACES), "a role that two share reaches what both have written"
    environments = [
        manifest["data"]
        for _, manifest in manifests
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"] == "snowplow-posthog"
    ]
    assert len(environments) == len(NAMESPACES)
    for name in ("SNOWPLOW_POSTHOG_WORKSPACE", "POSTHOG_TARGET", "POSTHOG_PROJECT_ID"):
        assert len({environment[name] for environment in environments}) == len(NAMESPACES)


def test_the_configured_settings_and_variables_load(manifests):
    found = {manifest["metadata"]["namespace"]: {} for _, manifest in manifests if "namespace" in manifest["metadata"]}
    for _, manifest in manifests:
        if manifest["kind"] == "ConfigMap" and "namespace" in manifest["metadata"]:
            found[manifest["metadata"]["namespace"]].update(manifest["data"])
    assert set(found) == set(NAMESPACES)
    for data in found.values():
        variables = {name.lower(): value for name, value in data.items() if name.isupper()}
        file = SettingsFile.model_validate(yaml.safe_load(data["settings.yaml"]))
        settings = Settings(Environment(**variables, posthog_project_api_key="phc_key"), file)
        assert settings.workspace_place[1].startswith(settings.environment.posthog_target)
        assert settings.target_identity.host == "https://us.i.posthog.com"


def test_the_ui_is_behind_a_login_and_tls(repository, manifests):
    chart = values(repository, "values.yaml", "values.ingress.yaml")
    ingress = chart["ingress"]
    assert "oauth2" in ingress["annotations"]["nginx.ingress.kubernetes.io/auth-url"]
    hosts = [ingress[name]["host"] for name in ("dagsterWebserver", "readOnlyDagsterWebserver")]
    assert len(set(hosts)) == 2
    assert all(ingress[name]["tls"]["enabled"] for name in ("dagsterWebserver", "readOnlyDagsterWebserver"))
    assert chart["dagsterWebserver"]["enableReadOnly"] is True
    signs_in = {
        manifest["spec"]["rules"][0]["host"]: manifest["spec"]
        for _, manifest in manifests
        if manifest["kind"] == "Ingress"
    }
    assert set(signs_in) == set(hosts), "without its own /oauth2 a host cannot sign anybody in"
    secrets = {name: ingress[name]["tls"]["secretName"] for name in ("dagsterWebserver", "readOnlyDagsterWebserver")}
    for name, host in zip(secrets, hosts, strict=True):
        assert signs_in[host]["tls"] == [{"hosts": [host], "secretName": secrets[name]}]
    (policy,) = [manifest for _, manifest in manifests if manifest["kind"] == "NetworkPolicy"]
    (match,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert match == {
        "key": "component",
        "operator": "In",
        "values": ["dagster-webserver", "dagster-webserver-read-only"],
    }
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": chart["dagsterWebserver"]["service"]["port"]}]


def test_each_sign_in_page_leads_to_a_proxy_of_its_own(manifests):
    proxies = {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for _, manifest in manifests
        if manifest["kind"] == "Deployment"
    }
    services = {
        manifest["metadata"]["name"]: manifest["spec"]["selector"]
        for _, manifest in manifests
        if manifest["kind"] == "Service"
    }
    paths = [
        manifest["spec"]["rules"][0]["http"]["paths"][0] for _, manifest in manifests if manifest["kind"] == "Ingress"
    ]
    assert [path["path"] for path in paths] == ["/oauth2", "/oauth2"]
    behind = [services[path["backend"]["service"]["name"]] for path in paths]
    reached = [name for labels in behind for name, pod in proxies.items() if pod["metadata"]["labels"] == labels]
    assert sorted(reached) == sorted(proxies) == ["oauth2-proxy", "oauth2-proxy-view"]
    cookies = [
        variable["valueFrom"]["secretKeyRef"]["key"]
        for pod in proxies.values()
        for variable in pod["spec"]["containers"][0]["env"]
        if variable["name"] == "OAUTH2_PROXY_COOKIE_SECRET"
    ]
    assert sorted(cookies) == ["cookie-secret", "view-cookie-secret"]


def test_the_chart_and_the_plain_file_say_the_same(repository):
    plain = yaml.safe_load((repository / "deploy" / "dagster.yaml").read_text())
    chart = instance_config(namespace_values(repository, "default"))
    for section in ("concurrency", "run_monitoring", "run_retries", "retention", "sensors", "telemetry"):
        assert chart[section] == plain[section], section
    assert chart["run_coordinator"] == {**plain["run_coordinator"], "config": {}}
    differs = {"job_namespace", "labels", "env_config_maps"}
    launchers = [
        {name: value for name, value in config["run_launcher"]["config"].items() if name not in differs}
        for config in (chart, plain)
    ]
    assert launchers[0] == launchers[1]
    schemes = {
        chart["run_storage"]["config"]["postgres_db"]["scheme"],
        plain["storage"]["postgres"]["postgres_db"]["scheme"],
    }
    assert schemes == {"postgresql+psycopg2"}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_dagster_takes_the_instance_that_the_chart_writes(repository, namespace, tmp_path):
    config = instance_config(namespace_values(repository, namespace))
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    loaded, _ = dagster_instance_config(str(tmp_path))
    found = loaded["run_coordinator"]
    data = ConfigurableClassData(found["module"], found["class"], yaml.safe_dump(found["config"]))
    assert isinstance(data.rehydrate(as_type=QueuedRunCoordinator), QueuedRunCoordinator)


def test_dagster_refuses_the_limit_that_the_chart_adds_to_the_queued_type(repository, tmp_path):
    """The reason for the custom type in values.yaml."""
    chart = namespace_values(repository, "default")
    chart["dagsterDaemon"]["runCoordinator"] = {"enabled": True, "type": "QueuedRunCoordinator"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance_config(chart)))
    with pytest.raises(DagsterInvalidConfigError, match="incompatible with the `concurrency > runs` config"):
        dagster_instance_config(str(tmp_path))


def test_a_backfill_leaves_a_slot_to_live_loads(repository):
    plain = [repository / "deploy" / "dagster.yaml", repository / "deploy" / "compose" / "dagster.yaml"]
    configs = [yaml.safe_load(path.read_text()) for path in plain]
    configs += [instance_config(namespace_values(repository, namespace)) for namespace in NAMESPACES]
    for config in configs:
        runs = config["concurrency"]["runs"]
        limits = {limit["key"]: limit for limit in runs["tag_concurrency_limits"]}
        assert limits["dagster/backfill"]["limit"] == runs["max_concurrent_runs"] - 1
        assert limits["dagster/partition"]["limit"] == 1
        assert limits["dagster/partition"]["value"] == {"applyLimitPerUniqueValue": True}
        assert config["concurrency"]["pools"] == {"granularity": "op", "default_limit": runs["max_concurrent_runs"]}
        assert config["run_monitoring"]["free_slots_after_run_end_seconds"] > 0


def test_the_limit_of_the_failure_sensor_is_set_where_sensors_run(repository):
    """Dagster reads it while it evaluates the sensor, and that is in the code server."""
    name = "DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT"
    compose = yaml.safe_load((repository / "deploy" / "compose.yaml").read_text())["services"]
    assert {service for service, found in compose.items() if name in found["environment"]} == {"code"}
    assert compose["code"]["environment"]["DAGSTER_PG_HOST"] == "postgres"
    chart = values(repository, "values.yaml")
    assert name not in chart["dagsterDaemon"].get("env", {})
    for deployment in chart["dagster-user-deployments"]["deployments"]:
        assert {"name": name, "value": "25"} in deployment["env"]


def test_compose_publishes_nothing_but_the_ui_on_loopback(repository):
    compose = yaml.safe_load((repository / "deploy" / "compose.yaml").read_text())
    ports = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert {name: found for name, found in ports.items() if found} == {"webserver": ["127.0.0.1:3000:3000"]}


def test_compose_mounts_files_that_exist(repository):
    compose = yaml.safe_load((repository / "deploy" / "compose.yaml").read_text())
    sources = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    }
    assert sources
    assert all((repository / "deploy" / source).is_file() for source in sources)


def test_compose_mounts_the_settings_file_where_the_code_location_looks_for_it(repository):
    services = yaml.safe_load((repository / "deploy" / "compose.settings.yaml").read_text())["services"]
    assert set(services) == {"code"}
    (volume,) = services["code"]["volumes"]
    assert volume == f"../settings.yaml:{services['code']['environment']['SNOWPLOW_POSTHOG_SETTINGS']}:ro"


@pytest.mark.parametrize("name", ["archive-read", "workspace-read-write", "compute-logs"])
def test_a_policy_allows_named_actions_on_named_buckets_only(repository, name):
    policy = json.loads((repository / "deploy" / "iam" / f"{name}.json").read_text())
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in statement["Action"])
        assert all(re.match(r"arn:aws:s3:::[a-z0-9.-]+(/|$)", resource) for resource in statement["Resource"])
        if name == "archive-read":
            assert set(statement["Action"]) <= {"s3:ListBucket", "s3:GetObject"}


def test_the_image_is_locked_to_the_versions_that_are_tested(repository):
    def pins(path):
        found, current = {}, ""
        for line in path.read_text().splitlines():
            if not line.startswith(" "):
                current = line.rstrip(" \\")
                found[current] = set()
            else:
                found[current].add(line.strip(" \\"))
        return found

    tested, shipped = pins(repository / "requirements.lock"), pins(repository / "deploy" / "requirements.lock")
    assert len(shipped) > 100
    assert {name: hashes for name, hashes in shipped.items() if tested.get(name) != hashes} == {}
    assert all(hashes for hashes in shipped.values())
    assert not any(name.startswith(("pytest", "mypy", "moto", "playwright")) for name in shipped)
