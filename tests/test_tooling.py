"""The files around the code agree with each other."""

import inspect
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from snowplow_posthog_dagster.commands.sandbox import demo
from snowplow_posthog_dagster.commands.scale import scale
from snowplow_posthog_dagster.settings import SettingsFile

REPOSITORY = Path(__file__).resolve().parent.parent


def test_make_alone_lists_every_target():
    listed = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    offered = set(re.findall(r"^  make (\S+)", listed, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (\S+)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert offered == phony
    assert {"demo", "dev", "test", "test-all", "lint", "format", "clean", "lock", "help"} <= offered


def test_make_test_leaves_out_exactly_the_marked_tests():
    options = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    marked = {marker.partition(":")[0] for marker in options["markers"]}
    (left_out,) = re.findall(r"^SLOW := (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert set(left_out.split(" or ")) == marked


def test_the_hooks_run_what_make_lint_runs():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = " ".join(hook["entry"] for hook in hooks)
    lint = (REPOSITORY / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    tools = set(re.findall(r"\$\(BIN\)/(ruff \w+|mypy)", lint))
    assert tools == {"ruff format", "ruff check", "mypy"}
    assert all(f".venv/bin/{tool}" in entries for tool in tools)


@pytest.mark.parametrize("command", [demo, scale])
def test_what_a_sandbox_leaves_in_the_checkout_is_ignored_by_git_and_removed_by_make_clean(command):
    folder = inspect.signature(command).parameters["folder"].default
    assert f"{folder}/" in (REPOSITORY / ".gitignore").read_text().splitlines()
    clean = (REPOSITORY / "Makefile").read_text().partition("\nclean:")[2].partition("\n\n")[0]
    removed, stopped = (re.search(words, clean)[1].split() for words in (r"rm -rf (.*)", r"for folder in (.*); do"))
    assert f"{folder}" in removed and f"{folder}" in stopped


def test_the_readme_names_every_section_of_the_settings_file():
    table = (REPOSITORY / "README.md").read_text().partition("| section of the file |")[2].partition("\n\n")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(SettingsFile.model_fields)


def test_the_readme_opens_the_environment_that_make_installs_before_it_types_its_programs():
    blocks = re.findall(r"^```\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    programs = [
        number for number, line in enumerate(lines) if line.startswith(("snowplow-posthog ", "dagster ", "dg "))
    ]
    opened = next(number for number, line in enumerate(lines) if line.startswith(". .venv/bin/activate"))
    assert opened == min(programs) - 1


def test_a_backfill_leaves_one_run_for_today():
    """The numbers of dagster.yaml belong together: N runs, N - 1 of a backfill, N deliveries."""
    concurrency = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())["concurrency"]
    limits = {limit["key"]: limit for limit in concurrency["runs"]["tag_concurrency_limits"]}
    runs = concurrency["runs"]["max_concurrent_runs"]
    assert limits["dagster/backfill"]["limit"] == runs - 1
    assert limits["dagster/partition"] == {
        "key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1
    }  # fmt: skip
    assert concurrency["pools"] == {"granularity": "op", "default_limit": runs}


def test_dagster_accepts_its_instance_file(tmp_path):
    dg = pytest.importorskip("dagster")
    (tmp_path / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 3


def test_ci_is_executable_and_sound():
    run = REPOSITORY / ".ci" / "run"
    assert os.access(run, os.X_OK)
    subprocess.run(["bash", "-n", str(run)], check=True)
