"""The detector's I/O loop: one thread that owns every socket and never waits for the model.

frames -> Inlet (accounting) -> FrameQueues -> Pipeline (own threads) -> outbox -> Outlet -> verdicts, maps
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import structlog
import zmq

from alfa.errors import AlfaError, Fault
from edge.detector.frame_source import FrameSource
from edge.detector.inlet import Inlet
from edge.detector.line import Line
from edge.detector.model import Model, Refused
from edge.detector.outlet import Outlet
from edge.detector.pipeline import Output, PictureDropped, Pipeline
from edge.detector.queues import Displaced, FrameQueues, LineQueue
from edge.detector.recipes import LineRecipe, Loaded
from edge.detector.verdicts import Stamp, fault
from edge.heart import Heart, new_epoch
from edge.lifecycle import Lifecycle
from edge.messages import FaultReason, Frame, ServiceState, Verdict, frame_topic
from edge.rate_limited_log import RateLimitedLog
from edge.settings import Settings
from edge.sockets import FRAME_HWM, MAP_HWM, VERDICT_HWM, Sockets, receive
from edge.speakers import Speakers

_POLL_MS = 50
_LOSSES_A_PASS = 256
_LOSSES_AT_STOP = 10_000
_STOP_TIMEOUT_S = 10.0


class DetectorService:
    """Judges the lines of one detector until it is asked to stop.

    Args:
        config: the file, read again at each reload.
        settings: as read from it.
        name: of this detector.
        lifecycle: tells of stop and reload.
        sockets: makes the sockets; used from the thread that calls `run` alone.
        log: where events go.

    Raises:
        Fault: an endpoint is served by another process.
    """

    def __init__(
        self,
        config: Path,
        settings: Settings,
        name: str,
        lifecycle: Lifecycle,
        sockets: Sockets,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._settings = settings
        self._line_settings = settings.lines_of(name)
        self._lifecycle = lifecycle
        self._sockets = sockets
        self._log = log
        self._lines = _lines(settings, name)
        self._queues = _queues(settings, name)
        self._outlet = Outlet(
            sockets.publisher(settings.detector_endpoint(name), VERDICT_HWM),
            sockets.publisher(settings.maps_endpoint(name), MAP_HWM),
            replays := sockets.replay_server(settings.replay_endpoint(name)),
            self._lines,
            log,
        )
        self._warnings = RateLimitedLog(log)
        self._cameras = Speakers.subscribed(
            sockets,
            {settings.camera_endpoint(line): [frame_topic(line)] for line in self._lines},
            FRAME_HWM,
            self._warnings,
        )
        shared = {line: settings.frames_stem(line) for line in self._lines if settings.shares_frames(line)}
        self._inlet = Inlet(
            FrameSource(self._cameras, shared, log),
            self._lines,
            self._line_settings,
            self._queues,
            self._outlet,
            log,
        )
        self._outbox: SimpleQueue[Output] = SimpleQueue()
        self._woken, self._waker = sockets.wake_pair(f"detector-{name}")
        self._poller = zmq.Poller()
        for socket in (*self._cameras.sockets, replays, self._woken):
            self._poller.register(socket, zmq.POLLIN)
        self._model = Model(config, settings, name, log)
        self._reload_error = ""
        self._waking = threading.Lock()
        self._closed = False  # under this lock
        self._pipeline: Pipeline | None = None

    def run(self) -> None:
        """Serve until stopped; at the end every part that arrived has its verdict.

        Raises:
            BadInput: prompts, bank or calibration do not fit the model.
            Fault: the model cannot be loaded, or the judging ended.
        """
        try:
            while not self._lifecycle.stopping:
                self._serve_once()
        except AlfaError as error:
            self._outlet.beat_now(ServiceState.FAULT, str(error))
            raise
        finally:
            self._finish()
            with self._waking:
                self._closed = True
        self._follow_pipeline()  # what ended it may have come with the last frames

    @property
    def hearts(self) -> list[Heart]:
        """Of its lines, for whoever watches."""
        return [line.heart for line in self._lines.values()]

    @property
    def has_abandoned_work(self) -> bool:
        """Whether a thread still computes after `run`; the process must then end without waiting for it."""
        return self._model.computing or (self._pipeline is not None and self._pipeline.running)

    def _serve_once(self) -> None:
        self._sockets.tend()
        owes_losses = any(line.owes_losses for line in self._lines.values())
        self._poller.poll(0 if owes_losses else _POLL_MS)
        self._inlet.take()
        self._warnings.tell_when_due()
        self._publish_outputs()
        self._outlet.publish_losses(_LOSSES_A_PASS)
        self._outlet.answer_replays()
        self._follow_model()
        self._follow_pipeline()
        self._beat()

    def _publish_outputs(self) -> None:
        while receive(self._woken) is not None:
            pass
        while True:
            try:
                output = self._outbox.get_nowait()
            except Empty:
                return
            if isinstance(output, Verdict):
                self._outlet.publish_verdict(output)
            elif isinstance(output, PictureDropped):
                self._outlet.count_dropped_picture(output.line, output.why)
            elif isinstance(output, Displaced):
                self._outlet.publish_displaced(output)
            else:
                self._outlet.publish_map(output)

    def _deliver(self, outputs: Sequence[Output]) -> None:
        """Called on the pipeline's threads; a ZeroMQ socket may be used by several, one after the other."""
        for output in outputs:
            self._outbox.put(output)
        with self._waking:
            # A thread that outlasts the stop must not use what the main thread destroys.
            if not self._closed:
                self._waker.send(b"")

    def _follow_model(self) -> None:
        loaded = self._model.take_loaded()
        if loaded is not None:
            self._start_pipeline(loaded)
        outcome = self._model.take_reloaded()
        if outcome is not None:
            self._take_reload(outcome)
        if self._model.can_reload() and self._lifecycle.take_reload():
            self._sockets.reload_keys()
            self._model.start_reload()

    def _start_pipeline(self, loaded: Loaded) -> None:
        max_age_ms = {name: line.max_age_ms for name, line in self._line_settings.items()}
        self._pipeline = Pipeline(loaded, self._queues, max_age_ms, self._settings.detector, self._deliver)
        self._use_recipes(loaded.recipes)
        self._pipeline.start()
        self._lifecycle.ready(self._status())
        self._log.info(
            "ready",
            lines=list(self._lines),
            model=loaded.backbone.model_id,
            weights=loaded.backbone.weights_hash,
            device=str(loaded.backbone.device),
        )

    def _take_reload(self, outcome: Mapping[str, LineRecipe] | Refused) -> None:
        """A refusal stays to be seen, in beat and status, until a reload succeeds."""
        if isinstance(outcome, Refused):
            counter, self._reload_error = "reload_refused", outcome.why
        else:
            counter, self._reload_error = "reloaded", ""
            self._use_recipes(outcome)
        for line in self._lines.values():
            line.count(counter)
        self._lifecycle.status(self._status())

    def _status(self) -> str:
        """What `systemctl status` shows of a detector that judges."""
        lines = ", ".join(f"{name} (prompts {line.stamp.prompts})" for name, line in self._lines.items())
        # The error first: systemctl cuts long lines.
        return f"{self._reload_error}; judging {lines}" if self._reload_error else f"judging {lines}"

    def _use_recipes(self, recipes: Mapping[str, LineRecipe]) -> None:
        if self._pipeline is not None:
            self._pipeline.recipes = recipes
        for name, of_line in recipes.items():
            self._lines[name].use(of_line.stamp, of_line.recipe.calibration)

    def _follow_pipeline(self) -> None:
        """Its stages end by themselves only through an exception."""
        error = None if self._pipeline is None else self._pipeline.error
        if error is None:
            return
        self._log.error("judging_ended", exc_info=error)
        raise Fault("judging_ended", f"{type(error).__name__}: {error}") from error

    def _beat(self) -> None:
        for name, line in self._lines.items():
            line.heart.counters["queue"] = self._queues.depth(name)
            line.heart.counters["prepared"] = self._queues.ready(name)
            line.heart.counters["impostors"] = self._cameras.impostors
            for counter, count in self._sockets.counters().items():
                line.heart.counters[counter] = count
        state, error = self._state()
        if self._outlet.beat(state, error) and state is not ServiceState.FAULT:
            self._lifecycle.alive()

    def _state(self) -> tuple[ServiceState, str]:
        if self._pipeline is None:
            return ServiceState.STARTING, ""
        busy_s = self._pipeline.busy_s
        if busy_s > self._settings.detector.hang_s:
            return ServiceState.FAULT, f"one batch has taken {busy_s:.0f} s so far"
        return ServiceState.READY, self._reload_error

    def _finish(self) -> None:
        """What is being judged gets the time to end; what waits, and what does not end, becomes FAULT."""
        self._inlet.take()
        unjudged = self._queues.close()
        self._let_pipeline_end()
        unjudged += self._queues.abandon()
        if self._pipeline is not None:
            self._pipeline.drop_pictures()
        self._publish_outputs()
        for frame in unjudged:
            self._outlet.publish_verdict(self._stopped(frame))
        self._outlet.publish_losses(_LOSSES_AT_STOP)
        self._outlet.close()
        # Of a start that failed there is nothing to say but why, and that is the command's one line.
        if self._pipeline is not None:
            counters = {line.name: dict(line.heart.counters) for line in self._lines.values()}
            self._log.info("stopped", counters=counters)

    def _let_pipeline_end(self) -> None:
        """Verdicts leave meanwhile; beats do not, as READY would be untrue: no frame is taken any more."""
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        while self._pipeline is not None and self._pipeline.running and time.monotonic() < deadline_s:
            self._woken.poll(_POLL_MS)
            self._publish_outputs()

    def _stopped(self, frame: Frame) -> Verdict:
        stamp = self._lines[frame.header.line].stamp
        return fault(frame.header, FaultReason.NO_VERDICT, "the detector was stopped", stamp)


def _lines(settings: Settings, detector: str) -> dict[str, Line]:
    epoch = new_epoch()
    return {
        name: Line(name, epoch, Stamp(detector, line.recipe), settings.detector.history, line.free_running)
        for name, line in settings.lines_of(detector).items()
    }


def _queues(settings: Settings, detector: str) -> FrameQueues:
    return FrameQueues(
        {
            name: LineQueue(settings.detector.queue, line.overload)
            for name, line in settings.lines_of(detector).items()
        }
    )
