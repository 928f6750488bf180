"""Archives to measure with, generated once from fixed seeds and kept under build/.

Wide lines have 3.2 KB and 70 filled columns, GitLab's 1 KB. `varied` is wide with so many users, pages and user
agents that caches of values gain nothing.
"""

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.place import BUCKET, START
from snowplow_posthog_dagster.generator import FolderSink, GeneratorSettings, Profile, Truth, generate, read_truth

CLEAN: dict[str, Any] = {"repeats": 0.002, "late": 0.01, "broken": 0.0005, "oversized": 0.0}
MANY: dict[str, Any] = {"users": 1_000_000, "pages": 50_000, "user_agents": 20_000}

WORKLOADS: dict[str, dict[str, Any]] = {
    "wide": {"profile": Profile.WIDE},
    "varied": {"profile": Profile.WIDE, **MANY},
    "gitlab": {"profile": Profile.GITLAB},
}


class Workload:
    """One archive on disk: `folder` holds the buckets, `truth` what is in them."""

    def __init__(self, folder: Path, truth: Truth) -> None:
        self.folder, self.truth = folder, truth
        self.records = truth.sums["records"]
        self.must_arrive = truth.sums["must_arrive"]
        self.raw_bytes = truth.sums["raw_bytes"]
        self.stored_bytes = truth.sums["stored_bytes"]

    def files(self) -> list[Path]:
        """The objects, in order of their keys."""
        return sorted((self.folder / BUCKET).rglob("*.gz"))

    def lines(self) -> Iterator[bytes]:
        """Every line, file after file."""
        for path in self.files():
            yield from zlib.decompress(path.read_bytes(), 31).rstrip(b"\n").split(b"\n")


def make(home: Path, name: str, *, events: int, objects: int, **more: Any) -> Workload:
    """Generate a workload, unless the same one lies there already."""
    settings = GeneratorSettings(
        start=START, events=events, records_per_object=-(-int(events * 1.01) // objects), **CLEAN, **more
    )
    folder = home / f"{name}-{events}-{objects}"
    truth_folder = folder / "truth"
    if (truth_folder / "truth.json").exists():
        truth = read_truth(truth_folder)
        if truth.settings == settings.model_dump(mode="json"):
            return Workload(folder, truth)
    shutil.rmtree(folder, ignore_errors=True)
    return Workload(folder, generate(settings, FolderSink(folder / BUCKET), truth_folder))
