"""`python -m benchmarks.quality`: one command over a folder of sets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from alfa.cli.eval import main as eval_main
from alfa.evaluation.baselines import BASELINES
from alfa.evaluation.protocol import METRICS
from alfa.settings import ModelSettings
from benchmarks.quality.command import main

_CHECKOUT = Path(__file__).parents[3]
_SETS = ("plate", "ring")


def _ended(command: Callable[[], None], *arguments: object) -> int:
    """Exit code of a command run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(argument) for argument in arguments])
        with pytest.raises(SystemExit) as ended:
            command()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets in a folder of a folder; only the first has masks."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in _SETS:
        for number in range(3):
            good = rng.integers(90, 110, (48, 36, 3), dtype=np.uint8)
            bad, mask = good.copy(), np.zeros((48, 36), np.uint8)
            bad[10:30, 10:30], mask[10:30, 10:30] = 250, 255
            pictures = {"train/good": good, "test/good": good, "test/spot": bad, "ground_truth/spot": mask}
            for folder, picture in pictures.items():
                if name == "plate" or not folder.startswith("ground_truth"):
                    path = root / "line" / name / folder / f"{number:03}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(path), picture)
    return root


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_settings: ModelSettings) -> Path:
    """A config.toml that names the tiny model."""
    path = tmp_path_factory.mktemp("config") / "config.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in tiny_settings.model_dump().items()]
    path.write_text("\n".join(["[model]", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def measured(data: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of one run over both sets."""
    out = tmp_path_factory.mktemp("out") / "quality.json"
    arguments = ["--data", data, "--shots", "0,2", "--seeds", "2", "--config", config, "--out", out]
    assert _ended(main, "python -m benchmarks.quality", *arguments) == 0
    document: dict[str, Any] = json.loads(out.read_text())
    return document


def test_every_method_is_measured_on_every_set(measured: dict[str, Any]) -> None:
    """Zero-shot those that read text and the baselines; two-shot all but the baselines."""
    assert sorted(measured["sets"]) == sorted(_SETS)
    readers, neighbours = (
        ("ALFA", "WinCLIP, tau 0.01", "WinCLIP, tau 0.07"),
        ("AnomalyDINO-like", "PatchCore-like"),
    )
    expected = {
        *(f"{name}, zero-shot" for name in readers),
        *(f"{name}, 2-shot" for name in (*readers, *neighbours)),
        *BASELINES,
    }
    for found in measured["sets"].values():
        assert {row["row"] for row in found["rows"]} >= expected


def test_a_taught_method_has_a_value_for_each_seed(measured: dict[str, Any]) -> None:
    """Two seeds, two values and their deviation; zero-shot has one and none."""
    rows = {row["row"]: row["image_auroc"] for row in measured["sets"]["plate"]["rows"]}
    assert len(rows["ALFA, 2-shot"]["values"]) == 2
    assert rows["ALFA, 2-shot"]["std"] is not None
    assert (len(rows["ALFA, zero-shot"]["values"]), rows["ALFA, zero-shot"]["std"]) == (1, None)


def test_pixel_metrics_need_masks(measured: dict[str, Any]) -> None:
    """The set with masks has all six metrics, the other the three over images."""
    known = {
        name: {metric for metric in METRICS if found["rows"][0][metric] is not None}
        for name, found in measured["sets"].items()
    }
    assert known["plate"] == set(METRICS)
    assert known["ring"] == {"image_auroc", "image_aupr", "image_f1_max"}


def test_it_says_what_it_was_measured_with(measured: dict[str, Any]) -> None:
    """Command, machine, weights and both methods' temperatures, so that it can be measured again."""
    assert "--shots 0,2" in measured["command"]
    assert measured["machine"]["device"] == "cpu"
    assert len(measured["model"]["weights_hash"]) == 16
    assert measured["temperature"] == {"ALFA": 0.07, "WinCLIP": [0.01, 0.07]}


def test_sets_of_one_folder_have_a_mean(measured: dict[str, Any]) -> None:
    """The mean of the two figures, under a title that names folder and count."""
    [(title, rows)] = measured["means"].items()
    assert title == "mean of 2 sets in line"
    each = [found["rows"][0]["image_auroc"]["mean"] for found in measured["sets"].values()]
    assert rows[0]["image_auroc"]["mean"] == pytest.approx(sum(each) / 2)


def test_our_figures_are_those_of_alfa_eval(
    measured: dict[str, Any], data: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same images taught, the same score, the same metrics: to the digit."""
    arguments = [data / "line" / "plate", "--shots", "0,2", "--seeds", "2", "--config", config, "--json"]
    _ended(eval_main, "alfa-eval", *arguments)
    theirs = {
        row["row"]: row["image_auroc"]
        for row in json.loads(capsys.readouterr().out)["classes"][0]["rows"]
        if row["part"] == "S"
    }
    ours = {row["row"]: row["image_auroc"]["mean"] for row in measured["sets"]["plate"]["rows"]}
    for name in ("zero-shot", "2-shot"):
        assert ours[f"ALFA, {name}"] == theirs[name]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--sets", "nut"), "error: --sets = 'nut': is not in"),
        (("--shots", "0,four"), "error: --shots = '0,four': give numbers of good images"),
        (("--shots", "4"), "error: --shots = 4: plate has 3 images to teach from"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    data: Path, options: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any model is loaded."""
    assert _ended(main, "python -m benchmarks.quality", "--data", data, *options) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(line)
    assert stderr.count("\n") == 1


def test_it_runs_as_a_command(data: Path) -> None:
    """The module is a command of the checkout, with the exit code of bad input."""
    command = [sys.executable, "-m", "benchmarks.quality", "--data", str(data / "missing")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_CHECKOUT)
    assert ended.returncode == 2
    assert "no such directory" in ended.stderr
