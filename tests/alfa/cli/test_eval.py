"""`alfa-eval` on a tiny model: what it reports, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfa.cli import eval as eval_command

Command = Callable[..., Any]


@pytest.fixture
def options(tiny_prompts: Path, tiny_config: Path) -> tuple[object, ...]:
    """Prompts and model."""
    return ("--prompts", tiny_prompts, "--config", tiny_config)


def _rows(document: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    return {row["part"]: row for row in document["classes"][0]["rows"] if row["row"] == name}


def test_it_reports_the_method_beside_the_trivial_baselines(
    command: Command, plate_set: Path, options: tuple[object, ...]
) -> None:
    """Brightness is right about every bright spot; the two halves of the score are rows of their own."""
    ended = command(eval_command.main, plate_set, *options, "--json")
    assert ended.exit_code == 0, ended.stderr
    report = json.loads(ended.stdout)
    [one] = report["classes"]
    assert (one["class"], one["good"], one["defective"], one["masks"]) == ("plate", 4, 4, 4)
    assert _rows(report, "mean brightness")["S"]["image_auroc"] == 1.0
    assert _rows(report, "mean brightness")["S"]["pixel_auroc"] > 0.95
    assert set(_rows(report, "zero-shot")) == {"S", "S_G alone", "max S_L alone"}


def test_shots_are_repeated_over_seeds(
    command: Command, plate_set: Path, options: tuple[object, ...]
) -> None:
    """Two draws of two taught images give a mean and a deviation."""
    ended = command(eval_command.main, plate_set, *options, "--json", "--shots", "0,2", "--seeds", 2)
    assert ended.exit_code == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert _rows(report, "zero-shot")["S"]["repeats"] == 1
    assert _rows(report, "2-shot")["S"]["repeats"] == 2
    assert _rows(report, "2-shot")["S"]["image_auroc_std"] is not None


def test_the_output_directory_holds_all_reports_and_is_gone_on_with(
    command: Command, plate_set: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    """JSON, CSV and one HTML page without references; a second run reads what is there and says the same."""
    out = tmp_path / "out"
    first = command(eval_command.main, plate_set, *options, "--out", out, "--json")
    assert first.exit_code == 0, first.stderr
    again = command(eval_command.main, plate_set, *options, "--out", out, "--json")
    assert (
        json.loads(again.stdout) == json.loads(first.stdout) == json.loads((out / "report.json").read_text())
    )
    lines = list(csv.DictReader(io.StringIO((out / "report.csv").read_text())))
    assert {line["class"] for line in lines} == {"plate", "mean"}
    page = (out / "report.html").read_text()
    assert "plate" in page
    assert 'src="http' not in page


def test_a_folder_of_classes_is_judged_class_by_class(
    command: Command, plate_set: Path, options: tuple[object, ...]
) -> None:
    """The folder above holds one class; its mean is that class's."""
    ended = command(eval_command.main, plate_set.parent, *options, "--json")
    assert ended.exit_code == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert [one["class"] for one in report["classes"]] == ["plate"]
    whole = next(row for row in report["mean"] if (row["row"], row["part"]) == ("zero-shot", "S"))
    assert whole["image_auroc"] == _rows(report, "zero-shot")["S"]["image_auroc"]


def test_a_limit_keeps_both_kinds(command: Command, plate_set: Path, options: tuple[object, ...]) -> None:
    """Half of eight images is two of each kind."""
    ended = command(eval_command.main, plate_set, *options, "--limit", 4, "--json")
    [one] = json.loads(ended.stdout)["classes"]
    assert (one["good"], one["defective"]) == (2, 2)


def _refused(ended: Any, *words: str) -> None:
    assert ended.exit_code == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert all(word in ended.stderr for word in words), ended.stderr


def test_more_shots_than_training_images_are_refused(
    command: Command, plate_set: Path, options: tuple[object, ...]
) -> None:
    """One line, exit 2, before the model is loaded."""
    _refused(command(eval_command.main, plate_set, *options, "--shots", "5"), "--shots", "5")


@pytest.mark.parametrize("shots", ["", "one", "-1", "1;2", "5000"])
def test_shots_that_are_no_numbers_are_refused(
    command: Command, plate_set: Path, options: tuple[object, ...], shots: str
) -> None:
    """The line shows what to write."""
    _refused(
        command(eval_command.main, plate_set, *options, f"--shots={shots}"), "--shots", "such as 0,1,2,4"
    )


def test_shots_and_a_bank_do_not_go_together(
    command: Command, plate_set: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    """Which of the two would count is not to be guessed."""
    bank = tmp_path / "bank.safetensors"
    ended = command(eval_command.main, plate_set, *options, "--shots", "1", "--bank", bank)
    _refused(ended, "does not go with --bank")


def test_results_of_another_setup_are_refused(
    command: Command, plate_set: Path, tmp_path: Path, tiny_prompts: Path, tiny_config: Path
) -> None:
    """Other prompts, same directory: two setups would be mixed; --restart forgets the old results."""
    out = tmp_path / "out"
    # A copy: the other tests' prompts stay as they are.
    prompts = Path(shutil.copy(tiny_prompts, tmp_path / "plate.toml"))
    options = ("--prompts", prompts, "--config", tiny_config)
    assert command(eval_command.main, plate_set, *options, "--out", out).exit_code == 0
    prompts.write_text(prompts.read_text().replace("scratch", "score mark"))
    _refused(command(eval_command.main, plate_set, *options, "--out", out), "--restart")
    assert command(eval_command.main, plate_set, *options, "--out", out, "--restart").exit_code == 0
