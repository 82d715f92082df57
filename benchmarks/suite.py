"""What a speed benchmark is and what it gives: rows of figures, each beside what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        what: was measured, as shown in the table.
        value: in `unit`.
        unit: such as `ms`, `images/s` or `GB/s`.
        ratio: how many times better than `against`, where there is something to compare with.
        against: what the ratio is against, such as `anomalib WinCLIP, float32`.
        target: what was asked for, in words, such as `>= 1.3`; empty where nothing was.
        note: how to read it, or why it is missing.
    """

    what: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    target: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a benchmark may take.

    Attributes:
        quick: fewest runs that still print every row; its figures are noise.
        seconds: of a measurement whose length is free, such as a sustained transfer.
    """

    quick: bool = False
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One entry of the suite.

    Attributes:
        name: by which it is chosen on the command line.
        title: of its table.
        run: measures; called in a process of its own, so that one benchmark leaves nothing for the next.
    """

    name: str
    title: str
    run: Callable[[Effort], Sequence[Row]]


class Unavailable(Exception):
    """A benchmark cannot run here, such as a peer that is not installed; the message says what is missing."""
