"""Which prompt set a line is judged with at this moment: its last verdict names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alfa.errors import BadInput
from alfa.prompting.promptset import PromptSet, load_prompt_set
from edge.prompts import history
from edge.prompts.place import Place, place_of_line
from edge.results.reader import RecordReader
from edge.settings import Settings


@dataclass(frozen=True, slots=True)
class RunningSet:
    """A prompt set and the file that holds it.

    Attributes:
        prompt_set: its content.
        path: the file in force, or one of the history where a reload is still owed.
        is_told: whether a verdict named it; False where the line has none yet and the file in force is meant.
    """

    prompt_set: PromptSet
    path: Path
    is_told: bool

    def __str__(self) -> str:
        return str(self.path) if self.is_told else f"{self.path} (in force, no part judged yet)"


def running_set(settings: Settings, line: str) -> RunningSet:
    """The set of the line's last judged part in the record.

    Raises:
        BadInput: its file is gone, or there is no verdict and no file.
        Fault: the record cannot be read.
    """
    place = place_of_line(settings, line)
    told = _last_hash(settings.database, line)
    if told:
        return _with_hash(place, told, line)
    if place.in_force is None:
        raise BadInput("--line", "", line, f"has no verdict yet and no prompt file {place.path}")
    return RunningSet(load_prompt_set(place.in_force), place.in_force, is_told=False)


def _last_hash(database: Path, line: str) -> str:
    if not database.exists():
        return ""
    with RecordReader.open(database) as record:
        return record.last_prompts(line)


def _with_hash(place: Place, prompts_hash: str, line: str) -> RunningSet:
    kept = [entry.path for entry in history.entries(place) if entry.prompts_hash == prompts_hash]
    for path in [*([place.in_force] if place.in_force else []), *kept]:
        try:
            prompt_set = load_prompt_set(path)
        except BadInput:
            # The file in force may be broken: then it does not run.
            continue
        if prompt_set.content_hash == prompts_hash:
            return RunningSet(prompt_set, path, is_told=True)
    advice = f"runs prompts {prompts_hash}, of which neither {place.path} nor its history has a copy"
    raise BadInput("--line", "", line, f"{advice}; compare with a file instead")
