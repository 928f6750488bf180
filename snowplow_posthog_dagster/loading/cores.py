"""How many cores this process may use: neither the host's count nor a quota by itself.

A container limited to two cores of a 64-core node still sees 64 of them. What the kernel lets it use stands in files of
its control group: `cpu.max` under version 2, `cpu.cfs_quota_us` and `cpu.cfs_period_us` under version 1, which older
Kubernetes nodes have. A limit can hold for a group further up as well (systemd's slices), so the least one counts.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_OF_VERSION_1 = ("cpu", "cpu,cpuacct")


def core_count() -> int:
    """Cores by affinity, or by the quota where that is less; at least one, and half a core counts as a whole one."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min([available, *(int(quota + 0.5) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """The cores that each group around this process allows, where it sets a limit."""
    for group in _groups():
        try:
            quota, period = _numbers(group)
            if int(quota) > 0:
                yield int(quota) / int(period)
        except (OSError, ValueError):
            continue  # no such file, "max", or -1: no limit


def _numbers(group: Path) -> list[str]:
    if (group / "cpu.max").exists():
        return (group / "cpu.max").read_text().split()
    return [(group / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]


def _groups() -> Iterator[Path]:
    """The folders of this process's groups and of all above them.

    In a container they are the roots, and what the kernel calls the own group often is a path of the host's.
    """
    try:
        own = [line.split(":", 2) for line in _OWN_GROUPS.read_text().splitlines()]
    except OSError:
        own = []
    roots = [_GROUPS, *(_GROUPS / name for name in _OF_VERSION_1)]
    paths = {path.strip("/") for _, kind, path in own if not kind or "cpu" in kind.split(",")}
    yield from roots
    for path in paths - {""}:
        for root in roots:
            yield from (root / part for part in [Path(path), *Path(path).parents] if f"{part}" != ".")
