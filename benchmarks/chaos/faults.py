"""The faults: what is done to a plant, how it is undone, and which loss the PLC must see.

Each is one line of the campaign's log. None waits for the plant to recover, so that faults overlap.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

import zmq

from benchmarks.chaos.audit import Loss
from benchmarks.chaos.plant import Plant, camera_unit
from benchmarks.chaos.plc_proxy import Wire
from benchmarks.chaos.small_disk import SmallDisk
from benchmarks.fuzz.mutations import Message, mutated
from edge.messages import Lease, ReplayRequest, encode_lease, encode_replay_request, frame_topic

# The units' watchdogs wait for 10 to 30 s; what follows is the same after 3.
_WATCHDOG_S = 3.0
_PAUSES_S = (0.3, 1.5)
_WIRE_S = 3.0
_DISK_S = 4.0
_PROMPTS_S = 1.5
_CLOCKS_S = (-600, 100_000)
_GARBAGE_MESSAGES = 200
_GARBAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come: its kind, and whom it hits."""

    kind: str
    target: str

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"

    @property
    def needs_all_well(self) -> bool:
        """A service that starts takes no reload: the signal would end it."""
        return self.kind == "broken prompts"


@dataclass(slots=True)
class _OpenLoss:
    what: str
    lines: tuple[str, ...]
    mono_ns: int
    given_back: Callable[[], bool]


@dataclass(slots=True)
class Faults:
    """Brings faults upon a plant, and notes what each takes away.

    Attributes:
        losses: that are over.
        counts: faults by kind.
        skipped: kinds that this machine cannot have, and why.
    """

    plant: Plant
    disk: SmallDisk
    log: Path
    random: Random
    losses: list[Loss] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    _open: list[_OpenLoss] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plant.every_turn.append(self._close_losses)
        if not self.disk.there:
            self.skipped["full disk"] = "needs root, to mount a small tmpfs"
        if not _has_time_namespaces():
            self.skipped["skewed clock"] = "needs root and unshare --time"

    def every_kind(self) -> list[Planned]:
        """Every kind of fault with everyone it may hit, the skipped ones as well."""
        plant = self.plant
        cameras = [camera_unit(line) for line in plant.lines]
        services = [*cameras, plant.detector, plant.results]
        planned = [Planned(kind, service) for kind in ("kill", "hang", "pause") for service in services]
        planned += [Planned(kind, camera) for kind in ("restart", "skewed clock") for camera in cameras]
        planned += [Planned(f"PLC {wire}", "plc") for wire in Wire if wire is not Wire.WHOLE]
        return [
            *planned,
            Planned("full disk", plant.results),
            Planned("garbage", "sockets"),
            Planned("broken prompts", plant.detector),
        ]

    def bring(self, planned: Planned) -> None:
        """Let it happen; what undoes it comes by itself."""
        self.counts[planned.kind] = self.counts.get(planned.kind, 0) + 1
        self._note(str(planned))
        kind, _, wire = planned.kind.partition("PLC ")
        if wire:
            self._spoil_wire(Wire(wire))
        else:
            self._by_kind()[kind](planned.target)

    def heal(self) -> None:
        """Undo everything that may still be in force."""
        self._note("healed")
        self.plant.proxy.be(Wire.WHOLE)
        self.disk.empty()
        for name in self.plant.supervisor.units:
            self.plant.supervisor.signal(name, signal.SIGCONT)

    def end(self) -> None:
        """Losses that are not over end with the campaign."""
        now_ns = time.monotonic_ns()
        self.losses += [Loss(each.what, each.lines, each.mono_ns, now_ns) for each in self._open]
        self._open.clear()

    def _by_kind(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "kill": self._kill,
            "hang": self._hang,
            "pause": self._pause,
            "restart": self._restart,
            "skewed clock": self._restart_in_another_time,
            "full disk": self._fill_disk,
            "garbage": self._talk_nonsense,
            "broken prompts": self._break_prompts,
        }

    def _kill(self, target: str) -> None:
        self._lose(target, self._started_again(target))
        self.plant.supervisor.signal(target, signal.SIGKILL)

    def _hang(self, target: str) -> None:
        """As long as the watchdog waits, and then as it does."""
        self._lose(target, self._started_again(target))
        self.plant.supervisor.signal(target, signal.SIGSTOP)
        process = self.plant.supervisor.units[target].process

        def end() -> None:
            if self.plant.supervisor.units[target].process is process:
                self._note(f"watchdog kills {target}")
                self.plant.supervisor.signal(target, signal.SIGKILL)

        self.plant.later(_WATCHDOG_S, end)

    def _pause(self, target: str) -> None:
        seconds = self.random.choice(_PAUSES_S)
        assert self.plant.settings.results.lost_after_ms / 1000 < max(_PAUSES_S)
        self._note(f"{target} stands still for {seconds} s")
        if seconds == max(_PAUSES_S):
            self._lose(target, self._heard_after(target, time.monotonic() + seconds))
        self.plant.supervisor.signal(target, signal.SIGSTOP)
        self.plant.later(seconds, partial(self.plant.supervisor.signal, target, signal.SIGCONT))

    def _restart(self, target: str) -> None:
        """It beats until it has ended: only then it is lost."""
        given_back, process = self._started_again(target), self.plant.supervisor.units[target].process
        self.plant.supervisor.signal(target, signal.SIGTERM)

        def lose_when_ended() -> None:
            if process is not None and process.poll() is None:
                self.plant.later(0, lose_when_ended)
            else:
                self._lose(target, given_back)

        lose_when_ended()

    def _restart_in_another_time(self, target: str) -> None:
        offset_s = self.random.choice(_CLOCKS_S)
        self._note(f"the next clock of {target} is {offset_s} s off")
        self.plant.supervisor.units[target].prefix = _in_another_time(offset_s)
        self._restart(target)

    def _fill_disk(self, target: str) -> None:
        self.disk.fill()
        self.plant.later(_DISK_S, self.disk.empty)

    def _spoil_wire(self, wire: Wire) -> None:
        end_s = time.monotonic() + _WIRE_S
        if wire is not Wire.SLOW:
            self._begin_loss("plc", self.plant.lines, lambda: time.monotonic() > end_s)
        self.plant.proxy.be(wire)
        self.plant.later(_WIRE_S, partial(self.plant.proxy.be, Wire.WHOLE))

    def _talk_nonsense(self, target: str) -> None:
        """To every socket what is no ZeroMQ, and to those that listen what is nearly a message of ours."""
        runtime = self.plant.settings.paths.runtime
        for path in sorted(runtime.glob("*.sock")):
            _send_bytes(path, self.random.randbytes(_GARBAGE_BYTES))
        with zmq.Context() as context:
            for line in self.plant.lines:
                leases = [[bytes(part) for part in encode_lease(Lease(line, 1, 2, 3, (3,)))]]
                topic = [b"\x01" + frame_topic(line) * 50]
                self._send_messages(
                    context, zmq.XSUB, self.plant.settings.camera_endpoint(line), [*leases, topic]
                )
                requests = [[bytes(part) for part in encode_replay_request(ReplayRequest(line))]]
                replays = self.plant.settings.replay_endpoint(self.plant.settings.lines[line].detector)
                self._send_messages(context, zmq.DEALER, replays, requests)

    def _send_messages(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str, seeds: list[Message]
    ) -> None:
        with context.socket(kind) as sender:
            sender.setsockopt(zmq.LINGER, 200)
            sender.connect(endpoint)
            for _ in range(_GARBAGE_MESSAGES):
                try:
                    sender.send_multipart(mutated(seeds, self.random) or [b""], zmq.DONTWAIT)
                except zmq.Again:
                    # Nobody is there, or it takes no more: as it should.
                    return

    def _break_prompts(self, target: str) -> None:
        """A reload of a broken file is refused; the right one is loaded afterwards.

        It is over before the next fault comes: a start with a broken file is bad input.
        """
        prompts = self.plant.prompts
        right = prompts.with_suffix(".right")
        shutil.copy(prompts, right)
        prompts.write_bytes(self.random.randbytes(64))
        self.plant.supervisor.signal(target, signal.SIGHUP)
        self.plant.watch_for(_PROMPTS_S)
        right.replace(prompts)
        self.plant.supervisor.signal(target, signal.SIGHUP)

    def _lose(self, target: str, given_back: Callable[[], bool]) -> None:
        what = target.partition("-")[0]
        lines = [line for line in self.plant.lines if target in (camera_unit(line), self.plant.detector)]
        self._begin_loss(what, tuple(lines) or self.plant.lines, given_back)

    def _begin_loss(self, what: str, lines: tuple[str, ...], given_back: Callable[[], bool]) -> None:
        self._open.append(_OpenLoss(what, lines, time.monotonic_ns(), given_back))

    def _close_losses(self) -> None:
        now_ns = time.monotonic_ns()
        over = [each for each in self._open if each.given_back()]
        self.losses += [Loss(each.what, each.lines, each.mono_ns, now_ns) for each in over]
        self._open = [each for each in self._open if each not in over]

    def _started_again(self, target: str) -> Callable[[], bool]:
        """Whether the next start of a unit has been heard."""
        unit = self.plant.supervisor.units[target]
        starts, service = unit.starts, target.partition("-")[0]
        epochs = {key: epoch for key, (epoch, _) in self.plant.witness.state.items()}

        def heard() -> bool:
            state, heard_s = self.plant.witness.state, self.plant.witness.heard_s
            mine = [key for key in state if key[0] == service and target in (service, camera_unit(key[1]))]
            # The start that was taken away may have been heard for the first time after this was asked.
            return unit.starts > starts and all(
                state[key][0] != epochs.get(key) and heard_s[key] > unit.started_s for key in mine
            )

        return heard

    def _heard_after(self, target: str, at_s: float) -> Callable[[], bool]:
        service = target.partition("-")[0]
        keys = [(service, line) for line in self.plant.lines if target in (service, camera_unit(line))]
        heard_s = self.plant.witness.heard_s
        return lambda: all(heard_s.get(key, 0.0) > at_s for key in keys)

    def _note(self, event: str) -> None:
        entry = {"mono_ns": time.monotonic_ns(), "utc": datetime.now(UTC).isoformat(), "event": event}
        with self.log.open("a", encoding="utf-8") as log:
            print(json.dumps(entry), file=log)


def _send_bytes(path: Path, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(content)
        except OSError:
            # Its owner is dead at the moment, or hung up on us: both are right.
            return


def _in_another_time(offset_s: int) -> tuple[str, ...]:
    """What starts a command with another monotonic clock."""
    return ("unshare", "--time", "--monotonic", str(offset_s), "--fork", "--kill-child")


def _has_time_namespaces() -> bool:
    try:
        command = (*_in_another_time(1), "true")
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
    except FileNotFoundError:
        return False
