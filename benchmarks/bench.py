"""Every number at once: `make bench` prints the table and writes build/bench.json.

    python -m benchmarks.bench [--events N] [--rounds N] [--largest MB] [--out FILE]

The rounds of a ratio alternate between what is compared, so that a busy neighbour on the machine meets both, and the
median of the rounds is reported. Absolute numbers belong to the machine that is named with them.

Starting processes costs the same for a thousand events as for a day of them. So everything is loaded whole and in half:
`cpu_s_per_million` is what the whole cost, start included, divided by its events; `cpu_s_per_run` and
`marginal_...` are the two ends of the line through both sizes.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import memory
from benchmarks.servers import ROOT, WORKSPACE_BUCKET, measured, servers
from benchmarks.workload import WORKLOADS, Workload, make

HOME = ROOT / "build" / "benchmarks"
YARDSTICK = ("inflate",)
PEERS = ("inflate", "offline", "capture")
NAMES = {"inflate": "zlib", "offline": "sdk_offline", "capture": "posthog_python"}
RATIOS = {way: f"ratio_to_{name}" for way, name in NAMES.items()}
GOALS = {
    "cpu_s_per_million": "at most 40 on the reference machine",
    "ratio_to_zlib": "at most 4.2",
    "ratio_to_sdk_offline": "at least 7",
    "ratio_to_posthog_python": "at least 9",
    "two_process_cpu_ratio": "0.9 to 1.1",
    "delivery_cpu_s_per_million": "at most 2",
    "rss_mb_per_worker": "at most 100, flat",
}


def bench(home: Path, *, events: int, rounds: int, largest_mb: int) -> dict[str, Any]:
    """Measure everything; the content of bench.json."""
    result: dict[str, Any] = {"machine": machine(), "events": events, "rounds": rounds, "workloads": {}}
    result["worker_start_cpu_s"] = start_cost()
    progress("resident memory of a worker")
    result["rss_mb_per_worker"] = resident(home, largest_mb)
    for name in WORKLOADS:
        progress(f"{name}: {events:,} events")
        whole, half = (make(home, name, events=size, objects=8, **WORKLOADS[name]) for size in (events, events // 2))
        result["workloads"][name] = of_workload(whole, half, rounds, peers=name != "varied")
        progress(json.dumps(result["workloads"][name]))
    wide = result["workloads"]["wide"]
    result |= {key: wide[key] for key in GOALS if key in wide}
    return result


def of_workload(workload: Workload, half: Workload, rounds: int, *, peers: bool) -> dict[str, Any]:
    """The numbers of one workload; `half` of it tells what a run costs before its first event."""
    loads: dict[str, list[Load]] = {"one": [], "two": [], "half": []}
    theirs: dict[str, list[float]] = {way: [] for way in (PEERS if peers else YARDSTICK)}
    for number in range(rounds):
        with servers(workload.folder) as environment:
            loads["one"].append(load_once(environment, number, processes=1))
            loads["two"].append(load_once(environment, number, processes=2))
            for way, values in theirs.items():
                file, lines = workload.files()[0], 80_000 if way in YARDSTICK else 4_000
                measurement = measured("benchmarks.peers", way, file, lines, environment=environment)
                values.append(measurement["cpu_s_per_million"])
        with servers(half.folder) as environment:
            loads["half"].append(load_once(environment, number, processes=1))
    with servers(workload.folder, delay_milliseconds=100) as environment:
        slow = load_once(environment, rounds, processes=1)
    one = loads["one"]
    fixed, marginal = fixed_and_marginal(one, loads["half"], lambda load: load.seconds)
    delivery_fixed, delivery = fixed_and_marginal(one, loads["half"], lambda load: load.cpu["deliver"])
    result = {
        "records": workload.records,
        "bytes_per_line": round(workload.raw_bytes / workload.records),
        "gzip_bytes_per_line": round(workload.stored_bytes / workload.records),
        "cpu_s_per_million": median(load.per_million for load in one),
        "cpu_s_per_million_by_phase": {
            phase: median(load.cpu[phase] * 1e6 / load.records for load in one) for phase in one[0].cpu
        },
        "cpu_s_per_run": fixed,
        "marginal_cpu_s_per_million": marginal,
        "cpu_s_per_million_by_step": measured("benchmarks.steps", workload.folder, "--rounds", max(3, rounds)),
        "cpu_s_per_million_with_100_ms_answers": slow.per_million,
        "delivery_cpu_s_per_million": median(load.cpu["deliver"] * 1e6 / load.records for load in one),
        "delivery_cpu_s_per_run": delivery_fixed,
        "marginal_delivery_cpu_s_per_million": delivery,
        "two_process_cpu_ratio": ratio(loads["two"], one),
    }
    return result | beside(one, theirs, marginal)


def beside(ours: list["Load"], theirs: dict[str, list[float]], marginal: float) -> dict[str, float]:
    """Ratios to what others need for the same files, each of one round; the median round counts."""
    found = {}
    for way, name in NAMES.items():
        if way not in theirs:
            continue
        found[f"{name}_cpu_s_per_million"] = yard = median(theirs[way])
        pairs = [(load.per_million, other) for load, other in zip(ours, theirs[way], strict=True)]
        upside_down = way in YARDSTICK
        found[RATIOS[way]] = median(a / b if upside_down else b / a for a, b in pairs)
        found[f"marginal_{RATIOS[way]}"] = marginal / yard if upside_down else yard / marginal
    return found


def fixed_and_marginal(whole: list["Load"], half: list["Load"], of: Callable[["Load"], float]) -> tuple[float, float]:
    """CPU seconds of a run without events, and per million events: the line through two sizes, by medians."""
    large, small = whole[0].records, half[0].records
    slope = (median(map(of, whole)) - median(map(of, half))) / (large - small)
    return median(map(of, half)) - slope * small, slope * 1e6


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def ratio(above: list["Load"], below: list["Load"]) -> float:
    """The median round's ratio of the CPU of two ways of loading."""
    return median(a.seconds / b.seconds for a, b in zip(above, below, strict=True))


@dataclass(frozen=True)
class Load:
    """One load: CPU seconds by phase, of so many records."""

    cpu: dict[str, float]
    records: int

    @property
    def seconds(self) -> float:
        """All of it, the start of the processes included."""
        return sum(self.cpu.values())

    @property
    def per_million(self) -> float:
        """The same per million records."""
        return self.seconds * 1e6 / self.records


def load_once(environment: dict[str, str], number: int, *, processes: int) -> Load:
    """One load into a fresh workspace.

    Raises RuntimeError when not every record is accounted for: a benchmark that loses events measures nothing.
    """
    place = f"s3://{WORKSPACE_BUCKET}/{os.getpid()}-{number}-{processes}"
    done = measured("benchmarks.load", place, "--processes", processes, environment=environment)
    counts = done["counts"]
    if done["problems"] or counts["pending"] or counts["acknowledged"] != counts["mapped"]:
        raise RuntimeError(f"the load is not complete: {done}")
    return Load(done["cpu"], counts["records"])


def start_cost() -> float:
    """CPU seconds that a worker needs before its first object: paid once a process, whatever the day's size."""
    return float(measured("benchmarks.start"))


def resident(home: Path, largest_mb: int) -> dict[str, float]:
    """Peak resident megabytes of a worker by the raw megabytes of its object."""
    found = {}
    for size in (size for size in memory.SIZES_MB if size <= largest_mb):
        workload = memory.one_object(home, size)
        with servers(workload.folder) as environment:
            found[str(size)] = memory.peak_megabytes(environment, f"{os.getpid()}/")[0]
    return found


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def table(result: dict[str, Any]) -> Table:
    """The result for people, a column a workload."""
    names = list(result["workloads"])
    shown = Table(title=f"{result['machine']}", title_justify="left", header_style="bold")
    shown.add_column("CPU seconds per million events, medians")
    for name in names:
        shown.add_column(name, justify="right")
    shown.add_column("goal")
    rows: list[tuple[str, str, str]] = [
        ("bytes a line", "bytes_per_line", ""),
        ("archive to acknowledged", "cpu_s_per_million", ""),
        ("  the same, answers after 100 ms", "cpu_s_per_million_with_100_ms_answers", ""),
        ("  without the start of the run", "marginal_cpu_s_per_million", "cpu_s_per_million"),
        ("  start of the run (CPU seconds, whatever its size)", "cpu_s_per_run", ""),
        ("  of these delivery", "delivery_cpu_s_per_million", "delivery_cpu_s_per_million"),
        ("  delivery without its start", "marginal_delivery_cpu_s_per_million", "delivery_cpu_s_per_million"),
        ("gzip + snowplow-analytics-sdk + json + gzip 9", "sdk_offline_cpu_s_per_million", ""),
        ("posthog-python's capture in a loop", "posthog_python_cpu_s_per_million", ""),
        ("zlib.decompress of the same files", "zlib_cpu_s_per_million", ""),
        ("ours / zlib.decompress", "ratio_to_zlib", "ratio_to_zlib"),
        ("  without the start of the run", "marginal_ratio_to_zlib", "ratio_to_zlib"),
        ("SDK offline / ours", "ratio_to_sdk_offline", "ratio_to_sdk_offline"),
        ("  without the start of the run", "marginal_ratio_to_sdk_offline", "ratio_to_sdk_offline"),
        ("posthog-python / ours", "ratio_to_posthog_python", "ratio_to_posthog_python"),
        ("  without the start of the run", "marginal_ratio_to_posthog_python", "ratio_to_posthog_python"),
        ("two processes / one", "two_process_cpu_ratio", "two_process_cpu_ratio"),
    ]
    rows[1] = (*rows[1][:2], "cpu_s_per_million")
    for title, key, goal in rows:
        shown.add_row(title, *(_number(result["workloads"][name].get(key)) for name in names), GOALS.get(goal, ""))
    shown.add_section()
    for step in result["workloads"][names[0]]["cpu_s_per_million_by_step"]:
        values = (result["workloads"][name]["cpu_s_per_million_by_step"][step] for name in names)
        shown.add_row(f"step: {step}", *(_number(value) for value in values), "")
    shown.add_section()
    for size, megabytes in result["rss_mb_per_worker"].items():
        shown.add_row(f"resident MB of a worker, object of {size} MB raw", _number(megabytes), "", "", "at most 100")
    return shown


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def progress(text: str) -> None:
    """Say on stderr what goes on."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=80_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=1000, help="raw MB of the largest object of the memory test")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args()
    result = bench(HOME, events=options.events, rounds=options.rounds, largest_mb=options.largest)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    Console(width=140).print(table(result))
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
