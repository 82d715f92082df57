"""From the settings of a source to the source."""

from __future__ import annotations

from edge.camera.image_watch import ImageWatch
from edge.camera.sources.base import ImageSource
from edge.settings import DeviceSource, FolderSource, Source, SyntheticSource, VideoSource


def make_source(settings: Source) -> ImageSource:
    """The source these settings describe, not yet open; OpenCV and the renderer load only where used."""
    match settings:
        case FolderSource():
            from edge.camera.sources.folder import ImageFolder

            return ImageFolder(settings)
        case VideoSource():
            from edge.camera.sources.video import VideoFile

            return VideoFile(settings)
        case DeviceSource():
            from edge.camera.sources.device import CaptureDevice

            return CaptureDevice(settings)
        case SyntheticSource():
            from edge.camera.sources.synthetic import SyntheticLine

            return SyntheticLine(settings)


def make_watch(settings: Source, now_s: float) -> ImageWatch:
    """What watches this source from now on: only a real camera can hang, others may pause and repeat."""
    if isinstance(settings, DeviceSource):
        return ImageWatch(settings.silent_after_ms / 1000, settings.frozen_after, now_s)
    return ImageWatch(silent_after_s=0, frozen_after=0, now_s=now_s)
