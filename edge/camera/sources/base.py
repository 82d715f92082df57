"""What a source of images is to the camera service."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

# Between attempts to have a camera back.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """One image of one part. `pixels` (H, W, C) uint8 belongs to the receiver; nobody changes it again."""

    pixels: npt.NDArray[np.uint8]
    colour: Literal["rgb", "bgr", "grey"]
    part_id: str = ""
    mono_ns: int = field(default_factory=time.monotonic_ns)
    wall_ns: int = field(default_factory=time.time_ns)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part came by, but there is no image of it: it still counts."""

    part_id: str
    why: str
    mono_ns: int = field(default_factory=time.monotonic_ns)
    wall_ns: int = field(default_factory=time.time_ns)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why no images of parts come at present.

    Attributes:
        name: fixed, as used in counters and logs, such as `camera_lost`.
        detail: for a person.
    """

    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


class End:
    """A finite source has no more parts."""


END: Final = End()

Shot: TypeAlias = Captured | Unreadable


class ImageSource(Protocol):
    """A camera, or what stands in for one. Used from one thread."""

    @property
    def rate_hz(self) -> float:
        """Parts a second at which `read` wants to be called; 0: the source itself sets the pace."""

    @property
    def trouble(self) -> Trouble | None:
        """Why no images come at present; the source goes on trying by itself, for ever."""

    def open(self) -> None:
        """Get ready to read; a device that is not there is trouble, and no error.

        Raises:
            BadInput: a file or directory that the settings name is missing or is not what they say.
        """

    def read(self, timeout_s: float) -> Shot | End | None:
        """The next part, `END` after the last one, or None when there was none within `timeout_s`."""

    def close(self) -> None:
        """Let go of the device or file; may be called twice."""
