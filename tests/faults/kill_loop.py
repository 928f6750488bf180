"""Kill runs at random moments, again and again, and count what was lost and what was doubled.

    python -m tests.faults.kill_loop --kills 200 [--seed 1]

Each round is a new day of generated events. A run is started (tests/faults/load_once.py), and at a random moment of
transform or delivery its run worker, its step or one of its pool workers gets SIGKILL. Within seconds no process of the
run may be left. Runs are started and killed until the day is closed; then the next day begins. In the end
every stored copy is replayed into PostHog's table definition in ClickHouse's engine and compared, row by row, with what
the mapping makes of the archive and with what the generator knows to have written.

The last line reads `kills=200 lost=0 doubled=0 resent=...`; the exit code is 0 only when it does.
"""

import argparse
import contextlib
import datetime as dt
import itertools
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from snowplow_posthog_dagster.generator import FolderSink, GeneratorSettings, Profile, generate, read_uuids
from snowplow_posthog_dagster.loading.sources import snowplow_source
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog, running_s3
from snowplow_posthog_dagster.snowplow.record import Record
from snowplow_posthog_dagster.storage.s3 import connect
from tests.faults.clickhouse import Events, digest_of
from tests.faults.load_once import Load
from tests.faults.world import connection_of

FIRST_DAY = dt.date(2022, 6, 1)
EVENTS_A_DAY = 12_000
OBJECT_RECORDS = 600
EVENTS_PER_SECOND = 4_000.0
# 0.5 s between two looks at the parent, and what a busy machine adds to it.
GONE_WITHIN_SECONDS = 5.0
LOGGED_WITHIN_SECONDS = 2.0
VICTIMS = ("run worker", "step", "pool worker")
_MARK = "KILL_LOOP_RUN"
# A POST of 2,000 events and the reading of clocks take time on a busy machine.
_SLACK_SECONDS = 1.0


@dataclass
class Kill:
    """One kill: when (seconds since 1970), whom, in which phase, and what came of it."""

    at: float
    victim: str
    phase: str
    gone_after: float = 0.0
    resent: int = 0
    allowed: int = 0
    oldest_resent: float = 0.0

    @property
    def ended(self) -> float:
        """When the last bytes of its run had arrived: the server reads on what lay in its sockets."""
        return self.at + self.gone_after + _SLACK_SECONDS


@dataclass
class Verdict:
    """What the whole loop came to."""

    kills: list[Kill] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    resent: int = 0
    unexplained: int = 0
    events: int = 0
    violations: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """The last line."""
        return f"kills={len(self.kills)} lost={self.lost} doubled={self.doubled} resent={self.resent}"

    @property
    def problems(self) -> list[str]:
        """What must not be."""
        late = [kill for kill in self.kills if kill.gone_after > GONE_WITHIN_SECONDS]
        beyond = [kill for kill in self.kills if kill.resent > kill.allowed]
        return [
            *([f"{self.lost} events lost"] if self.lost else []),
            *([f"{self.doubled} rows that should not be"] if self.doubled else []),
            *([f"{self.unexplained} events sent again without a kill in between"] if self.unexplained else []),
            *(f"processes left {kill.gone_after:.1f} s after {kill.victim} died" for kill in late),
            *(f"{kill.resent} events sent again, {kill.allowed} allowed ({kill.victim})" for kill in beyond),
            *([f"violations: {self.violations}"] if self.violations else []),
        ]


def processes_of(mark: str) -> dict[int, str]:
    """The live processes of one run, by their environment: pid -> command line."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


class Run:
    """One run as a tree of processes of its own."""

    def __init__(self, load: Load) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.load_once", json.dumps(asdict(load))],
            stdout=subprocess.PIPE,
            env={**os.environ, _MARK: self.mark},
            cwd=Path(__file__).resolve().parent.parent.parent,
        )
        self.said = ""

    def listen(self, seconds: float) -> str:
        """The next line that the step says within so many seconds, or ""."""
        output = self.process.stdout
        assert output is not None
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([output], [], [], left)
            if not ready:
                return ""
            byte = os.read(output.fileno(), 1)
            if not byte:
                return "ended"
            if byte == b"\n":
                line, self.said = self.said, ""
                return line
            self.said += byte.decode()
        return ""

    def victim(self, kind: str) -> int | None:
        """The pid of a victim of a kind, if there is one just now."""
        if kind == "run worker":
            return self.process.pid
        mark = "loading.worker" if kind == "pool worker" else "spawn_main"
        pids = [pid for pid, command in processes_of(self.mark).items() if mark in command]
        return random.choice(pids) if pids else None

    def gone(self, seconds: float) -> float:
        """Wait until no process of the run is left; how long that took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self.process.poll()
            if not processes_of(self.mark):
                break
            time.sleep(0.05)
        return time.monotonic() - began

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        for pid in processes_of(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class KillLoop:
    """Rounds of days, each loaded by runs that are killed."""

    def __init__(self, folder: Path, connection: dict[str, str], posthog: StandInClient, *, seed: int) -> None:
        self.folder = folder
        self.posthog = posthog
        self.chance = random.Random(seed)
        self.verdict = Verdict()
        self.expected: set[bytes] = set()
        # An event that lies in several archive objects is sent once for each: that is no repetition of ours.
        self.records: Counter[str] = Counter()
        self._load = Load(
            connection, "archive", "workspace", posthog.host, posthog.project_api_key, "", EVENTS_PER_SECOND
        )
        self._seed = seed
        client = connect(self._load.s3)
        for bucket in ("archive", "workspace"):
            client.create_bucket(Bucket=bucket)

    def run(self, kills: int) -> Verdict:
        """Kill so often, then let the last day end, and judge."""
        number = 0
        while len(self.verdict.kills) < kills:
            day = FIRST_DAY + dt.timedelta(days=number)
            load = Load(**{**asdict(self._load), "day": day.isoformat()})
            truth = self._generate(day, number)
            self._kill_until_done(load, kills)
            self._expect(load, truth)
            number += 1
            say(f"day {day}: closed after {len(self.verdict.kills)} kills in all")
        self._judge()
        return self.verdict

    def _generate(self, day: dt.date, number: int) -> Path:
        settings = GeneratorSettings(
            start=dt.datetime.combine(day, dt.time(), dt.UTC), hours=24, events=EVENTS_A_DAY, late=0.0,
            records_per_object=OBJECT_RECORDS, seed=self._seed * 1000 + number,
            profile=Profile.WIDE if number % 3 == 2 else Profile.GITLAB,
        )  # fmt: skip
        truth = self.folder / "truth" / str(number)
        generate(settings, FolderSink(self.folder / "s3" / "archive"), truth)
        return truth

    def _kill_until_done(self, load: Load, kills: int) -> None:
        for number in range(60):
            run = Run(load)
            try:
                if self._attempt(run, kill=len(self.verdict.kills) < kills, first=number == 0):
                    return
            finally:
                run.end()
        raise AssertionError(f"{load.day} is not done after 60 runs")

    def _attempt(self, run: Run, *, kill: bool, first: bool) -> bool:
        """One run, killed or not; whether it closed the day. The first one of a day loses a pool worker as well."""
        killed = False
        while (said := run.listen(120)) not in {"ended", ""}:
            if said == "done":
                return run.process.wait() == 0
            if said == "transform" and kill and first:
                self._kill_pool_worker(run)
            elif said in {"transform", "deliver"} and kill and not killed:
                killed = self._kill(run, said)
                if killed and self.verdict.kills[-1].victim != "pool worker":
                    self.verdict.kills[-1].gone_after = run.gone(10)
                    return False
        assert said == "ended", "a run was silent for two minutes"
        return False

    def _kill(self, run: Run, phase: str) -> bool:
        """Wait for a random moment of the phase and kill; False when there was nothing to kill any more."""
        if phase == "transform" and self.chance.random() < 0.5:
            return False
        time.sleep(self.chance.uniform(0.0, 3.0 if phase == "deliver" else 2.5))
        victims = VICTIMS if phase == "transform" else VICTIMS[:2]
        kind = self.chance.choice(victims)
        pid = run.victim(kind)
        if pid is None:
            return False
        at = time.time()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.verdict.kills.append(Kill(at, kind, phase))
            return True
        return False

    def _kill_pool_worker(self, run: Run) -> None:
        """Kill a worker while the pool works. Later runs of a day have little or nothing to transform, and no pool."""
        deadline = time.monotonic() + 20
        while run.victim("pool worker") is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(self.chance.uniform(0.0, 1.0))
        pid = run.victim("pool worker")
        if pid is not None:
            at = time.time()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.verdict.kills.append(Kill(at, "pool worker", "transform"))

    def _expect(self, load: Load, truth: Path) -> None:
        """What must arrive of a day: the mapping of its objects, held to what the generator knows."""
        day = load.day_load()
        mapper = Mapper(MappingSettings())
        uuids: set[str] = set()
        sources: defaultdict[str, set[str]] = defaultdict(set)
        for found in day.archive.list_day(day.day):
            source = snowplow_source(mapper, found.object_id, load.day, 16 * 1024**2)
            for record in source.records(day.archive.read(found)):
                outcome = source.event(record) if isinstance(record, Record) else None
                if isinstance(outcome, Mapped):
                    uuids.add(outcome.uuid)
                    sources[found.object_id].add(outcome.uuid)
                    self.expected.add(_expected_digest(outcome))
        for mapped in sources.values():
            self.records.update(mapped)
        known = set(read_uuids(truth))
        assert uuids == known, f"{len(known - uuids)} events of the generator are not mapped"
        self.verdict.events += len(uuids)

    def _judge(self) -> None:
        events = Events(self.folder)
        try:
            copies = events.insert(self.posthog.raw())
            self.verdict.lost, self.verdict.doubled = events.compare(self.expected)
        finally:
            events.close()
        self.verdict.resent = copies - self.records.total()
        self.verdict.violations = self.posthog.violations()
        self._attribute()

    def _attribute(self) -> None:
        """Each event that was sent again belongs to the kill between its two copies."""
        arrivals: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for copy in self.posthog.raw():
            # Of an event that lies in two archive objects each has a first copy of its own.
            arrivals[copy["uuid"], copy["properties"]["snowplow_object"]].append(
                dt.datetime.fromisoformat(copy["arrived"]).timestamp()
            )
        ends = [kill for kill in self.verdict.kills if kill.victim != "pool worker"]
        for kill in ends:
            first = kill.at - LOGGED_WITHIN_SECONDS - _SLACK_SECONDS
            kill.allowed = sum(
                request["received"]
                for request in self.posthog.requests()
                if first <= request["arrived"] / 1e6 <= kill.ended
            )
        for times in arrivals.values():
            for earlier, later in itertools.pairwise(sorted(times)):
                cause = next((one for one in ends if earlier <= one.ended and one.at <= later), None)
                if cause is None:
                    self.verdict.unexplained += 1
                else:
                    cause.resent += 1
                    cause.oldest_resent = max(cause.oldest_resent, cause.at - earlier)


def _expected_digest(outcome: Mapped) -> bytes:
    event: dict[str, Any] = json.loads(outcome.event)
    properties = event["properties"]
    if "$ip" not in properties:
        # PostHog stamps the address of the sender.
        properties["$ip"] = "127.0.0.1"
    if event["properties"].get("$process_person_profile") is False:
        for name in ("$set", "$set_once", "$unset"):
            properties.pop(name, None)
    milliseconds = round(dt.datetime.fromisoformat(event["timestamp"]).timestamp() * 1000)
    return digest_of(event["uuid"], event["event"], event["distinct_id"], milliseconds, properties)


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[dict[str, str], StandInClient]]:
    """S3 in the folder and a stand-in."""
    (folder / "s3").mkdir()
    with running_s3(folder / "s3") as environment, running_posthog() as posthog:
        connection = connection_of(environment)
        told = {name: value for name, value in vars(connection).items() if isinstance(value, str)}
        yield {name: value for name, value in told.items() if name != "addressing_style"}, posthog


def kill_loop(kills: int, seed: int) -> Verdict:
    """The whole loop with servers of its own."""
    with tempfile.TemporaryDirectory(prefix="kill-loop-") as place, servers(Path(place)) as (connection, posthog):
        verdict = KillLoop(Path(place), connection, posthog, seed=seed).run(kills)
    for number, kill in enumerate(verdict.kills, 1):
        say(
            f"kill {number}: {kill.victim} in {kill.phase}, gone after {kill.gone_after:.1f} s, sent again"
            f" {kill.resent} (allowed: {kill.allowed}, in flight or acknowledged in the last"
            f" {LOGGED_WITHIN_SECONDS:.0f} s); the oldest {kill.oldest_resent:.1f} s before"
        )
    for problem in verdict.problems:
        say(f"PROBLEM: {problem}")
    most = max((kill.resent for kill in verdict.kills), default=0)
    slowest = max((kill.gone_after for kill in verdict.kills), default=0.0)
    say(f"{verdict.events:,} events; the costliest kill sent {most:,} again, {most / 5e6:.2%} of a run of 5 million")
    say(f"no process of a run was left {slowest:.1f} s after its kill")
    return verdict


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments and count what was lost or doubled.")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 10_000))
    options = parser.parse_args()
    say(f"seed {options.seed}")
    verdict = kill_loop(options.kills, options.seed)
    say(verdict.line())
    sys.exit(1 if verdict.problems else 0)


if __name__ == "__main__":
    main()
