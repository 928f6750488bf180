"""Sets of event positions within a batch, kept as intervals."""

from collections.abc import Iterable, Iterator


class Ranges:
    """A set of non-negative integers as sorted, disjoint `[first, end)` intervals.

    Adding is a union: order and repetition do not matter, which is what lets two writers acknowledge the
    same events without counting them twice.
    """

    __slots__ = ("_intervals",)

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._intervals = _normal(intervals)

    def add(self, first: int, count: int) -> None:
        """Add the positions from `first` to `first + count - 1`."""
        if count > 0:
            self._intervals = _normal([*self._intervals, (first, first + count)])

    def without(self, other: "Ranges") -> "Ranges":
        """The positions that are here and not in `other`."""
        if not other.intervals or not self._intervals:
            return self
        return Ranges(gap for first, end in self._intervals for gap in _gaps(other.intervals, first, end))

    def missing(self, total: int) -> "Ranges":
        """The positions below `total` that are not in the set."""
        return Ranges(_gaps(self._intervals, 0, total))

    def take(self, limit: int) -> "Ranges":
        """The first `limit` positions."""
        taken: list[tuple[int, int]] = []
        for first, end in self._intervals:
            if limit <= 0:
                break
            taken.append((first, min(end, first + limit)))
            limit -= end - first
        return Ranges(taken)

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """The intervals as `(first, end)`, end exclusive."""
        return self._intervals

    def positions(self) -> Iterator[int]:
        """Every position, ascending."""
        for first, end in self._intervals:
            yield from range(first, end)

    def __len__(self) -> int:
        return sum([end - first for first, end in self._intervals])

    def __bool__(self) -> bool:
        return bool(self._intervals)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._intervals == other._intervals

    def __hash__(self) -> int:
        return hash(tuple(self._intervals))

    def __repr__(self) -> str:
        return f"Ranges({self._intervals})"


def _normal(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    if not intervals:
        return merged
    for first, end in sorted(intervals):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif end > first:
            merged.append((first, end))
    return merged


def _gaps(intervals: Iterable[tuple[int, int]], first: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of `[first, end)` that no interval covers."""
    for start, stop in intervals:
        if stop <= first or start >= end:
            continue
        if start > first:
            yield (first, start)
        first = max(first, stop)
    if first < end:
        yield (first, end)
