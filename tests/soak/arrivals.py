"""What lands in the soak's archive, and the truth about it.

    pool of generated objects --every few seconds--> archive: new, late, repeated, overwritten and broken ones
                 \\--uuids--> what must arrive                    \\--(key, ETag)--> the day log says when it did

The archive has been written to since midnight, so every hour that is over has files (but one, which is withheld and
comes late), and so have the days before. A file counts as acknowledged when the day log shows every event of it so.
"""

import datetime as dt
import hashlib
import itertools
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from snowplow_posthog_dagster.generator import GeneratorSettings, generate, read_uuids
from snowplow_posthog_dagster.storage.archive import object_id
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.s3 import Bucket
from snowplow_posthog_dagster.storage.workspace import Workspace

RECORDS = 60
_POOL_OBJECTS = 200
_LOOK_SECONDS = 1.0
_LATE_HOURS = 2
"""Late files belong to an hour that the check `hours_present` does not ask for yet, so none of them fills its gap."""


@dataclass(frozen=True)
class Made:
    """A generated object: its bytes, the uuids that must arrive of it, and its records that must not."""

    key: str
    body: bytes
    uuids: frozenset[str]
    dead_letters: int


@dataclass
class Landed:
    """A file of the archive; times in seconds since 1970. `live` ones count for the latency."""

    day: dt.date
    key: str
    object_id: str
    at: float
    live: bool
    acknowledged: float | None = None
    replaced: bool = False


class _Kept:
    """A sink that keeps the objects."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        self.bodies[key] = body


def make(start: dt.datetime, hours: int, objects: int, seed: int) -> list[Made]:
    """Generate so many objects an hour. The keys are the generator's, below `output/`."""
    settings = GeneratorSettings(
        start=start, hours=hours, events=hours * objects * RECORDS, records_per_object=RECORDS, seed=seed,
        users=400, pages=100, user_agents=40, broken=0.004,
    )  # fmt: skip
    kept = _Kept()
    with tempfile.TemporaryDirectory(prefix="soak-truth-") as folder:
        truth = generate(settings, kept, Path(folder))
        uuids = iter(list(read_uuids(Path(folder))))
    return [
        Made(one.key, kept.bodies[one.key], frozenset(itertools.islice(uuids, one.must_arrive)), one.broken)
        for one in truth.objects
    ]


@dataclass
class Arrivals:
    """Puts files and remembers what must come of them. `day` is the day of the soak, also after midnight."""

    archive: Bucket
    workspace: Workspace
    day: dt.date
    seed: int
    landed: list[Landed] = field(default_factory=list)
    must_arrive: set[str] = field(default_factory=set)
    dead_letters: int = 0
    withheld: list[Made] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._lock = threading.Lock()
        self._seeds = itertools.count(self.seed * 1000)
        self._pool: Iterator[Made] = iter(())
        self._logs: dict[dt.date, DayLog] = {}
        self._plain: list[tuple[str, Made]] = []

    # -- history ------------------------------------------------------------------------------------------

    def begin(self, now: dt.datetime, *, due: int, days: list[dt.date]) -> None:
        """Fill the hours of today that are over and the days before; of the `due` hours of today the last is withheld.

        `due` is the number of hours that the check `hours_present` asks for; with 0 nothing is withheld.
        """
        self.fill(days)
        past = now.hour if now.date() == self.day else 24
        begin = dt.datetime.combine(self.day, dt.time(), dt.UTC)
        for made in make(begin, past, 1, next(self._seeds)) if past else []:
            hour = int(made.key.split("/")[4])
            if due and hour == due - 1:
                self.withheld.append(made)
            else:
                self.put(made.key, made, live=False)

    def fill(self, days: list[dt.date]) -> None:
        """Days of the past with a file an hour."""
        for day in days:
            for made in make(dt.datetime.combine(day, dt.time(), dt.UTC), 24, 1, next(self._seeds)):
                self.put(made.key, made, day=day, live=False)

    def release_withheld(self) -> None:
        """The files of the missing hour come after all."""
        while self.withheld:
            made = self.withheld.pop()
            self.put(made.key, made)

    # -- live ---------------------------------------------------------------------------------------------

    def next(self) -> Made:
        """An object that nobody has seen, of this hour."""
        with self._lock:
            made = next(self._pool, None)
            if made is None:
                hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
                self._pool = iter(make(hour, 1, _POOL_OBJECTS, next(self._seeds)))
                made = next(self._pool)
            return made

    def folder(self, back: int = 0) -> str:
        """The folder of the current hour of the soak's day, or of one so many hours before it on that day."""
        now = dt.datetime.now(dt.UTC)
        hour = max(0, (now.hour if now.date() == self.day else 23) - back)
        return f"output/{self.day:%Y/%m/%d}/{hour:02d}/"

    def land(self) -> str:
        """One arrival: mostly a new file; some late, some twice, some written over. Says which."""
        kind = self._chance.choices(["new", "late", "repeated", "overwritten"], [7, 1, 1, 1])[0]
        if kind == "repeated" and self._plain:
            key, earlier = self._chance.choice(self._plain)
            # The same bytes under another name are other records of the same events.
            self.put(key.replace(".gz", f"-again-{next(self._seeds)}.gz"), earlier)
            return kind
        # Every object of the pool lands: the next one may repeat a record of it.
        made = self.next()
        if kind == "overwritten" and self._plain:
            key, earlier = self._plain.pop()
            self.put(key, Made(key, earlier.body + made.body, earlier.uuids | made.uuids, made.dead_letters))
        else:
            key = f"{self.folder(back=_LATE_HOURS if kind == 'late' else 0)}{made.key.rsplit('/', 1)[-1]}"
            self.put(key, made)
            if not made.dead_letters:
                self._plain.append((key, made))
        return kind

    def put(self, key: str, made: Made, *, day: dt.date | None = None, live: bool = True) -> None:
        """Put an object and note what must arrive of it; a former object of that key is replaced."""
        self.put_bytes(key, made.body, day=day, live=live)
        self.must_arrive |= made.uuids
        self.dead_letters += made.dead_letters

    def put_bytes(self, key: str, body: bytes, *, day: dt.date | None = None, live: bool = True) -> Landed:
        """Put bytes that may be no gzip at all."""
        self.archive.put(key, body)
        name = object_id(self.archive.name, key, hashlib.md5(body).hexdigest())
        found = Landed(day or self.day, key, name, time.time(), live)
        with self._lock:
            for one in self.landed:
                one.replaced = one.replaced or one.key == key
            self.landed.append(found)
        return found

    # -- acknowledged -------------------------------------------------------------------------------------

    def waiting(self, *, elsewhere: bool = False, live: bool = False) -> list[Landed]:
        """What is not acknowledged yet; `elsewhere` leaves out the soak's day, `live` all that was there before."""
        with self._lock:
            found = [one for one in self.landed if one.acknowledged is None and not one.replaced]
        return [one for one in found if (one.live or not live) and (one.day != self.day or not elsewhere)]

    def watch(self) -> None:
        """Look at the logs once a second until it is over, and note when each file was acknowledged whole."""
        while not self.over.wait(_LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """One look."""
        waiting = self.waiting()
        for day in {one.day for one in waiting}:
            log = self._logs.setdefault(day, DayLog(self.workspace, day))
            state, now = log.state(), time.time()
            for one in waiting:
                known = state.objects.get(one.object_id) if one.day == day else None
                if known and known.done and not any(batch.open for batch in known.batches.values()):
                    one.acknowledged = now

    def latencies(self) -> list[float]:
        """Seconds from landing to acknowledged, of every file that landed while the sensor was on."""
        return [one.acknowledged - one.at for one in self.landed if one.live and one.acknowledged is not None]
