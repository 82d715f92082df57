"""`alfa-eval --ablation` on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfa.cli import eval as eval_command
from alfa.settings import ModelSettings

Command = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path, tiny_settings: ModelSettings) -> Path:
    """The tiny model on 4 x 4 patches: the largest window must fit."""
    settings = tiny_settings.model_copy(update={"resolution": 48, "keep_aspect": False})
    path = tmp_path / "config.toml"
    table = [f"{key} = {json.dumps(value)}" for key, value in settings.model_dump().items()]
    path.write_text("\n".join(["[model]", *table]) + "\n")
    return path


def test_the_tables_come_as_json_and_lie_in_the_output_directory(
    command: Command, plate_set: Path, tiny_prompts: Path, config: Path, tmp_path: Path
) -> None:
    """One class, one permutation: the same document on stdout and in the directory, CSV beside it."""
    out = tmp_path / "out"
    options = ("--prompts", tiny_prompts, "--config", config, "--seeds", 1, "--out", out)
    ended = command(eval_command.main, plate_set, "--ablation", "--json", *options)
    assert ended.exit_code == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report == json.loads((out / "ablation.json").read_text())
    assert {figure["table"] for figure in report["classes"][0]["figures"]} == {
        "Table 2",
        "Table 3",
        "Table 6, score",
        "Table 6, scales",
    }
    assert (out / "ablation.csv").read_text().startswith("class,table,row,column,metric,")


def test_a_second_run_gives_the_same_from_what_is_there(
    command: Command, plate_set: Path, tiny_prompts: Path, config: Path, tmp_path: Path
) -> None:
    """Results are kept by variant; nothing is judged again and nothing changes."""
    options = (
        "--prompts",
        tiny_prompts,
        "--config",
        config,
        "--seeds",
        1,
        "--out",
        tmp_path / "out",
        "--csv",
    )
    first = command(eval_command.main, plate_set, "--ablation", *options)
    second = command(eval_command.main, plate_set, "--ablation", *options)
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout


@pytest.mark.parametrize("option", [("--shots", "4"), ("--bank", "some.bank")])
def test_what_the_ablation_chooses_itself_is_refused(
    command: Command, plate_set: Path, config: Path, option: tuple[str, str]
) -> None:
    """One line that names the option."""
    ended = command(eval_command.main, plate_set, "--ablation", "--config", config, *option)
    assert ended.exit_code == 2
    assert f"{option[0]} = '{option[1]}'".replace("'4'", "4") in ended.stderr
    assert "--ablation" in ended.stderr
    assert ended.stderr.count("\n") == 1
