"""A batch of frames of several lines becomes one answer a frame, whatever happens."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import torch

from alfa.backbone import ImageFeatures
from alfa.errors import AlfaError
from alfa.inspector import Inspection, judge
from alfa.preprocessing import PixelBatch
from edge.detector.recipes import LineRecipe, Loaded
from edge.detector.verdicts import fault, judged
from edge.messages import FaultReason, Frame, Timings, Verdict

# What torch, OpenCV, numpy and alfa raise for a frame or a batch that cannot be judged; out of memory is a
# RuntimeError. Anything else is a bug and ends the detector.
_JUDGING_ERRORS = (RuntimeError, ValueError, cv2.error, MemoryError, AlfaError)
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A frame, its verdict, and what the method found, if it got so far."""

    frame: Frame
    verdict: Verdict
    inspection: Inspection | None = None


class BatchJudge:
    """Judges frames with the recipes given at each call; used from one thread."""

    def __init__(self, loaded: Loaded) -> None:
        self._backbone = loaded.backbone
        self._settings = loaded.settings

    def judge(self, frames: Sequence[Frame], recipes: Mapping[str, LineRecipe]) -> list[Answer]:
        """One answer a frame, in any order.

        When the batch fails, each frame is tried alone, so that a bad one does not fault its neighbours.

        Raises:
            torch.AcceleratorError: the device is unusable until the process starts anew.
        """
        if not frames:
            return []
        try:
            return self._judge_together(frames, recipes)
        except torch.AcceleratorError:
            raise
        except _JUDGING_ERRORS as error:
            if len(frames) > 1:
                return [answer for frame in frames for answer in self.judge([frame], recipes)]
            return [_failed(frames[0], recipes, error)]

    def _judge_together(self, frames: Sequence[Frame], recipes: Mapping[str, LineRecipe]) -> list[Answer]:
        begun = time.monotonic_ns()
        preprocessor = self._backbone.preprocessor
        batches = preprocessor.batches([preprocessor.fit(f.pixels, f.header.colour) for f in frames])
        prepared = time.monotonic_ns()
        features = [self._encode(batch) for batch in batches]
        encoded = time.monotonic_ns()
        answers: list[Answer] = []
        for line, line_frames, of_line in _by_line(frames, batches, features):
            recipe = recipes[line]
            inspections = judge(of_line, recipe.recipe, self._settings, _sizes(line_frames))
            done = time.monotonic_ns()
            for frame, inspection in zip(line_frames, inspections, strict=True):
                timings = Timings(
                    queue=(begun - frame.header.mono_ns) / _NS_PER_MS,
                    preprocess=(prepared - begun) / _NS_PER_MS,
                    infer=(encoded - prepared) / _NS_PER_MS,
                    post=(done - encoded) / _NS_PER_MS,
                )
                verdict = judged(frame.header, inspection, recipe.stamp, timings)
                answers.append(Answer(frame, verdict, inspection))
        return answers

    def _encode(self, batch: PixelBatch) -> ImageFeatures:
        features = self._backbone.encode_images(batch.pixels)
        if self._backbone.device.type == "cuda":
            # The result is waited for a moment later anyway; here, so that the stages' times are true.
            torch.cuda.synchronize(self._backbone.device)
        return features


def _by_line(
    frames: Sequence[Frame], batches: Sequence[PixelBatch], features: Sequence[ImageFeatures]
) -> Iterator[tuple[str, list[Frame], ImageFeatures]]:
    """Line, its frames and their features; a line whose frames differ in shape comes once a shape."""
    for batch, encoded in zip(batches, features, strict=True):
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, position in enumerate(batch.positions):
            rows[frames[position].header.line].append(row)
        for line, of_line in rows.items():
            yield line, [frames[batch.positions[row]] for row in of_line], encoded.select(of_line)


def _sizes(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    return [frame.header.captured_size for frame in frames]


def _failed(frame: Frame, recipes: Mapping[str, LineRecipe], error: BaseException) -> Answer:
    detail = f"{type(error).__name__}: {error}"
    stamp = recipes[frame.header.line].stamp
    return Answer(frame, fault(frame.header, FaultReason.MODEL_ERROR, detail, stamp))
