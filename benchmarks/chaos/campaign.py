"""A campaign: faults upon a plant in every order, then quiet, then the account."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.chaos.audit import Audit, audited
from benchmarks.chaos.faults import Faults
from benchmarks.chaos.plant import READY_TIMEOUT_S, Plant
from benchmarks.chaos.small_disk import SmallDisk
from benchmarks.chaos.supervisor import UncausedEnd
from benchmarks.line_plant import ModelName

# Of the faults so many find the plant well; the others fall into the recovery from those before.
_SHARE_WHEN_WELL = 0.6
_LONGEST_GAP_S = 2.0
_HEALED_S = 1.0
# Three missed beats: what docs/plc.md tells the PLC's programmer to wait for.
WATCHDOG_BEATS = 3
_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a campaign showed.

    Attributes:
        audit: of parts and registers.
        faults: how many, by kind.
        skipped: kinds that this machine cannot have, and why.
        ready_s: of each restart of the detector, the time until it was READY.
        uncaused: services that ended by themselves.
        results: how many parts of the record are OK, NG and FAULT.
    """

    audit: Audit
    faults: dict[str, int]
    skipped: dict[str, str]
    ready_s: list[float]
    uncaused: list[UncausedEnd]
    results: dict[str, int]


def run_campaign(
    directory: Path, model: ModelName, seconds: float, seed: int, most_faults: int = 0
) -> Outcome:
    """Start a plant and bring faults upon it.

    Args:
        directory: empty; config, logs, record, the PLC's history and `faults.jsonl` go there.
        model: `tiny` or `alfa-mini`.
        seconds: how long faults come.
        seed: of their order.
        most_faults: stop after so many; 0 for no bound.

    Raises:
        Fault: the plant does not become READY, or does not recover.
    """
    random = Random(seed)  # noqa: S311 - reproducible, and no secret
    plant = Plant(directory, model)
    with SmallDisk(plant.settings.paths.state) as disk, plant:
        plant.start()
        faults = Faults(plant, disk, directory / "faults.jsonl", random)
        _bring_all(plant, faults, random, time.monotonic() + seconds, most_faults)
        plant.watch(plant.is_quiet, READY_TIMEOUT_S, "end of the last fault")
        faults.heal()
        plant.watch_for(_HEALED_S)
        plant.watch(plant.all_ready, READY_TIMEOUT_S, "recovery of all")
        faults.end()
        plant.finish()
        record = plant.record()
        watchdog_s = WATCHDOG_BEATS * plant.plc.heartbeat_ms / 1000
        return Outcome(
            audited(plant.witness.captured, record, plant.shown(), faults.losses, watchdog_s),
            faults.counts,
            faults.skipped,
            _ready_s(plant),
            plant.supervisor.uncaused,
            {result: sum(row.result == result for row in record) for result in ("OK", "NG", "FAULT")},
        )


def _bring_all(plant: Plant, faults: Faults, random: Random, end_s: float, most: int) -> None:
    """Each kind once in a random order, and again: a short campaign has as many kinds as it can."""
    brought = 0
    while True:
        planned = faults.every_kind()
        random.shuffle(planned)
        for fault in planned:
            if time.monotonic() > end_s or (most and brought == most):
                return
            # Left out here, so that a seed means the same order on every machine.
            if fault.kind in faults.skipped:
                continue
            plant.watch_for(random.uniform(0, _LONGEST_GAP_S))
            if random.random() < _SHARE_WHEN_WELL or fault.needs_all_well:
                plant.watch(
                    lambda: plant.is_quiet() and plant.all_ready(), READY_TIMEOUT_S, "recovery of all"
                )
            faults.bring(fault)
            brought += 1


def _ready_s(plant: Plant) -> list[float]:
    """From each start of the detector, the first left out, until it was READY; of those that lived to be."""
    starts = [at_ns for name, at_ns in plant.supervisor.started if name == plant.detector]
    readies = sorted(plant.witness.ready_ns.values())
    seconds = []
    for start_ns, next_ns in zip(starts, [*starts[1:], time.monotonic_ns()], strict=True):
        seconds += [(ready - start_ns) / _NS_PER_S for ready in readies if start_ns < ready < next_ns][:1]
    return seconds[1:]
