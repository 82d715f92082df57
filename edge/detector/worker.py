"""The thread that judges: takes batches, gives back verdicts first and pictures after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from edge.detector.evidence import PictureChooser, picture
from edge.detector.judging import Answer, BatchJudge
from edge.detector.queues import FrameQueues
from edge.detector.recipes import LineRecipe, Loaded
from edge.detector.verdicts import fault
from edge.messages import AnomalyMap, FaultReason, Frame, Verdict
from edge.settings import DetectorSettings, LineSettings

Output: TypeAlias = Verdict | AnomalyMap
_MS_PER_S = 1000.0
_NS_PER_MS = 1e6


class Worker:
    """Judges what waits in the queues until they are closed; `run` is the body of its thread.

    Args:
        loaded: model and recipes.
        queues: where frames wait.
        lines: settings by line, for the age limits.
        settings: batch sizes and pictures.
        deliver: takes outputs; called on the worker's thread.
    """

    def __init__(
        self,
        loaded: Loaded,
        queues: FrameQueues,
        lines: Mapping[str, LineSettings],
        settings: DetectorSettings,
        deliver: Callable[[Sequence[Output]], None],
    ) -> None:
        self._judge = BatchJudge(loaded)
        self._queues = queues
        self._lines = lines
        self._settings = settings
        self._deliver = deliver
        self._pictures = PictureChooser(settings.map_every_ok)
        self._begun_s: float | None = None
        # Replaced as a whole by the I/O loop; a batch keeps the one that it began with.
        self.recipes = loaded.recipes

    @property
    def busy_s(self) -> float:
        """Seconds that the present batch has taken so far; 0 while none is in hand. For any thread."""
        begun_s = self._begun_s
        return 0.0 if begun_s is None else time.monotonic() - begun_s

    def run(self) -> None:
        """Judge until the queues are closed.

        Raises:
            Exception: a bug or an unusable device; the frames in hand have been answered with FAULT.
        """
        while batch := self._queues.take(self._settings.max_batch, self._settings.batch_wait_ms / _MS_PER_S):
            self._begun_s = time.monotonic()
            recipes = self.recipes
            answers = self._answers(batch, recipes)
            self._deliver([answer.verdict for answer in answers])
            self._deliver([*self._evidence(answers, recipes)])
            self._begun_s = None

    def _answers(self, batch: Sequence[Frame], recipes: Mapping[str, LineRecipe]) -> list[Answer]:
        now_ns = time.monotonic_ns()
        stale = [frame for frame in batch if self._too_old(frame, now_ns)]
        in_time = [frame for frame in batch if not self._too_old(frame, now_ns)]
        try:
            answers = self._judge.judge(in_time, recipes)
        except BaseException as error:
            self._deliver([_interrupted(frame, recipes, error) for frame in batch])
            raise
        return [*answers, *(self._stale(frame, recipes, now_ns) for frame in stale)]

    def _too_old(self, frame: Frame, now_ns: int) -> bool:
        return _age_ms(frame, now_ns) > self._lines[frame.header.line].max_age_ms

    def _stale(self, frame: Frame, recipes: Mapping[str, LineRecipe], now_ns: int) -> Answer:
        detail = f"{_age_ms(frame, now_ns):.0f} ms old when its turn came"
        stamp = recipes[frame.header.line].stamp
        return Answer(frame, fault(frame.header, FaultReason.STALE, detail, stamp))

    def _evidence(self, answers: Sequence[Answer], recipes: Mapping[str, LineRecipe]) -> list[AnomalyMap]:
        return [
            picture(
                answer.frame,
                answer.verdict,
                answer.inspection,
                recipes[answer.verdict.line].recipe.map_scale,
                self._settings.jpeg_quality,
            )
            for answer in answers
            if self._pictures.wants(answer.verdict)
        ]


def _age_ms(frame: Frame, now_ns: int) -> float:
    return (now_ns - frame.header.mono_ns) / _NS_PER_MS


def _interrupted(frame: Frame, recipes: Mapping[str, LineRecipe], error: BaseException) -> Verdict:
    detail = f"the detector ended while judging: {type(error).__name__}: {error}"
    return fault(frame.header, FaultReason.MODEL_ERROR, detail, recipes[frame.header.line].stamp)
