"""A box with two lines that share a prompt file, and what its record says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from alfa.calibration import Binding, Calibration
from alfa.prompting.promptset import PromptSet, load_prompt_set, save_prompt_set
from edge.messages import Result, Verdict
from edge.results.record import Record

OLD = PromptSet("plate", ("A normal image of a plate.",), ("An abnormal image of a plate with rust.",))
NEW = dataclasses.replace(OLD, abnormal=("An abnormal image of a plate with a dent.",))


def calibration_for(prompt_set: PromptSet) -> Calibration:
    """Thresholds that say that they were made for these prompts."""
    binding = Binding("weights", prompt_set.content_hash, "", "method")
    return Calibration(
        n=20,
        alpha=0.05,
        score_median=0.2,
        score_threshold=0.4,
        map_median=0.1,
        map_threshold=0.3,
        **dataclasses.asdict(binding),
    )


@dataclass(frozen=True, slots=True)
class Box:
    """The directory of a box.

    Attributes:
        directory: holds config.toml; prompts in `prompts`, state in `var`.
        new: a prompt file elsewhere, that is to be applied.
    """

    directory: Path
    new: Path

    @property
    def config(self) -> Path:
        """Describes lines `left` and `right`, both of class `plate`."""
        return self.directory / "config.toml"

    @property
    def prompts(self) -> Path:
        """The prompt file in force."""
        return self.directory / "prompts" / "plate.toml"

    @property
    def hash(self) -> str:
        """Of the set in force."""
        return load_prompt_set(self.prompts).content_hash

    @property
    def history(self) -> list[Path]:
        """Files of the history, oldest first."""
        return sorted((self.directory / "prompts" / ".history" / "plate").glob("*"))

    def files(self) -> dict[Path, bytes]:
        """Everything in the box."""
        return {path: path.read_bytes() for path in self.directory.rglob("*") if path.is_file()}

    def record(self, *verdicts: Verdict) -> None:
        """Have the results service's record hold these."""
        record = Record.open(self.directory / "var" / "results.sqlite")
        record.append(verdicts)
        record.close()

    def calibrate(self, line: str, prompt_set: PromptSet) -> Path:
        """Give a line thresholds for these prompts."""
        path = self.directory / f"{line}.json"
        calibration_for(prompt_set).save(path)
        text = self.config.read_text()
        if f'calibration = "{line}.json"' not in text:
            self.config.write_text(
                text.replace(f"[lines.{line}]\n", f'[lines.{line}]\ncalibration = "{line}.json"\n')
            )
        return path


def judged(seq: int, prompts: str, line: str = "left", result: Result = Result.OK) -> Verdict:
    """A verdict of a line that was made with these prompts."""
    score = 0.25 if result is Result.OK else 0.75
    return Verdict(line, 7, seq, "", result, score=score, threshold=0.5, prompts=prompts)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A box whose lines have the old prompts, no calibration and no record."""
    box = Box(tmp_path / "box", tmp_path / "new.toml")
    save_prompt_set(OLD, box.prompts)
    save_prompt_set(NEW, box.new)
    lines = "".join(
        f'[lines.{line}]\nprompts = "plate"\ndetector = "{line}"\nsource = {{ kind = "synthetic" }}\n'
        for line in ("left", "right")
    )
    box.config.write_text(lines)
    return box


@pytest.fixture(name="judged")
def make_judged() -> Callable[..., Verdict]:
    """`judged(seq, prompts, line, result)` is a verdict that was made with these prompts."""
    return judged


@pytest.fixture
def old_set() -> PromptSet:
    """In force at first."""
    return OLD


@pytest.fixture
def new_set() -> PromptSet:
    """In `box.new`."""
    return NEW


@pytest.fixture
def old_hash() -> str:
    """Of the set in force at first."""
    return OLD.content_hash
