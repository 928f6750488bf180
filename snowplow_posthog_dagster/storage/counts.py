"""The counting equation: every record ends in exactly one place, and the sums that prove it.

    records = mapped + dead letters + filtered (by rule) + repeats
    mapped  = acknowledged + delivery dead letters + pending + withdrawn

The same words stand in the log, in the metadata, in the terminal and in the docs.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from operator import attrgetter


@dataclass(frozen=True)
class Counts:
    """The sums of one object, of an hour, of a day or of many days; they add up with `+`."""

    objects: int = 0
    objects_done: int = 0
    objects_pending: int = 0
    objects_broken: int = 0
    objects_skipped: int = 0
    objects_gone: int = 0
    objects_superseded: int = 0
    lines: int = 0
    glued: int = 0
    records: int = 0
    mapped: int = 0
    dead_letters: int = 0
    filtered: int = 0
    repeats: int = 0
    acknowledged: int = 0
    delivery_dead_letters: int = 0
    pending: int = 0
    withdrawn: int = 0
    resent: int = 0
    bytes: int = 0
    raw_bytes: int = 0
    filtered_by_rule: Counter[str] = field(default_factory=Counter)
    withdrawn_by_reason: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)})

    @classmethod
    def total(cls, parts: Iterable["Counts"]) -> "Counts":
        """The sum of many."""
        listed = list(parts)
        if not listed:
            return cls()
        numbers = dict(zip(NUMBERS, map(sum, zip(*map(_numbers_of, listed), strict=True)), strict=True))
        return cls(
            **numbers,
            filtered_by_rule=_sum(part.filtered_by_rule for part in listed),
            withdrawn_by_reason=_sum(part.withdrawn_by_reason for part in listed),
            notes=_sum(part.notes for part in listed),
        )

    def problems(self) -> list[str]:
        """The sums that do not add up, with their numbers; empty when every record is accounted for."""
        found = []
        ends = self.mapped + self.dead_letters + self.filtered + self.repeats
        if self.records != ends:
            found.append(f"records {self.records:,} != {self.first_sum()} = {ends:,}")
        places = self.acknowledged + self.delivery_dead_letters + self.pending + self.withdrawn
        if self.mapped != places:
            found.append(f"mapped {self.mapped:,} != {self.second_sum()} = {places:,}")
        return found

    def first_sum(self) -> str:
        """The right side of the first equation, in words."""
        return (
            f"{self.mapped:,} mapped + {self.dead_letters:,} dead letters"
            f" + {self.filtered:,} filtered + {self.repeats:,} repeats"
        )

    def second_sum(self) -> str:
        """The right side of the second equation, in words."""
        return (
            f"{self.acknowledged:,} acknowledged + {self.delivery_dead_letters:,} delivery dead letters"
            f" + {self.pending:,} pending + {self.withdrawn:,} withdrawn"
        )


NUMBERS = [item.name for item in fields(Counts) if item.type is int or item.type == "int"]
"""The names of the plain numbers of `Counts`."""

_numbers_of = attrgetter(*NUMBERS)


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    """The sum of many, most of which are empty on a day of many objects."""
    total: Counter[str] = Counter()
    for counter in counters:
        if counter:
            total.update(counter)
    return total
