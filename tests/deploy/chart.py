"""What Dagster's Helm chart makes of our values, for the few templates that decide how a run's pod looks.

    values.yaml + values.<namespace>.yaml ──merge──> values ──> instance config (dagster.yaml)
                                                            └─> container context of a code location

The chart itself is not to be had here and its files are not copied; these functions follow its templates (instance
ConfigMap, user deployments). The lists of Helm values replace one another, the maps merge.
"""

import copy
from pathlib import Path
from typing import Any

import yaml

NAMESPACES = ("default", "testing")
RELEASE = "dagster"


def values(repository: Path, *names: str) -> dict[str, Any]:
    """`helm install -f deploy/helm/<name> ...`."""
    merged: dict[str, Any] = {}
    for name in names:
        merged = merge(merged, yaml.safe_load((repository / "deploy" / "helm" / name).read_text()))
    return merged


def namespace_values(repository: Path, namespace: str) -> dict[str, Any]:
    """The values of a namespace."""
    return values(repository, "values.yaml", f"values.{namespace}.yaml")


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Helm's merge: maps go into one another, everything else is replaced."""
    merged = copy.deepcopy(below)
    for name, value in above.items():
        both_maps = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both_maps else copy.deepcopy(value)
    return merged


def instance_config(chart_values: dict[str, Any]) -> dict[str, Any]:
    """The dagster.yaml that the chart writes into the ConfigMap `dagster-instance`."""
    storage = {"postgres_db": postgres_config(chart_values["postgresql"])}
    monitoring = chart_values["dagsterDaemon"]["runMonitoring"]
    logs = chart_values["computeLogManager"]["config"]["s3ComputeLogManager"]
    sensors = chart_values["dagsterDaemon"]["sensors"]
    retention = chart_values["retention"]
    return {
        **{
            f"{name}_storage": {
                "module": f"dagster_postgres.{name if name != 'event_log' else 'event_log'}{suffix}",
                "class": cls,
                "config": storage,
            }
            for name, suffix, cls in (
                ("run", "_storage", "PostgresRunStorage"),
                ("event_log", "", "PostgresEventLogStorage"),
                ("schedule", "_storage", "PostgresScheduleStorage"),
            )
        },
        "run_launcher": chart_values["runLauncher"]["config"]["customRunLauncher"],
        "run_coordinator": run_coordinator(chart_values["dagsterDaemon"]["runCoordinator"]),
        "compute_logs": {
            "module": "dagster_aws.s3.compute_log_manager",
            "class": "S3ComputeLogManager",
            "config": {
                "bucket": logs["bucket"],
                "local_dir": logs["localDir"],
                "prefix": logs["prefix"],
                "skip_empty_files": logs["skipEmptyFiles"],
                "upload_interval": logs["uploadInterval"],
            },
        },
        "run_monitoring": {
            "enabled": monitoring["enabled"],
            "start_timeout_seconds": monitoring["startTimeoutSeconds"],
            "cancel_timeout_seconds": monitoring["cancelTimeoutSeconds"],
            "max_resume_run_attempts": monitoring["maxResumeRunAttempts"],
            "poll_interval_seconds": monitoring["pollIntervalSeconds"],
            "free_slots_after_run_end_seconds": monitoring["freeSlotsAfterRunEndSeconds"],
        },
        "sensors": {"use_threads": sensors["useThreads"], "num_workers": sensors["numWorkers"]},
        "telemetry": {"enabled": chart_values["telemetry"]["enabled"]},
        "retention": {name: {"purge_after_days": retention[name]["purgeAfterDays"]} for name in ("sensor", "schedule")},
        **chart_values["additionalInstanceConfig"],
    }


def run_coordinator(section: dict[str, Any]) -> dict[str, Any]:
    """The chart's `run_coordinator`: the queued type brings a limit of the chart, the custom one what it is given."""
    given = section.get("config", {})
    if section["type"] == "CustomRunCoordinator":
        custom = given["customRunCoordinator"]
        return {"module": custom["module"], "class": custom["class"], "config": custom["config"]}
    queued = {"maxConcurrentRuns": -1, **given.get("queuedRunCoordinator", {})}
    return {
        "module": "dagster._core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"max_concurrent_runs": queued["maxConcurrentRuns"]},
    }


def postgres_config(section: dict[str, Any]) -> dict[str, Any]:
    """The chart's `postgres_db`; the password comes from the Secret by way of the environment."""
    return {
        "username": section["postgresqlUsername"],
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "hostname": section["postgresqlHost"],
        "db_name": section["postgresqlDatabase"],
        "port": section["service"]["port"],
        "scheme": section["postgresqlScheme"],
    }


WEBSERVER_PROBE = {
    "httpGet": {"path": "/server_info", "port": 80},
    "periodSeconds": 20,
    "timeoutSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
"""The chart's default for `dagsterWebserver.readinessProbe`."""


def webserver_container(chart_values: dict[str, Any]) -> dict[str, Any]:
    """What answers and what is asked in the pods of both webservers: the probe is written as it is."""
    section = merge({"service": {"port": 80}, "readinessProbe": WEBSERVER_PROBE}, chart_values["dagsterWebserver"])
    return {
        "ports": [{"name": "http", "containerPort": section["service"]["port"], "protocol": "TCP"}],
        "readinessProbe": section["readinessProbe"],
    }


def image_name(deployment: dict[str, Any]) -> str:
    """The image with its tag."""
    return f"{deployment['image']['repository']}:{deployment['image']['tag']}"


def container_context(chart_values: dict[str, Any], deployment: dict[str, Any], namespace: str) -> dict[str, Any]:
    """What `includeConfigInLaunchedRuns` hands on to the pods of runs: not nodeSelector, tolerations or affinity."""
    account = chart_values["dagster-user-deployments"]["serviceAccount"]["name"]
    optional = {
        "env_secrets": [secret["name"] for secret in deployment.get("envSecrets", [])],
        "volume_mounts": deployment.get("volumeMounts"),
        "volumes": deployment.get("volumes"),
        "labels": deployment.get("labels"),
        "resources": deployment.get("resources"),
        "env": deployment.get("env"),
    }
    return {
        "k8s": {
            "image_pull_policy": deployment["image"]["pullPolicy"],
            "env_config_maps": [
                f"{RELEASE}-dagster-user-deployments-{deployment['name']}-user-env",
                *(found["name"] for found in deployment.get("envConfigMaps", [])),
            ],
            "namespace": namespace,
            "service_account_name": account,
            "run_k8s_config": {"pod_spec_config": {"automount_service_account_token": True}},
            **{name: value for name, value in optional.items() if value},
        }
    }
