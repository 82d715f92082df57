"""A batch of frames becomes one answer a frame, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alfa.calibration import Calibration
from alfa.prompting.promptset import PromptSet, save_prompt_set
from alfa.settings import ModelSettings
from edge.detector.judging import BatchJudge
from edge.detector.preparing import Prepared, Preparer
from edge.detector.recipes import LineRecipe, Loaded, load
from edge.messages import FaultReason, Frame, Region
from edge.settings import load_settings

MakeFrame = Callable[..., Frame]
POISON_LEVEL = 255  # of red; after normalisation above 1.9, where the other frames' red is below -1


@pytest.fixture
def loaded(tmp_path: Path, write_config: Callable[..., Path], tiny_settings: ModelSettings) -> Loaded:
    """The tiny model with one line."""
    prompts = PromptSet("plate", ("A normal image of a plate.",), ("An abnormal image of a plate.",))
    save_prompt_set(prompts, tmp_path / "plate.toml")
    config = write_config(
        f"""
        [model]
        name = "{tiny_settings.name}"
        pretrained = "{tiny_settings.pretrained}"
        device = "cpu"
        [paths]
        prompts = "{tmp_path}"
        [lines.line1]
        prompts = "plate"
        source = {{ kind = "synthetic" }}
        """
    )
    return load(load_settings(config), "main")


def prepared(loaded: Loaded, *frames: Frame) -> list[Prepared]:
    """The frames as they reach the judge."""
    preparer = Preparer(loaded.backbone.preprocessor, {"line1": 60_000})
    return [preparer.prepare(frame) for frame in frames]


@pytest.fixture
def poison(loaded: Loaded) -> Iterator[None]:
    """From now on a forward pass over a picture of the poison level fails, with its whole batch."""

    def fail(module: torch.nn.Module, inputs: tuple[object, ...]) -> None:
        pixels = inputs[0]
        if not (isinstance(pixels, torch.Tensor) and pixels.ndim == 4 and pixels.shape[1] == 3):
            return  # no picture: tokens on their way through the tower
        if bool((pixels[:, 0] > 1.8).any()):
            raise RuntimeError("cannot be judged")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(fail)
    yield
    hook.remove()


@pytest.mark.usefixtures("poison")
def test_a_bad_frame_does_not_fault_its_neighbours(loaded: Loaded, make_frame: MakeFrame) -> None:
    """The batch fails, each frame is tried alone, and only the bad one is FAULT."""
    frames = [make_frame(0), make_frame(1, level=POISON_LEVEL), make_frame(2)]
    answers = BatchJudge(loaded).judge(prepared(loaded, *frames), loaded.recipes)
    assert {answer.verdict.seq: answer.verdict.fault for answer in answers} == {
        0: FaultReason.NONE,
        1: FaultReason.MODEL_ERROR,
        2: FaultReason.NONE,
    }


@pytest.mark.usefixtures("poison")
def test_a_fault_says_what_failed(loaded: Loaded, make_frame: MakeFrame) -> None:
    """The error's type and text are in the verdict, no score is."""
    answer = BatchJudge(loaded).judge(prepared(loaded, make_frame(0, level=POISON_LEVEL)), loaded.recipes)[0]
    assert answer.verdict.detail == "RuntimeError: cannot be judged"
    assert answer.verdict.score is None
    assert answer.inspection is None


def test_a_batch_scores_as_its_frames_alone(loaded: Loaded, make_frame: MakeFrame) -> None:
    """Who else is in the batch does not matter."""
    batch = prepared(loaded, *(make_frame(seq, level=80 * seq) for seq in range(3)))
    judge = BatchJudge(loaded)
    together = {answer.verdict.seq: answer.verdict.score for answer in judge.judge(batch, loaded.recipes)}
    for each in batch:
        alone = judge.judge([each], loaded.recipes)[0].verdict
        assert together[alone.seq] == pytest.approx(alone.score, abs=1e-5)


def test_a_bug_is_not_a_verdict(loaded: Loaded, make_frame: MakeFrame) -> None:
    """An exception that no frame causes is not taken for one."""

    def fail(module: torch.nn.Module, inputs: object) -> None:
        raise AttributeError("a bug")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(fail)
    try:
        with pytest.raises(AttributeError):
            BatchJudge(loaded).judge(prepared(loaded, make_frame(0)), loaded.recipes)
    finally:
        hook.remove()


def test_no_frames_are_no_answers(loaded: Loaded) -> None:
    """A batch of which every frame was stale is not sent through the model."""
    assert BatchJudge(loaded).judge([], loaded.recipes) == []


def test_region_is_told_in_pixels_as_captured(loaded: Loaded, make_frame: MakeFrame) -> None:
    """A camera that shrank its image eight-fold does not shrink what the plant is told."""
    frame = make_frame(0)
    height, width = 8 * frame.header.height, 8 * frame.header.width
    header = replace(frame.header, captured_height=height, captured_width=width)
    batch = prepared(loaded, Frame(header, frame.pixels))
    verdict = BatchJudge(loaded).judge(batch, {"line1": anomalous_everywhere(loaded)})[0].verdict
    assert verdict.region == Region(x=0, y=0, width=width, height=height, area=height * width)


def anomalous_everywhere(loaded: Loaded) -> LineRecipe:
    """The recipe with a threshold that every value of the map is above."""
    of_line = loaded.recipes["line1"]
    hashes = {"weights_hash": "", "prompts_hash": "", "bank_hash": "", "method_hash": ""}
    thresholds = {"score_median": -1, "score_threshold": -1, "map_median": -1, "map_threshold": -1}
    calibration = Calibration.model_validate({"n": 1, "alpha": 0.5} | thresholds | hashes)
    return replace(of_line, recipe=replace(of_line.recipe, calibration=calibration))
