"""The stages of judging, a thread each, working at the same time on different frames.

    prepare   a waiting frame                    -> fitted to the model, in its queue
    judge     prepared frames, across the lines  -> verdicts, delivered at once
    draw      judged frames that want a picture  -> map and JPEG

No stage waits for the one after it: frames wait in bounded queues before they are judged, and a picture that
finds no room is dropped and counted, so pictures cannot hold up verdicts. Adapting, scoring, the bank and the
region stay in `judge`: nearly all of them runs where the model runs (benchmarks/stages.py), and a thread of
their own would not make that any wider.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from edge.background import in_background
from edge.detector.evidence import PictureChooser, picture
from edge.detector.judging import Answer, BatchJudge, refused
from edge.detector.offers import Offers
from edge.detector.preparing import JUDGING_ERRORS, Prepared, Preparer, Refusal
from edge.detector.queues import Displaced, FrameQueues
from edge.detector.recipes import LineRecipe, Loaded
from edge.messages import AnomalyMap, FaultReason, Frame, Verdict
from edge.settings import DetectorSettings

_MS_PER_S = 1000.0


@dataclass(frozen=True, slots=True)
class PictureDropped:
    """A part of this line should have had a picture and has none."""

    line: str
    why: str = "drawn slower than parts ask for them"


Output: TypeAlias = Verdict | AnomalyMap | PictureDropped | Displaced


class Pipeline:
    """Judges what waits in the queues until they are closed.

    Args:
        loaded: model and recipes.
        queues: where frames wait.
        max_age_ms: by line, older frames are not judged.
        settings: batch sizes and pictures.
        deliver: takes outputs; called on several threads.
    """

    def __init__(
        self,
        loaded: Loaded,
        queues: FrameQueues,
        max_age_ms: Mapping[str, int],
        settings: DetectorSettings,
        deliver: Callable[[Sequence[Output]], None],
    ) -> None:
        self._preparer = Preparer(loaded.backbone.preprocessor, max_age_ms)
        self._judge = BatchJudge(loaded)
        self._queues = queues
        self._settings = settings
        self._deliver = deliver
        self._chooser = PictureChooser(settings.map_every_ok)
        # As many as one batch can ask for: of 12-megapixel frames each holds 36 MB.
        self._drawings: Offers[tuple[Answer, tuple[float, float]]] = Offers(settings.max_batch)
        self._preparing, self._judging = _Stint(), _Stint()
        self._threads: list[Future[None]] = []
        # Replaced as a whole by the I/O loop; a batch keeps the one that it began with.
        self.recipes = loaded.recipes

    def start(self) -> None:
        """Start all stages."""
        stages = {"prepare": self._prepare, "judge": self._judge_batches, "draw": self._draw}
        self._threads = [in_background(name, stage) for name, stage in stages.items()]

    @property
    def busy_s(self) -> float:
        """Seconds that a frame or batch in hand has taken so far; 0 while none is. For any thread."""
        return max(self._preparing.seconds, self._judging.seconds)

    @property
    def running(self) -> bool:
        """Whether a stage has not ended yet; all do once the queues are closed."""
        return any(not thread.done() for thread in self._threads)

    @property
    def error(self) -> BaseException | None:
        """What ended a stage; by itself none ends before the queues are closed."""
        ended = (thread.exception() for thread in self._threads if thread.done())
        return next((error for error in ended if error is not None), None)

    def drop_pictures(self) -> None:
        """Draw no more than the one in hand: whoever delivers stops."""
        waiting = self._drawings.drop()
        self._deliver(
            [PictureDropped(answer.verdict.line, "the detector was stopped") for answer, _ in waiting]
        )

    def _prepare(self) -> None:
        while (frame := self._queues.next_unprepared()) is not None:
            with self._preparing.begun():
                prepared = self._preparer.prepare(frame)
            displaced = self._queues.prepared(prepared)
            if displaced is not None:
                self._deliver([displaced])

    def _judge_batches(self) -> None:
        """Until the queues are closed.

        Raises:
            Exception: a bug or an unusable device; the frames in hand have been answered with FAULT.
        """
        wait_s = self._settings.batch_wait_ms / _MS_PER_S
        try:
            while batch := self._queues.take(self._settings.max_batch, wait_s):
                with self._judging.begun():
                    self._judge_batch(batch, self.recipes)
        finally:
            self._drawings.close()

    def _judge_batch(self, batch: Sequence[Prepared], recipes: Mapping[str, LineRecipe]) -> None:
        try:
            answers = self._answers(batch, recipes)
        except BaseException as error:
            self._answer([_interrupted(each.frame, recipes, error) for each in batch])
            raise
        if self._answer(answers):
            self._offer_pictures(answers, recipes)

    def _answers(self, batch: Sequence[Prepared], recipes: Mapping[str, LineRecipe]) -> list[Answer]:
        """Frames are asked for their age again: they have waited since they were prepared."""
        now_ns = time.monotonic_ns()
        refusals = [each.refusal or self._preparer.staleness(each.frame, now_ns) for each in batch]
        pairs = list(zip(batch, refusals, strict=True))
        judged = self._judge.judge([each for each, refusal in pairs if refusal is None], recipes)
        return [*judged, *(refused(each.frame, why, recipes) for each, why in pairs if why is not None)]

    def _answer(self, answers: Sequence[Answer]) -> bool:
        """Deliver verdicts; False where somebody else has told them."""
        with self._queues.settling() as is_ours:
            if is_ours:
                self._deliver([answer.verdict for answer in answers])
        return is_ours

    def _offer_pictures(self, answers: Sequence[Answer], recipes: Mapping[str, LineRecipe]) -> None:
        wanted = [answer for answer in answers if self._chooser.wants(answer.verdict)]
        dropped = [
            PictureDropped(answer.verdict.line)
            for answer in wanted
            if not self._drawings.offer((answer, recipes[answer.verdict.line].recipe.map_scale))
        ]
        if dropped:
            self._deliver(dropped)

    def _draw(self) -> None:
        while (drawing := self._drawings.take()) is not None:
            self._deliver([self._drawn(*drawing)])

    def _drawn(self, answer: Answer, scale: tuple[float, float]) -> AnomalyMap | PictureDropped:
        quality = self._settings.jpeg_quality
        try:
            return picture(answer.frame, answer.verdict, answer.inspection, scale, quality)
        except JUDGING_ERRORS as error:
            # The verdict is what counts and is out already.
            return PictureDropped(answer.verdict.line, f"{type(error).__name__}: {error}")


class _Stint:
    """How long the work in hand has taken so far; written by one thread, read by any."""

    def __init__(self) -> None:
        self._begun_s: float | None = None

    @property
    def seconds(self) -> float:
        """0 while there is none."""
        begun_s = self._begun_s
        return 0.0 if begun_s is None else time.monotonic() - begun_s

    @contextmanager
    def begun(self) -> Iterator[None]:
        """While inside, there is work in hand."""
        self._begun_s = time.monotonic()
        try:
            yield
        finally:
            self._begun_s = None


def _interrupted(frame: Frame, recipes: Mapping[str, LineRecipe], error: BaseException) -> Answer:
    detail = f"the detector ended while judging: {type(error).__name__}: {error}"
    return refused(frame, Refusal(FaultReason.MODEL_ERROR, detail), recipes)
