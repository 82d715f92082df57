"""From the file to settings: read, checked, its paths made absolute; what is wrong is told by its key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from alfa.errors import BadInput
from alfa.tables import first_problem, read_toml
from edge.addresses import IPC
from edge.settings.environment import FileSettings, require_known_tables, told_by_variable, variables
from edge.settings.sources import FolderSource, VideoSource
from edge.settings.tables import LineSettings, PathSettings
from edge.settings.whole import Settings

# sun_path holds 108 bytes; the longest socket name we add to the runtime directory must fit beside it.
_LONGEST_SOCKET_PATH = 107


def load_settings(config: Path) -> Settings:
    """Read, validate and resolve a config.toml.

    Raises:
        BadInput: file missing or malformed, unknown key, wrong type, value out of bounds; names the key, or
            the variable that set it.
    """
    table = read_toml(config)
    require_known_tables()
    try:
        settings = Settings(**table)
    except ValidationError as error:
        raise _told(_problem(config, error), config, table) from error
    except SettingsError as error:
        raise BadInput("environment", "ALFA__...", None, f"cannot be used: {error}") from error
    return _resolved(settings, config)


def _told(found: BadInput, config: Path, table: dict[str, Any]) -> BadInput:
    """A problem by its place: a variable, where the file alone would not have it."""
    if not variables() or str(found) == _problem_of_file(config, table):
        return found
    return told_by_variable(found)


def _problem_of_file(config: Path, table: dict[str, Any]) -> str:
    try:
        FileSettings(**table)
    except ValidationError as error:
        return str(_problem(config, error))
    return ""


def _problem(config: Path, error: ValidationError) -> BadInput:
    """As `first_problem`, but by keys that are in the file: pydantic adds the kind of a source to them."""
    found = first_problem(config, error)
    key = re.sub(r"^(lines\..+?\.source)\.(?:folder|video|device|synthetic)(?=\.)", r"\1", found.key)
    return BadInput(found.where, key, found.value, found.advice)


def _resolved(settings: Settings, config: Path) -> Settings:
    """All paths absolute, seen from the file, so that a service's working directory does not matter."""
    home = config.resolve().parent
    paths = settings.paths.model_copy(
        update={name: (home / getattr(settings.paths, name)) for name in PathSettings.model_fields}
    )
    lines = {name: _resolved_line(line, home) for name, line in settings.lines.items()}
    network = settings.network
    if network is not None:
        network = network.model_copy(update={"keys": home / network.keys})
    resolved = settings.model_copy(update={"paths": paths, "lines": lines, "network": network})
    for endpoint in (
        *map(resolved.camera_endpoint, lines),
        *map(resolved.replay_endpoint, resolved.detectors()),
    ):
        if len(endpoint.removeprefix(IPC).encode()) > _LONGEST_SOCKET_PATH:
            raise BadInput(
                config,
                "paths.runtime",
                str(paths.runtime),
                f"makes socket names longer than {_LONGEST_SOCKET_PATH} bytes; use a shorter path",
            )
    return resolved


def _resolved_line(line: LineSettings, home: Path) -> LineSettings:
    update: dict[str, Any] = {
        name: home / path for name in ("bank", "calibration") if (path := getattr(line, name)) is not None
    }
    if isinstance(line.source, FolderSource | VideoSource):
        update["source"] = line.source.model_copy(update={"path": home / line.source.path})
    return line.model_copy(update=update)
