"""What was generated, counted by who knows: the measure of every load of these objects.

    records   = originals + repeats
    originals = must arrive + oversized + broken

Those that must arrive are distinct events; late ones are among them. A broken record must become a dead letter. An
oversized one may arrive with parts shed or become a dead letter, whichever the loader's rules say: its uuid is listed
apart. The uuids are not kept in memory: a day of 45 million would take 4 GB.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from uuid import UUID

TRUTH_FILE = "truth.json"
UUIDS_FILE = "uuids.txt.gz"


@dataclass
class ObjectTruth:
    """One object: its key and what is in it."""

    key: str
    first_arrival: int  # milliseconds since 1970, of its oldest record
    records: int = 0
    must_arrive: int = 0
    late: int = 0
    oversized: int = 0
    broken: int = 0
    repeats: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0
    raw_crc32: int = 0


@dataclass
class Truth:
    """All objects of one run and their sums.

    Attributes:
        settings: what they were made from, as JSON values.
        objects: in order of arrival.
        kinds: originals by kind of visit (web, shop, mobile, server).
        event_names: must arrive, by Snowplow's `event_name` (`event` for struct events).
        oversized_uuids: may arrive; see the module.
    """

    settings: dict[str, object]
    objects: list[ObjectTruth] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    event_names: Counter[str] = field(default_factory=Counter)
    oversized_uuids: list[str] = field(default_factory=list)

    @property
    def sums(self) -> dict[str, int]:
        """Number of objects, and the counts of all of them together."""
        counted = [one.name for one in fields(ObjectTruth) if one.name not in {"key", "first_arrival", "raw_crc32"}]
        return {"objects": len(self.objects)} | {
            name: sum(getattr(made, name) for made in self.objects) for name in counted
        }

    def write(self, folder: Path) -> None:
        """Write truth.json beside the uuids."""
        told = {"sums": self.sums, **vars(self), "objects": [asdict(made) for made in self.objects]}
        (folder / TRUTH_FILE).write_text(json.dumps(told, indent=1) + "\n")


def read_truth(folder: Path) -> Truth:
    """What `write` wrote."""
    stored = json.loads((folder / TRUTH_FILE).read_text())
    return Truth(
        settings=stored["settings"],
        objects=[ObjectTruth(**made) for made in stored["objects"]],
        kinds=Counter(stored["kinds"]),
        event_names=Counter(stored["event_names"]),
        oversized_uuids=stored["oversized_uuids"],
    )


@dataclass(frozen=True)
class Comparison:
    """What arrived against what had to.

    Attributes:
        expected: how many had to arrive.
        lost: did not arrive.
        unexpected: arrived and were not made by this run, or were broken.
        doubled: arrivals beyond the first of the same uuid.
        oversized: of those that may arrive, how many did.
        examples: some of the lost and unexpected uuids.
    """

    expected: int
    lost: int
    unexpected: int
    doubled: int
    oversized: int
    examples: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether exactly the expected events arrived, once each."""
        return not (self.lost or self.unexpected or self.doubled)


def compare(folder: Path, arrived: Iterable[str]) -> Comparison:
    """Hold the uuids that a target shows against the truth; about 150 bytes of memory an event."""
    times = {UUID(uuid).bytes: 0 for uuid in read_uuids(folder)}
    expected = len(times)
    may_arrive = {UUID(uuid).bytes for uuid in read_truth(folder).oversized_uuids}
    times |= dict.fromkeys(may_arrive, 0)
    unexpected = []
    for uuid in arrived:
        key = UUID(uuid).bytes
        if key in times:
            times[key] += 1
        else:
            unexpected.append(uuid)
    lost = [str(UUID(bytes=key)) for key, number in times.items() if number == 0 and key not in may_arrive]
    return Comparison(
        expected=expected,
        lost=len(lost),
        unexpected=len(unexpected),
        doubled=sum(number - 1 for number in times.values() if number > 1),
        oversized=sum(times[key] > 0 for key in may_arrive),
        examples=(*lost[:5], *unexpected[:5]),
    )


def read_uuids(folder: Path) -> Iterator[str]:
    """The uuids that must arrive, object after object in the order of the truth (`must_arrive` of each)."""
    with gzip.open(folder / UUIDS_FILE, "rt", encoding="ascii") as lines:
        for line in lines:
            yield line.rstrip("\n")
