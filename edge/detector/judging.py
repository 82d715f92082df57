"""A batch of prepared frames of several lines becomes one answer a frame, whatever happens."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from alfa.features import ImageFeatures
from alfa.inspector import Inspection, judge
from alfa.preprocessing import PixelBatch
from edge.clocks import NS_PER_MS
from edge.detector.preparing import JUDGING_ERRORS, Prepared, Refusal, refusal_of
from edge.detector.recipes import LineRecipe, Loaded
from edge.detector.verdicts import fault, judged
from edge.messages import Frame, Timings, Verdict


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

    def judge(self, batch: Sequence[Prepared], recipes: Mapping[str, LineRecipe]) -> list[Answer]:
        """One answer a frame, in any order.

        When the batch fails, each frame is tried alone, so that a bad one does not fault its neighbours.

        Raises:
            torch.AcceleratorError: the device is unusable until the process starts anew.
        """
        if not batch:
            return []
        try:
            return self._judge_together(batch, recipes)
        except torch.AcceleratorError:
            raise
        except JUDGING_ERRORS as error:
            if len(batch) > 1:
                return [answer for each in batch for answer in self.judge([each], recipes)]
            return [refused(batch[0].frame, refusal_of(error), recipes)]

    def _judge_together(self, batch: Sequence[Prepared], recipes: Mapping[str, LineRecipe]) -> list[Answer]:
        begun_ns = time.monotonic_ns()
        pixels = self._backbone.preprocessor.batches([each.image for each in batch])
        staged_ns = time.monotonic_ns()
        features = [self._encode(of_one_size) for of_one_size in pixels]
        encoded_ns = time.monotonic_ns()
        answers: list[Answer] = []
        for line, of_line, line_features in _by_line(batch, pixels, features):
            recipe = recipes[line]
            inspections = judge(line_features, recipe.recipe, self._settings, _sizes(of_line))
            done_ns = time.monotonic_ns()
            for each, inspection in zip(of_line, inspections, strict=True):
                timings = _timings(each, begun_ns, staged_ns, encoded_ns, done_ns)
                verdict = judged(each.frame.header, inspection, recipe.stamp, timings)
                answers.append(Answer(each.frame, verdict, inspection))
        return answers

    def _encode(self, batch: PixelBatch) -> ImageFeatures:
        features = self._backbone.encode_images(batch.pixels)
        if self._backbone.device.type == "cuda":
            # The result is waited for a moment later anyway; here, so that the stages' times are true.
            torch.cuda.current_stream(self._backbone.device).synchronize()
        return features


def refused(frame: Frame, refusal: Refusal, recipes: Mapping[str, LineRecipe]) -> Answer:
    """FAULT of a frame that arrived and is not judged."""
    stamp = recipes[frame.header.line].stamp
    return Answer(frame, fault(frame.header, refusal.reason, refusal.detail, stamp))


def _timings(prepared: Prepared, begun_ns: int, staged_ns: int, encoded_ns: int, done_ns: int) -> Timings:
    """What one frame went through, in an order of its own: it waits before it is prepared and after it.

    Preparing runs beside the model's work on other frames, so the sum over frames may be more than the time
    that passed; the sum over one frame's stages is not.
    """
    waited_ns = prepared.begun_ns - prepared.frame.header.mono_ns + begun_ns - prepared.done_ns
    prepared_ns = prepared.done_ns - prepared.begun_ns + staged_ns - begun_ns
    return Timings(
        queue=waited_ns / NS_PER_MS,
        preprocess=prepared_ns / NS_PER_MS,
        infer=(encoded_ns - staged_ns) / NS_PER_MS,
        post=(done_ns - encoded_ns) / NS_PER_MS,
    )


def _by_line(
    batch: Sequence[Prepared], pixels: Sequence[PixelBatch], features: Sequence[ImageFeatures]
) -> Iterator[tuple[str, list[Prepared], ImageFeatures]]:
    """Line, its frames and their features; a line whose frames differ in shape comes once a shape."""
    for of_one_size, encoded in zip(pixels, features, strict=True):
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, position in enumerate(of_one_size.positions):
            rows[batch[position].frame.header.line].append(row)
        for line, of_line in rows.items():
            yield line, [batch[of_one_size.positions[row]] for row in of_line], encoded.select(of_line)


def _sizes(batch: Sequence[Prepared]) -> list[tuple[int, int]]:
    return [each.frame.header.captured_size for each in batch]
