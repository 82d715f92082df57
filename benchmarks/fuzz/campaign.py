"""Many messages through one decoder: what it took, what it refused and why, and what broke it."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.fuzz.decoders import Decoder
from benchmarks.fuzz.mutations import Message, mutated
from edge.messages import DecodeError

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = 4096
_SAMPLES = 100
# Caches and allocators fill up before memory can be said to grow.
_WARM_UP = 0.3


@dataclass(frozen=True, slots=True)
class Crash:
    """A message that a decoder answered with an error that is none of its own.

    Attributes:
        decoder: its name.
        where: the error's type and the line that raised it; messages that break the same line are one crash.
        error: as Python prints it.
        message: the bytes.
    """

    decoder: str
    where: str
    error: str
    message: Message


@dataclass(slots=True)
class Outcome:
    """Of one decoder.

    Attributes:
        messages: how many it was given.
        accepted: how many of them it took.
        refused: how many it refused, by reason.
        crashes: one of each place.
        slowest_s: longest time for one message.
        memory: resident bytes of the process, after so many messages.
    """

    decoder: str
    messages: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    crashes: dict[str, Crash] = field(default_factory=dict)
    slowest_s: float = 0.0
    memory: list[tuple[int, int]] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Bytes a message, by the line through the samples after the warm-up; 0 for too few."""
        samples = self.memory[int(_WARM_UP * len(self.memory)) :]
        if len(samples) < 3:
            return 0.0
        messages, resident = zip(*samples, strict=True)
        return float(np.polyfit(messages, resident, 1)[0])


def fuzz(decoder: Decoder, messages: int, seconds: float, random: Random) -> Outcome:
    """Give a decoder mutated messages until there were enough or the time is over.

    Args:
        decoder: which.
        messages: how many.
        seconds: at most so long.
        random: where the mutations come from.
    """
    outcome = Outcome(decoder.name)
    end_s = time.monotonic() + seconds
    between = max(messages // _SAMPLES, 1)
    while outcome.messages < messages and time.monotonic() < end_s:
        _give(decoder, mutated(decoder.seeds, random), outcome)
        if outcome.messages % between == 0:
            outcome.memory.append((outcome.messages, _resident()))
    return outcome


def crash_of(decoder: Decoder, message: Message) -> Crash | None:
    """What a message does to a decoder: None where it is taken or refused by name."""
    outcome = Outcome(decoder.name)
    _give(decoder, message, outcome)
    return next(iter(outcome.crashes.values()), None)


def _give(decoder: Decoder, message: Message, outcome: Outcome) -> None:
    outcome.messages += 1
    begin_s = time.perf_counter()
    try:
        decoder.decode(message)
    except decoder.refusals as error:
        outcome.refused[_reason(error)] += 1
    except Exception as error:  # noqa: BLE001 - any error that is not the decoder's own is what is looked for
        where = _place(error)
        outcome.crashes.setdefault(where, Crash(decoder.name, where, repr(error), message))
    else:
        outcome.accepted += 1
    outcome.slowest_s = max(outcome.slowest_s, time.perf_counter() - begin_s)


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, DecodeError) else type(error).__name__


def _place(error: BaseException) -> str:
    """Error type and the innermost line of our own code: libraries' lines say less and change."""
    frames: Iterable[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/site-packages/" not in frame.filename]
    last = ours[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} ({last.name})"


def _resident() -> int:
    return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
