"""Sets of sequence numbers as intervals: millions of consecutive parts take the room of one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Intervals:
    """A set of integers kept as sorted, disjoint, non-adjacent half-open ranges.

    Args:
        ranges: what is in the set at first; may overlap.
    """

    def __init__(self, ranges: Iterable[range] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._count = 0
        for each in ranges:
            self.add(each)

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._starts, number) - 1
        return place >= 0 and number < self._stops[place]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[range]:
        """The ranges, in order."""
        return iter([range(*ends) for ends in zip(self._starts, self._stops, strict=True)])

    @property
    def first_missing(self) -> int:
        """The lowest number from 0 on that is not in the set."""
        return self._stops[0] if self._starts and self._starts[0] <= 0 else 0

    def add(self, numbers: range) -> None:
        """Put a range (of step 1) into the set."""
        if not numbers:
            return
        start, stop = numbers.start, numbers.stop
        # Every range that overlaps or touches the new one becomes one with it.
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._stops[first] < start:
            first += 1
        last = bisect_right(self._starts, stop)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        replaced = sum(self._stops[place] - self._starts[place] for place in range(first, last))
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]
        self._count += stop - start - replaced

    def missing_below(self, stop: int) -> Iterator[range]:
        """The ranges of 0 ... stop - 1 that are not in the set, in order."""
        begin = 0
        for start, end in zip(self._starts, self._stops, strict=True):
            if start >= stop:
                break
            if begin < start:
                yield range(begin, start)
            begin = end
        if begin < stop:
            yield range(begin, stop)
