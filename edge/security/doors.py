"""The policy: which roles each TCP endpoint of the line lets in, and who stands behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.security.keys import Role


class Door(StrEnum):
    """A kind of endpoint, after what it is for; also its ZAP domain."""

    FRAMES = "frames"
    VERDICTS = "verdicts"
    MAPS = "maps"
    REPLAY = "replay"
    RESULTS = "results"


# Nobody sends frames to a detector: it fetches them from the peer that holds its camera's secret key.
SERVED_BY: Final[Mapping[Door, Role]] = {
    Door.FRAMES: Role.CAMERA,
    Door.VERDICTS: Role.DETECTOR,
    Door.MAPS: Role.DETECTOR,
    Door.REPLAY: Role.DETECTOR,
    Door.RESULTS: Role.RESULTS,
}
LETS_IN: Final[Mapping[Door, frozenset[Role]]] = {
    # Results counts what the camera's beats say was captured.
    Door.FRAMES: frozenset({Role.DETECTOR, Role.RESULTS}),
    # A camera may wait for its detector's beat.
    Door.VERDICTS: frozenset({Role.RESULTS, Role.SUBSCRIBER, Role.CAMERA}),
    Door.MAPS: frozenset({Role.RESULTS, Role.SUBSCRIBER}),
    Door.REPLAY: frozenset({Role.RESULTS, Role.SUBSCRIBER}),
    Door.RESULTS: frozenset({Role.SUBSCRIBER}),
}


@dataclass(frozen=True, slots=True)
class Doorway:
    """A TCP endpoint: what it is for, and the name of the key of the service behind it."""

    door: Door
    key: str
