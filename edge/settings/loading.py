"""From the file to settings: read, checked, its paths made absolute; what is wrong is told by its key."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from alfa.errors import BadInput
from alfa.tables import first_problem, read_toml
from edge.addresses import IPC
from edge.settings.sources import FolderSource, VideoSource
from edge.settings.tables import LineSettings, PathSettings
from edge.settings.whole import ENVIRONMENT, Settings

# sun_path holds 108 bytes; the longest socket name we add to the runtime directory must fit beside it.
_LONGEST_SOCKET_PATH = 107


def load_settings(config: Path) -> Settings:
    """Read, validate and resolve a config.toml.

    Raises:
        BadInput: file missing or malformed, unknown key, wrong type, value out of bounds; names the key.
    """
    table = read_toml(config)
    _require_known_tables()
    try:
        settings = Settings(**table)
    except ValidationError as error:
        raise _problem(config, error) from error
    except SettingsError as error:
        raise BadInput("environment", "ALFA__...", None, f"cannot be used: {error}") from error
    return _resolved(settings, config)


def _require_known_tables() -> None:
    """pydantic-settings passes over a variable of a table that it does not know: a slip would have no effect.

    Raises:
        BadInput: a variable with our prefix names no table.
    """
    for variable in os.environ:
        if variable.upper().startswith(ENVIRONMENT):
            table = variable[len(ENVIRONMENT) :].partition("__")[0].lower()
            if table not in Settings.model_fields:
                known = ", ".join(Settings.model_fields)
                raise BadInput("environment", variable, None, f"no table '{table}'; the tables are {known}")


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
