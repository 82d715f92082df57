"""Putting a prompt set in force, and taking it back: check, keep the old one, replace, have detectors reload.

Each file is replaced whole. A machine that stops between two of them goes on judging with what its detectors
have loaded; the same command again, or a rollback, makes the files fit.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alfa.calibration import Calibration
from alfa.errors import BadInput, Fault
from alfa.files import write_atomic
from alfa.prompting.promptset import PromptSet, load_prompt_set
from edge.prompts import history
from edge.prompts.history import Kept
from edge.prompts.place import Place

_RELOAD_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Replacement:
    """A prompt set that may be put in force: it loads, and its lines' calibrations are for it.

    Attributes:
        place: where.
        prompt_set: the new set.
        files: content of each file to be replaced, the prompt file last.
    """

    place: Place
    prompt_set: PromptSet
    files: Mapping[Path, bytes]


def plan(place: Place, prompts: Path, calibrations: Mapping[str, Path]) -> Replacement:
    """Check a prompt file for a place; nothing is written.

    Args:
        place: where it is to be in force.
        prompts: the file.
        calibrations: by line, those that come with it; the other lines keep theirs.

    Raises:
        BadInput: a file is damaged, or a line's calibration was made for other prompts, with which its
            detector would refuse to reload.
    """
    prompt_set = load_prompt_set(prompts)
    files: dict[Path, bytes] = {}
    for name, line in place.lines.items():
        if line.calibration is None:
            continue
        comes = calibrations.get(name, line.calibration)
        _require_for(comes, prompt_set, prompts, f"lines.{name}.calibration")
        if name in calibrations:
            files[line.calibration] = comes.read_bytes()
    files[place.path] = prompts.read_bytes()
    return Replacement(place, prompt_set, files)


def put_in_force(replacement: Replacement) -> Kept | None:
    """Keep the old files in the history, then replace them; the entry, or None where nothing was in force.

    Raises:
        Fault: a file cannot be written; those before it are replaced.
    """
    try:
        kept = history.keep(replacement.place)
        for path, content in replacement.files.items():
            write_atomic(path, content)
    except OSError as error:
        where = error.filename or replacement.place.path
        raise Fault("not_written", f"{where}: {error.strerror}") from error
    return kept


def is_in_force(replacement: Replacement) -> bool:
    """Whether every file is there already, byte for byte."""
    return all(path.is_file() and path.read_bytes() == content for path, content in replacement.files.items())


def reload_command(detector: str) -> list[str]:
    """What has a detector load its files again; it goes on judging meanwhile."""
    return ["systemctl", "reload", f"alfa-detector@{detector}"]


def have_reloaded(place: Place) -> None:
    """Have systemd ask every detector of the place to reload.

    Raises:
        Fault: systemd did not do it; the files are in place all the same.
    """
    for detector in place.detectors:
        command = reload_command(detector)
        try:
            ended = subprocess.run(  # noqa: S603 - a list, and names that the settings allow
                command, capture_output=True, text=True, timeout=_RELOAD_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _not_reloaded(command, str(error)) from error
        if ended.returncode:
            raise _not_reloaded(command, ended.stderr or f"exit {ended.returncode}")


def _not_reloaded(command: list[str], why: str) -> Fault:
    detail = f"{' '.join(command)}: {' '.join(why.split())}; the file is in place all the same"
    return Fault("reload_failed", detail)


def _require_for(calibration: Path, prompt_set: PromptSet, prompts: Path, key: str) -> None:
    made_for = Calibration.load(calibration).prompts_hash
    if made_for == prompt_set.content_hash:
        return
    advice = (
        f"was made for prompts {made_for}, not {prompt_set.content_hash}: the detector would refuse to "
        f"reload; run alfa-calibrate --prompts {prompts} and give its file with --calibration"
    )
    raise BadInput(calibration, key, None, advice)
