"""Where a prompt set takes effect: its file, the lines that use it, and the detectors that judge them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alfa.errors import BadInput
from alfa.prompting.promptset import available_classes, file_stem, require_inside
from edge.settings import LineSettings, Settings


@dataclass(frozen=True, slots=True)
class Place:
    """One prompt file of the box.

    Attributes:
        name: of the file, without its ending.
        path: in `paths.prompts`, where a set is put; there may be no file yet.
        in_force: the file that is read today: `path`, or one shipped with the product; None without either.
        lines: those that use it, by name.
    """

    name: str
    path: Path
    in_force: Path | None
    lines: Mapping[str, LineSettings]

    @property
    def detectors(self) -> list[str]:
        """Names of the detectors that must reload when the file changes."""
        return sorted({line.detector for line in self.lines.values()})


def chosen_line(config: Path, settings: Settings, line: str | None) -> str:
    """The line that is meant: the one named, or the only one there is.

    Raises:
        BadInput: no line has this name, or there are several and none is named.
    """
    known = ", ".join(settings.lines)
    if line is None:
        if len(settings.lines) > 1:
            raise BadInput("--line", "", None, f"{config} has several lines; say which: {known}")
        return next(iter(settings.lines))
    if line not in settings.lines:
        raise BadInput("--line", "", line, f"{config} has no such line; its lines are {known}")
    return line


def place_of_line(settings: Settings, line: str) -> Place:
    """The prompt file of a line of the settings."""
    return place_of_class(settings, settings.lines[line].prompts)


def place_of_class(settings: Settings, class_name: str) -> Place:
    """The prompt file of a class, whether a line uses it or not.

    Raises:
        BadInput: the directory for prompt files does not exist, the class cannot be a file's name, or its
            file is a link to elsewhere, which the history would copy.
    """
    directory, name = settings.paths.prompts, file_stem(class_name)
    if not name:
        raise BadInput("--class", "", class_name, "give letters or digits, such as `metal nut`")
    if not directory.is_dir():
        raise BadInput("paths.prompts", "", str(directory), "no such directory; correct the path, or make it")
    in_force = available_classes(directory).get(name)
    return Place(
        name=name,
        path=directory / f"{name}.toml",
        in_force=None if in_force is None else require_inside(in_force),
        lines={key: line for key, line in settings.lines.items() if file_stem(line.prompts) == name},
    )
