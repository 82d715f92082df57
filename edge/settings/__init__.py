"""config.toml -> typed settings. Every key has a default or is required, bounds, and a description.

Relative paths in the file are relative to the file. Environment variables `ALFA__TABLE__KEY` override it.

    tables, sources    the keys of each table
    whole              what tables must agree on, and the endpoints that follow from them
    environment        variables that override keys
    loading            from the file to settings
"""

from edge.settings.loading import load_settings
from edge.settings.sources import DeviceSource, FolderSource, Source, SyntheticSource, VideoSource
from edge.settings.tables import AlarmSettings, DetectorSettings, LineSettings, PlcSettings, ResultsSettings
from edge.settings.whole import Settings

__all__ = [
    "AlarmSettings",
    "DetectorSettings",
    "DeviceSource",
    "FolderSource",
    "LineSettings",
    "PlcSettings",
    "ResultsSettings",
    "Settings",
    "Source",
    "SyntheticSource",
    "VideoSource",
    "load_settings",
]
