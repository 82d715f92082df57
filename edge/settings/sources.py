"""The tables of the sources that images come from, `[lines.NAME.source]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from alfa.tables import Table

# OpenCV takes a C int, the hundreds of which are its choice of API.
_LARGEST_DEVICE_NUMBER = 99


class FolderSource(Table):
    """Images of a directory, by name; what a line looks like without a camera."""

    kind: Literal["folder"]
    path: Path = Field(description="directory of images")
    rate_hz: float = Field(2.0, gt=0, le=1000, description="parts a second")
    loop: bool = Field(False, description="start over at the end instead of finishing")
    limit: int = Field(0, ge=0, description="stop after this many parts; 0 for all")


class VideoSource(Table):
    """A video file, frame by frame."""

    kind: Literal["video"]
    path: Path = Field(description="video file that OpenCV can read")
    rate_hz: float = Field(0.0, ge=0, le=1000, description="parts a second; 0 for the file's own rate")
    loop: bool = Field(False, description="start over at the end instead of finishing")
    limit: int = Field(0, ge=0, description="stop after this many parts; 0 for all")


class DeviceSource(Table):
    """A camera through OpenCV: a device number, a device path or an RTSP address."""

    kind: Literal["device"]
    device: int | str = Field(description="0, /dev/video0 or rtsp://...")
    width: int = Field(0, ge=0, le=65535, description="asked of the camera; 0 leaves its own")
    height: int = Field(0, ge=0, le=65535, description="asked of the camera; 0 leaves its own")
    rate_hz: float = Field(0.0, ge=0, le=1000, description="asked of the camera; 0 leaves its own")
    limit: int = Field(0, ge=0, description="stop after this many parts; 0 for no end")
    silent_after_ms: int = Field(
        5000,
        ge=0,
        le=86_400_000,
        description="no image for longer is the fault camera_silent; 0 for a camera whose trigger may rest",
    )
    frozen_after: int = Field(
        5,
        ge=0,
        le=100_000,
        description="so many equal images in a row are the fault camera_frozen: a sensor's noise never "
        "repeats. 0: never; a compressed stream of a scene at rest may repeat",
    )

    @field_validator("frozen_after")
    @classmethod
    def _one_image_repeats_nothing(cls, frozen_after: int) -> int:
        if frozen_after == 1:
            raise ValueError("one image is no repetition; give 0 or at least 2")
        return frozen_after

    @field_validator("device")
    @classmethod
    def _device_can_exist(cls, device: int | str) -> int | str:
        named = str(device).strip()
        if not named or named.startswith("-") or (named.isdecimal() and int(named) > _LARGEST_DEVICE_NUMBER):
            raise ValueError("give a device number, a device path or an address")
        return device


class SyntheticSource(Table):
    """Rendered parts with known defects, the same for the same seed: demo and tests."""

    kind: Literal["synthetic"]
    seed: int = Field(0, ge=0, lt=2**32, description="same seed, same parts")
    rate_hz: float = Field(2.0, gt=0, le=1000, description="parts a second")
    defect_rate: float = Field(0.25, ge=0, le=1, description="share of defective parts")
    width: int = Field(640, ge=64, le=8192, description="pixels")
    height: int = Field(480, ge=64, le=8192, description="pixels")
    limit: int = Field(0, ge=0, description="stop after this many parts; 0 for no end")


Source = Annotated[FolderSource | VideoSource | DeviceSource | SyntheticSource, Field(discriminator="kind")]
