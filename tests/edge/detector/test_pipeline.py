"""Stages that overlap: every frame has one verdict, and pictures hold up none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from alfa.images import RgbImage
from alfa.prompting.promptset import PromptSet, save_prompt_set
from alfa.settings import ModelSettings
from edge.detector.pipeline import Output, PictureDropped, Pipeline
from edge.detector.queues import Displaced, FrameQueues, LineQueue, Overload
from edge.detector.recipes import Loaded, load
from edge.messages import AnomalyMap, FaultReason, Frame, Verdict
from edge.settings import DetectorSettings, load_settings

MakeFrame = Callable[..., Frame]
_PATIENCE_S = 30.0
_MAX_AGE_MS = 2000


class Outputs:
    """What the pipeline delivered; while `may_draw` is cleared, whoever delivers a map has to wait."""

    def __init__(self) -> None:
        self.may_draw = threading.Event()
        self.may_draw.set()
        self._all: list[Output] = []
        self._changed = threading.Condition()

    def deliver(self, outputs: Sequence[Output]) -> None:
        if any(isinstance(output, AnomalyMap) for output in outputs):
            assert self.may_draw.wait(_PATIENCE_S)
        with self._changed:
            self._all += outputs
            self._changed.notify_all()

    def wait_for(self, kind: type[Output], count: int) -> list[Output]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._of(kind)) >= count, _PATIENCE_S)
            return self._of(kind)

    def verdicts(self, count: int) -> list[Verdict]:
        return cast("list[Verdict]", self.wait_for(Verdict, count))

    def _of(self, kind: type[Output]) -> list[Output]:
        return [output for output in self._all if isinstance(output, kind)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, tiny_settings: ModelSettings) -> Loaded:
    """The tiny model with one line."""
    directory: Path = tmp_path_factory.mktemp("pipeline")
    prompts = PromptSet("plate", ("A normal image of a plate.",), ("An abnormal image of a plate.",))
    save_prompt_set(prompts, directory / "plate.toml")
    config = directory / "config.toml"
    config.write_text(
        f"""
        [model]
        name = "{tiny_settings.name}"
        pretrained = "{tiny_settings.pretrained}"
        device = "cpu"
        [paths]
        prompts = "{directory}"
        [lines.line1]
        prompts = "plate"
        source = {{ kind = "synthetic" }}
        """
    )
    return load(load_settings(config), "main")


@pytest.fixture
def overload() -> Overload:
    """Of the line; a test may have it otherwise."""
    return "every"


@pytest.fixture
def queues(overload: Overload) -> FrameQueues:
    """One line with room enough."""
    return FrameQueues({"line1": LineQueue(64, overload)})


@pytest.fixture
def outputs() -> Outputs:
    """Where the pipeline delivers."""
    return Outputs()


@pytest.fixture
def pipeline(loaded: Loaded, queues: FrameQueues, outputs: Outputs) -> Iterator[Pipeline]:
    """Running, one frame a batch, a picture for every OK part."""
    settings = DetectorSettings(max_batch=1, batch_wait_ms=0, map_every_ok=1)
    pipeline = Pipeline(loaded, queues, {"line1": _MAX_AGE_MS}, settings, outputs.deliver)
    pipeline.start()
    yield pipeline
    outputs.may_draw.set()
    queues.close()
    wait_until(lambda: not pipeline.running)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline


@pytest.mark.usefixtures("pipeline")
def test_pictures_that_cannot_be_drawn_in_time_are_dropped_and_no_verdict_waits(
    queues: FrameQueues, outputs: Outputs, make_frame: MakeFrame
) -> None:
    """One is being drawn, one waits, and of the other parts nothing but the picture is missing."""
    outputs.may_draw.clear()
    for seq in range(8):
        queues.put(make_frame(seq))
    assert [verdict.seq for verdict in outputs.verdicts(8)] == list(range(8))
    dropped = outputs.wait_for(PictureDropped, 6)
    assert set(dropped) == {PictureDropped("line1")}
    outputs.may_draw.set()
    assert len(outputs.wait_for(AnomalyMap, 2)) + len(dropped) <= 8


def test_pictures_that_wait_when_they_are_dropped_are_told_and_not_drawn(
    pipeline: Pipeline, queues: FrameQueues, outputs: Outputs, make_frame: MakeFrame
) -> None:
    """At the end of a stop: the one in hand is let go on, the one after it is accounted for."""
    outputs.may_draw.clear()
    for seq in range(3):
        queues.put(make_frame(seq))
    outputs.verdicts(3)
    (no_room,) = outputs.wait_for(PictureDropped, 1)
    pipeline.drop_pictures()
    dropped = outputs.wait_for(PictureDropped, 2)
    assert dropped == [no_room, PictureDropped("line1", "the detector was stopped")]
    outputs.may_draw.set()
    queues.close()
    wait_until(lambda: not pipeline.running)
    assert len(outputs.wait_for(AnomalyMap, 1)) == 1


def test_a_picture_that_cannot_be_drawn_is_dropped_and_the_next_is_drawn(
    pipeline: Pipeline, queues: FrameQueues, outputs: Outputs, make_frame: MakeFrame
) -> None:
    """Two channels are no picture; the verdict is out already, and no stage ends."""
    queues.put(Frame(make_frame(0).header, np.zeros((24, 32, 2), np.uint8)))
    (dropped,) = cast("list[PictureDropped]", outputs.wait_for(PictureDropped, 1))
    assert dropped.why.startswith("error: ")
    queues.put(make_frame(1))
    (drawn,) = cast("list[AnomalyMap]", outputs.wait_for(AnomalyMap, 1))
    assert drawn.header.seq == 1
    assert pipeline.error is None


@pytest.mark.usefixtures("pipeline")
def test_a_frame_that_grows_old_after_it_was_prepared_is_stale(
    queues: FrameQueues, outputs: Outputs, make_frame: MakeFrame, inference_gate: threading.Event
) -> None:
    """Its age is asked for again right before the model, which is where a frame waits longest."""
    inference_gate.clear()
    queues.put(make_frame(0))
    wait_until(lambda: queues.depth("line1") == 0)
    late = make_frame(1, age_ms=_MAX_AGE_MS - 500)
    queues.put(late)
    wait_until(lambda: time.monotonic_ns() - late.header.mono_ns > _MAX_AGE_MS * 1_000_000)
    inference_gate.set()
    assert [verdict.fault for verdict in outputs.verdicts(2)] == [FaultReason.NONE, FaultReason.STALE]


def test_frames_are_prepared_while_the_model_works(
    loaded: Loaded,
    pipeline: Pipeline,
    queues: FrameQueues,
    outputs: Outputs,
    make_frame: MakeFrame,
    inference_gate: threading.Event,
) -> None:
    """With the model held up, the next frame is ready: nothing is left to prepare when its turn comes."""
    inference_gate.clear()
    queues.put(make_frame(0))
    wait_until(lambda: queues.depth("line1") == 0)
    queues.put(make_frame(1))
    wait_until(lambda: queues.ready("line1") == 1)
    assert pipeline.busy_s > 0
    inference_gate.set()
    outputs.verdicts(2)


@pytest.mark.usefixtures("pipeline")
@pytest.mark.parametrize("overload", ["latest"])
def test_a_prepared_frame_that_gives_way_is_delivered_as_displaced(
    queues: FrameQueues, outputs: Outputs, make_frame: MakeFrame, inference_gate: threading.Event
) -> None:
    """With the model held up, only the newest prepared frame is judged, and the one before it is told of."""
    inference_gate.clear()
    queues.put(make_frame(0))
    wait_until(lambda: queues.depth("line1") == 0)
    queues.put(make_frame(1))
    wait_until(lambda: queues.ready("line1") == 1)
    assert queues.put(make_frame(2)) is None
    (displaced,) = cast("list[Displaced]", outputs.wait_for(Displaced, 1))
    assert (displaced.frame.header.seq, displaced.reason) == (1, FaultReason.SKIPPED)
    inference_gate.set()
    assert [verdict.seq for verdict in outputs.verdicts(2)] == [0, 2]


def test_a_batch_that_was_abandoned_gets_no_verdict_later(
    pipeline: Pipeline,
    queues: FrameQueues,
    outputs: Outputs,
    make_frame: MakeFrame,
    inference_gate: threading.Event,
) -> None:
    """Whoever abandons it owes the verdict; a second one would contradict it, as would its picture."""
    inference_gate.clear()
    queues.put(make_frame(0))
    wait_until(lambda: queues.depth("line1") == 0)
    queues.close()
    assert [frame.header.seq for frame in queues.abandon()] == [0]
    inference_gate.set()
    wait_until(lambda: not pipeline.running)
    assert outputs.wait_for(Verdict, 0) == []
    assert outputs.wait_for(AnomalyMap, 0) == []


def test_a_bug_in_preparing_is_told_and_the_frame_still_waits(
    pipeline: Pipeline, queues: FrameQueues, make_frame: MakeFrame
) -> None:
    """The stage ends with the error, and closing the queues gives the frame back for its FAULT."""
    queues.put(Frame(make_frame(0).header, cast("RgbImage", None)))
    wait_until(lambda: pipeline.error is not None)
    assert isinstance(pipeline.error, AttributeError)
    assert [frame.header.seq for frame in queues.close()] == [0]


def test_a_frame_that_cannot_be_prepared_is_a_fault_and_the_next_is_judged(
    pipeline: Pipeline, queues: FrameQueues, outputs: Outputs, make_frame: MakeFrame
) -> None:
    """What is wrong with one frame ends no stage."""
    queues.put(Frame(make_frame(0).header, np.zeros((24, 32, 4), np.uint8)))
    queues.put(make_frame(1))
    faults = {verdict.seq: verdict.fault for verdict in outputs.verdicts(2)}
    assert faults == {0: FaultReason.MODEL_ERROR, 1: FaultReason.NONE}
    assert pipeline.error is None
