"""Model, prompts, banks and calibrations on a tiny model: there, readable, and made for each other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alfa.backbone import Backbone
from alfa.calibration import Calibration
from alfa.memory import MemoryBank
from alfa.prompting.promptset import PromptSet, to_toml
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from edge.check.findings import Finding, Outcome
from edge.check.judging import check_device, check_judging
from edge.settings import load_settings

Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(write_config: Callable[..., Path], runtime_dir: Path, tiny_settings: ModelSettings) -> Look:
    """`look(keys, **model)` is what is found of line1 with these keys and changes of the model, by check."""
    (runtime_dir / "prompts").mkdir()
    good, bad = ("A normal image of a plate.",), ("An abnormal image of a plate.",)
    (runtime_dir / "prompts" / "plate.toml").write_text(to_toml(PromptSet("plate", good, bad)))

    def findings(keys: str = "", prompts: str = "plate", **model: object) -> dict[str, Finding]:
        values = tiny_settings.model_copy(update=model).model_dump()
        text = "\n".join(["[model]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())])
        line = f'\n[lines.line1]\nprompts = "{prompts}"\n{keys}\nsource = {{ kind = "synthetic" }}\n'
        return {found.check: found for found in check_judging(load_settings(write_config(text + line)))}

    return findings


@pytest.fixture
def bank(runtime_dir: Path, tiny_backbone: Backbone) -> Path:
    """A bank that the tiny model was taught."""
    features = [of_size for _, of_size in tiny_backbone.encode([np.full((48, 36, 3), 90, np.uint8)])]
    path = runtime_dir / "plate.safetensors"
    MemoryBank.build(features, tiny_backbone, ["0"]).save(path)
    return path


@pytest.fixture
def calibration(
    look: Look, runtime_dir: Path, tiny_backbone: Backbone, tiny_settings: ModelSettings
) -> Calibration:
    """Thresholds made with the tiny model and these prompts, on images of 800 pixels."""
    prompts = runtime_dir / "prompts" / "plate.toml"
    binding = Recipe.load(tiny_backbone, prompts, settings=tiny_settings).binding
    return Calibration(
        n=30,
        alpha=0.05,
        score_median=0.1,
        score_threshold=0.2,
        map_median=0.1,
        map_threshold=0.2,
        image_side=800,
        **dataclasses.asdict(binding),
    )


def test_all_is_there(look: Look, bank: Path) -> None:
    """Counts and hashes as verdicts carry them; a bank without calibration is warned of."""
    found = look(f'bank = "{bank.name}"')
    assert {name: each.outcome for name, each in found.items()} == {
        "model": Outcome.OK,
        "prompts": Outcome.OK,
        "bank": Outcome.OK,
        "calibration": Outcome.WARN,
    }
    assert MemoryBank.load(bank).content_hash in found["bank"].detail
    assert "1 normal, 1 abnormal" in found["prompts"].detail
    assert "nearly all parts will be NG" in found["calibration"].detail


def test_a_calibration_that_fits(look: Look, calibration: Calibration, runtime_dir: Path) -> None:
    """Made with the model, prompts and method in force."""
    calibration.save(runtime_dir / "plate.json")
    found = look('calibration = "plate.json"')["calibration"]
    assert found.outcome is Outcome.OK
    assert calibration.content_hash in found.detail


def test_a_calibration_of_another_setup(look: Look, calibration: Calibration, runtime_dir: Path) -> None:
    """Its hash of the prompts is another: refused as the detector would."""
    calibration.model_copy(update={"prompts_hash": "0" * 16}).save(runtime_dir / "plate.json")
    found = look('calibration = "plate.json"')["calibration"]
    assert (found.outcome, "prompts_hash" in found.detail) == (Outcome.FAIL, True)
    assert "alfa-calibrate" in found.advice


def test_a_calibration_whose_bank_cannot_be_read(
    look: Look, calibration: Calibration, runtime_dir: Path
) -> None:
    """It may be another bank's: a warning, and not fine."""
    calibration.save(runtime_dir / "plate.json")
    found = look('calibration = "plate.json"\nbank = "none.safetensors"')["calibration"]
    assert found.outcome is Outcome.WARN
    assert "not compared" in found.detail


def test_a_calibration_of_larger_images(look: Look, calibration: Calibration, runtime_dir: Path) -> None:
    """The camera shrinks them now: scores move a little, which is warned of."""
    calibration.save(runtime_dir / "plate.json")
    assert look('calibration = "plate.json"\nmax_side = 800')["calibration"].outcome is Outcome.OK
    found = look('calibration = "plate.json"\nmax_side = 400')["calibration"]
    assert (found.outcome, "images of 800 pixels" in found.detail) == (Outcome.WARN, True)


def test_a_bank_of_another_model(look: Look, bank: Path) -> None:
    """Named with what to do."""
    taught = MemoryBank.load(bank)
    of_another = taught.info.model_copy(update={"weights_hash": "0" * 16})
    dataclasses.replace(taught, info=of_another).save(bank)
    found = look(f'bank = "{bank.name}"')["bank"]
    assert (found.outcome, "alfa-bank teach" in found.advice) == (Outcome.FAIL, True)


@pytest.mark.parametrize(
    ("keys", "check"), [('bank = "none.safetensors"', "bank"), ('calibration = "none.json"', "calibration")]
)
def test_a_file_that_is_not_there(look: Look, keys: str, check: str) -> None:
    """The one that is missing fails; the others are looked at all the same."""
    found = look(keys)
    assert (found[check].outcome, "none." in found[check].detail) == (Outcome.FAIL, True)
    assert found["prompts"].outcome is Outcome.OK


def test_an_unknown_class(look: Look) -> None:
    """A misspelt name of the prompts."""
    found = look(prompts="plaet")["prompts"]
    assert (found.outcome, "plaet" in found.detail) == (Outcome.FAIL, True)


def test_files_are_looked_at_without_the_model(look: Look) -> None:
    """Two problems are told in one run."""
    found = look('calibration = "none.json"', pretrained="none.safetensors")
    assert [found[check].outcome for check in ("model", "prompts", "calibration")] == [
        Outcome.FAIL,
        Outcome.OK,
        Outcome.FAIL,
    ]


def test_a_gpu_that_is_not_there(write_config: Callable[..., Path]) -> None:
    """The number is counted against the devices found."""
    line = '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'
    settings = load_settings(write_config(f'[model]\ndevice = "cuda:63"\n{line}'))
    found = check_device(settings)
    assert (found.outcome, "CUDA devices" in found.detail) == (Outcome.FAIL, True)
