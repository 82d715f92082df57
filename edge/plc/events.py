"""What the PLC's thread tells the results service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Connected:
    """The link stands; the PLC sees the safe state until `resume`.

    Attributes:
        again: it had stood before and was lost, and this was not told yet: once an outage (`Outage`).
    """

    again: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link is lost, or could not be made for the first time."""

    detail: str


@dataclass(frozen=True, slots=True)
class ServiceHung:
    """The service had not fed the driver for too long; the PLC sees the safe state until `resume`."""


@dataclass(frozen=True, slots=True)
class EchoLost:
    """The PLC answers, but its program does not copy the line's heartbeat any more."""

    line: str


@dataclass(frozen=True, slots=True)
class EchoBack:
    """The PLC's program copies the line's heartbeat again."""

    line: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The PLC acknowledged what it had been shown."""

    line: str
    ng_events: int
    fault_events: int


@dataclass(frozen=True, slots=True)
class ResetAsked:
    """The PLC asked to start over, and had been shown so many events."""

    line: str
    ng_events: int
    fault_events: int


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """The PLC paused the line or let it run again."""

    line: str
    paused: bool


Event: TypeAlias = (
    Connected | Disconnected | ServiceHung | EchoLost | EchoBack | Acknowledged | ResetAsked | PauseAsked
)
