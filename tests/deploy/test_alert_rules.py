"""The alert rules: promtool takes them and their unit tests pass; each leads to a chapter of the runbook."""

import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from snowplow_posthog_dagster.loading.metrics import PREFIX
from tests.integration.servers.presence import require

CURE = "apt-get download prometheus, and take usr/bin/promtool out of it (see .ci/run)"


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def rules(folder):
    groups = yaml.safe_load((folder / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def promtool():
    found = shutil.which("promtool")
    require("promtool", found is not None, CURE)
    return found


def test_promtool_takes_the_rules(promtool, folder):
    subprocess.run([promtool, "check", "rules", "alerts.yaml"], cwd=folder, check=True, capture_output=True)


def test_every_rule_fires_when_it_should_and_not_before(promtool, folder):
    command = [promtool, "test", "rules", "alerts.test.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test_in_which_it_fires(folder, rules):
    tests = yaml.safe_load((folder / "alerts.test.yaml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules}


def test_every_rule_waits_has_a_severity_and_a_team(rules):
    for rule in rules:
        assert rule["for"], rule["alert"]
        assert rule["labels"]["severity"] in {"page", "day", "note"}
        assert rule["labels"]["team"]


def test_every_rule_leads_to_a_chapter_of_the_runbook(rules, repository):
    chapters = set(re.findall(r'<a id="([^"]+)">', (repository / "docs" / "runbook.md").read_text()))
    assert {rule["annotations"]["runbook"].partition("#")[2] for rule in rules} - chapters == set()


def test_the_rules_ask_for_metrics_that_exist(rules, repository):
    asked = {name for rule in rules for name in re.findall(rf"{PREFIX}\w+", rule["expr"])}
    documented = set(
        re.findall(rf"^\| `({PREFIX}\w+)`", (repository / "docs" / "metrics.md").read_text(), re.MULTILINE)
    )
    assert asked and asked <= documented


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_kubernetes_takes_the_exporter(folder, version):
    kubernetes_validate.validate(yaml.safe_load((folder / "exporter.yaml").read_text()), version, strict=True)


@pytest.mark.parametrize(
    "secret",
    [
        {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "open", "POSTHOG_PROJECT_API_KEY": "phc_x"},
        {"aws_access_key_id": "AKIA", "aws_secret_access_key": "open", "posthog_project_api_key": "phc_x"},
        {},
    ],
    ids=["our names", "GitLab's names", "a role"],
)
def test_the_exporter_has_the_credentials_of_either_secret_and_no_key_of_posthog(folder, tmp_path, secret):
    program = tmp_path / "snowplow-posthog"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o755)
    pod = yaml.safe_load((folder / "exporter.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    wanted = {one["name"]: one["valueFrom"]["secretKeyRef"]["key"] for one in container["env"]}
    given = {name: secret[key] for name, key in wanted.items() if key in secret}
    printed = subprocess.run(
        container["command"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **given},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert ("AWS_ACCESS_KEY_ID=AKIA\n" in printed) == ("AWS_SECRET_ACCESS_KEY=open\n" in printed) == bool(secret)
    assert "AWS_ACCESS_KEY_ID=\n" not in printed  # an empty key would hide the role
    assert "phc_x" not in printed
    assert all("secretRef" not in one for one in container["envFrom"])
