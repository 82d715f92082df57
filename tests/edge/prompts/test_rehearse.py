"""`alfa-prompts rehearse`: what the method says of the same pictures with either set, counted."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import pytest

from alfa.calibration import Calibration
from alfa.images import read_image
from alfa.inspector import Inspector
from alfa.prompting.promptset import PromptSet, save_prompt_set
from alfa.settings import ModelSettings
from edge.messages import AnomalyMap, MapHeader, Result, Verdict
from edge.prompts import main as prompts
from edge.results.evidence import EvidenceStore

Command = Callable[..., Any]
# Of this directory's conftest; pytest's importlib mode gives it no importable name.
Box = Any
Judged = Callable[..., Verdict]
_PICTURES = 6


@pytest.fixture
def line(box: Box, tiny_settings: ModelSettings) -> Box:
    """The box, with a model that is there."""
    model = "\n".join(f"{key} = {json.dumps(value)}" for key, value in tiny_settings.model_dump().items())
    box.config.write_text(f"[model]\n{model}\n{box.config.read_text()}")
    return box


@pytest.fixture
def rehearse(command: Command, line: Box) -> Command:
    """`rehearse(FILE, ...)` runs it on line `left` of the box."""

    def run(*arguments: object) -> Any:
        return command(prompts.main, "rehearse", *arguments, "--line", "left", "--config", line.config)

    return run


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A directory of pictures that differ."""
    directory = tmp_path / "parts"
    directory.mkdir()
    generator = np.random.default_rng(1)
    for index in range(_PICTURES):
        pixels = generator.integers(0, 256, (8, 6, 3)).astype(np.uint8)
        cv2.imwrite(str(directory / f"{index}.png"), cv2.resize(pixels, (72, 96)))
    return directory


def _scores(prompts_path: Path, directory: Path, settings: ModelSettings) -> list[float]:
    inspector = Inspector.load(prompts_path, settings=settings)
    return [
        each.score for each in inspector.inspect([read_image(path) for path in sorted(directory.iterdir())])
    ]


def _row(ended: Any, name: str) -> str:
    """The second column of a row."""
    return next(
        str(row.split("│")[2]).strip() for row in ended.stdout.splitlines() if row.startswith(f"│ {name}")
    )


def test_verdicts_that_would_have_changed_are_counted(
    rehearse: Command, line: Box, parts: Path, tiny_settings: ModelSettings, old_set: PromptSet
) -> None:
    """As `Inspector` judges the pictures with either set, under the running threshold; nothing is written."""
    save_prompt_set(PromptSet("sea", old_set.abnormal, old_set.normal), line.new)
    before, after = (_scores(path, parts, tiny_settings) for path in (line.prompts, line.new))
    threshold = median([*before, *after])
    in_force = line.calibrate("left", old_set)
    binding = Inspector.load(line.prompts, settings=tiny_settings).recipe.binding
    held = {**dataclasses.asdict(binding), "score_median": 0.0, "score_threshold": threshold}
    Calibration.load(in_force).model_copy(update=held).save(in_force)
    files = line.files()
    ended = rehearse(line.new, "--images", parts)
    turns = [(old > threshold, new > threshold) for old, new in zip(before, after, strict=True)]
    assert ended.exit_code == 1
    assert _row(ended, "parts") == str(_PICTURES)
    assert _row(ended, "same verdict") == str(sum(old == new for old, new in turns))
    assert _row(ended, "OK -> NG") == str(turns.count((False, True)))
    assert _row(ended, "NG -> OK") == str(turns.count((True, False)))
    moved = median(new - old for old, new in zip(before, after, strict=True))
    assert _row(ended, "score moved").startswith(f"{moved:+.4f} (")
    assert line.files() == files


def test_the_running_set_changes_no_verdict(rehearse: Command, line: Box, parts: Path) -> None:
    """Exit 0, and no score moves."""
    ended = rehearse(line.prompts, "--images", parts)
    assert ended.exit_code == 0
    assert _row(ended, "same verdict") == str(_PICTURES)
    assert _row(ended, "score moved") == "+0.0000 (+0.0000 to +0.0000)"


def _keep(box: Box, parts: Path, seq: int, result: Result) -> None:
    """Have evidence of a part, as the results service keeps it."""
    header = MapHeader("left", 7, seq, result, 0, 0)
    picture = sorted(parts.iterdir())[seq % _PICTURES].read_bytes()
    store = EvidenceStore(box.directory / "var" / "evidence", 10**9, 10**9)
    store.keep(AnomalyMap(header, np.empty((0, 0), np.float16), picture), time.time())


def test_good_parts_come_from_the_record(
    rehearse: Command, line: Box, parts: Path, judged: Judged, old_hash: str
) -> None:
    """The OK ones with a picture, at most as many as wanted; NG parts are not judged again."""
    results = [Result.OK, Result.NG, Result.OK, Result.OK]
    line.record(*(judged(seq, old_hash, result=result) for seq, result in enumerate(results)))
    for seq, result in enumerate(results[:3]):
        _keep(line, parts, seq, result)
    assert _row(rehearse(line.prompts), "parts") == "2"
    assert _row(rehearse(line.prompts, "--limit", "1"), "parts") == "1"
    elsewhere = line.directory / "var" / "results.sqlite"
    assert _row(rehearse(line.prompts, "--record", elsewhere), "parts") == "2"


def test_without_pictures_of_good_parts_it_says_so(
    rehearse: Command, line: Box, parts: Path, judged: Judged, old_hash: str
) -> None:
    """What is kept instead, and what to do."""
    line.record(judged(0, old_hash, result=Result.NG))
    _keep(line, parts, 0, Result.NG)
    ended = rehearse(line.new)
    assert ended.exit_code == 2
    assert "holds no picture of an OK part of line 'left' (1 of other parts)" in ended.stderr
    assert "give --images" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "line_told"),
    [
        (["generic"], "results.sqlite: no such record"),
        (["generic", "--images", "missing"], "missing: no such directory"),
        (["generic", "--images", "x", "--record", "y"], "give one of --record and --images"),
        (["missing.toml"], "missing.toml: no such prompt file"),
    ],
)
def test_wrong_use_of_rehearse(rehearse: Command, arguments: list[str], line_told: str) -> None:
    """One line, exit 2, before the model is loaded."""
    ended = rehearse(*arguments)
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1)
    assert line_told in ended.stderr
