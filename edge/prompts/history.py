"""Prompt sets that were in force before, beside the prompt files, with the calibrations that belong to them.

{paths.prompts}/.history/{name}/{time}-{hash}.toml           the prompt file as it was
{paths.prompts}/.history/{name}/{time}-{hash}.{line}.json    the calibration of a line for these prompts

The prompt file is written last: an entry that a power cut left without one is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alfa.calibration import Calibration
from alfa.errors import BadInput
from alfa.files import write_atomic
from alfa.prompting.promptset import load_prompt_set
from edge.prompts.place import Place

_DIRECTORY = ".history"
_TIME = "%Y%m%dT%H%M%S%fZ"  # sorts by name as by time
_UNREADABLE = "unreadable"
_NAME = re.compile(rf"\d{{8}}T\d{{12}}Z-([0-9a-f]+|{_UNREADABLE})")


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry of the history.

    Attributes:
        path: the prompt file as it was.
        kept_at: when it was replaced, UTC.
        prompts_hash: its content hash; `unreadable` for a file that was no prompt file.
        calibrations: of the lines that had one for these prompts, by line.
    """

    path: Path
    kept_at: datetime
    prompts_hash: str
    calibrations: Mapping[str, Path]


def keep(place: Place) -> Kept | None:
    """Keep what is in force at a place, on disk when this returns; None where nothing is.

    What the newest entry holds already is not kept twice: an `apply` that was cut off is repeated.

    Raises:
        OSError: not writable, or disk full.
    """
    if place.in_force is None:
        return None
    content = {"toml": place.in_force.read_bytes()}
    prompts_hash = _hash_of(place.in_force)
    for line, settings in place.lines.items():
        if settings.calibration is not None and _is_for(settings.calibration, prompts_hash):
            content[f"{line}.json"] = settings.calibration.read_bytes()
    newest = next(iter(entries(place)), None)
    if newest is not None and _holds(newest, content):
        return newest
    stem = f"{datetime.now(UTC).strftime(_TIME)}-{prompts_hash}"
    for ending, held in reversed(content.items()):
        write_atomic(_directory(place) / f"{stem}.{ending}", held)
    return _entry(_directory(place) / f"{stem}.toml")


def entries(place: Place) -> list[Kept]:
    """The history of a place, newest first."""
    found = [path for path in _directory(place).glob("*.toml") if _NAME.fullmatch(path.stem)]
    return [_entry(path) for path in sorted(found, reverse=True)]


def before(place: Place) -> Kept:
    """The newest entry that is another set than the one in force.

    Raises:
        BadInput: there is none.
    """
    present = _UNREADABLE if place.in_force is None else _hash_of(place.in_force)
    for entry in entries(place):
        if entry.prompts_hash not in (present, _UNREADABLE):
            return entry
    raise BadInput(_directory(place), "", None, "holds no other set; nothing was applied before")


def find(place: Place, prompts_hash: str) -> Kept:
    """The newest entry whose hash begins so.

    Raises:
        BadInput: there is none, or several sets are meant.
    """
    history = entries(place)
    found = [entry for entry in history if entry.prompts_hash.startswith(prompts_hash)]
    hashes = ", ".join(dict.fromkeys(entry.prompts_hash for entry in found or history))
    if not prompts_hash or not found:
        advice = f"is not in the history of {place.name}; it holds {hashes or 'nothing yet'}"
        raise BadInput("HASH", "", prompts_hash, advice)
    if len({entry.prompts_hash for entry in found}) > 1:
        raise BadInput("HASH", "", prompts_hash, f"may be {hashes}; give more digits")
    return found[0]


def _directory(place: Place) -> Path:
    return place.path.parent / _DIRECTORY / place.name


def _entry(path: Path) -> Kept:
    time, _, prompts_hash = path.stem.partition("-")
    beside = path.parent.glob(f"{path.stem}.*.json")
    return Kept(
        path=path,
        kept_at=datetime.strptime(time, _TIME).replace(tzinfo=UTC),
        prompts_hash=prompts_hash,
        calibrations={each.name[len(path.stem) + 1 : -len(".json")]: each for each in beside},
    )


def _holds(entry: Kept, content: Mapping[str, bytes]) -> bool:
    held = {"toml": entry.path} | {f"{line}.json": path for line, path in entry.calibrations.items()}
    return all(ending in held and held[ending].read_bytes() == each for ending, each in content.items())


def _hash_of(path: Path) -> str:
    """A file that someone broke by hand is kept as well: it may be all there is of their work."""
    try:
        return load_prompt_set(path).content_hash
    except BadInput:
        return _UNREADABLE


def _is_for(calibration: Path, prompts_hash: str) -> bool:
    try:
        return Calibration.load(calibration).prompts_hash == prompts_hash
    except BadInput:
        return False
