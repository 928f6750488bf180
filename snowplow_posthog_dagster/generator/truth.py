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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

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


def read_uuids(folder: Path) -> Iterator[str]:
    """The uuids that must arrive, object after object in the order of the truth (`must_arrive` of each)."""
    with gzip.open(folder / UUIDS_FILE, "rt", encoding="ascii") as lines:
        for line in lines:
            yield line.rstrip("\n")
