"""How many cores a process may use, under both versions of control groups."""

import os
from pathlib import Path

import pytest

from snowplow_posthog_dagster.loading import cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with 64 cores whose control groups stand in a folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path / "cgroup"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")).write_text(text + "\n")


def test_without_a_limit_the_cores_of_the_affinity_count(groups: Path) -> None:
    assert cores.core_count() == 64
    write(groups, cpu_max="max 100000")
    write(groups / "cpu", cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
    assert cores.core_count() == 64


@pytest.mark.parametrize(("quota", "expected"), [(200_000, 2), (50_000, 1), (10_000, 1), (150_000, 2), (120_000, 1)])
def test_both_versions_of_control_groups_limit_the_cores(groups: Path, quota: int, expected: int) -> None:
    write(groups, cpu_max=f"{quota} 100000")
    assert cores.core_count() == expected
    (groups / "cpu.max").unlink()
    write(groups / "cpu", cpu_cfs_quota_us=f"{quota}", cpu_cfs_period_us="100000")
    assert cores.core_count() == expected


def test_a_quota_above_the_affinity_changes_nothing(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    write(groups, cpu_max="800000 100000")
    assert cores.core_count() == 3


@pytest.mark.parametrize("kind", ["0:", "4:cpu,cpuacct"])
def test_the_least_limit_of_the_own_group_and_those_above_it_counts(groups: Path, kind: str) -> None:
    groups.mkdir()
    (groups.parent / "own").write_text(f"12:memory:/elsewhere\n{kind}:/system.slice/dagster.service\n")
    root = groups if kind == "0:" else groups / "cpu,cpuacct"
    own = root / "system.slice" / "dagster.service"
    if kind == "0:":
        write(own, cpu_max="max 100000")
        write(own.parent, cpu_max="300000 100000")
    else:
        write(own, cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
        write(own.parent, cpu_cfs_quota_us="300000", cpu_cfs_period_us="100000")
    write(root / "elsewhere", cpu_max="100000 100000")
    assert cores.core_count() == 3
