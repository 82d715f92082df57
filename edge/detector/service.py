"""The detector's I/O loop: one thread that owns every socket and never waits for the model.

frames -> Inlet (accounting) -> FrameQueues -> Worker (its own thread) -> outbox -> Outlet -> verdicts, maps
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue

import structlog
import zmq

from alfa.errors import AlfaError, Fault
from edge.background import in_background
from edge.detector.frame_source import FrameSource
from edge.detector.inlet import Inlet
from edge.detector.line import Line
from edge.detector.model import Model
from edge.detector.outlet import Outlet
from edge.detector.queues import FrameQueues, LineQueue
from edge.detector.recipes import LineRecipe, Loaded
from edge.detector.verdicts import Stamp, fault
from edge.detector.worker import Output, Worker
from edge.lifecycle import Lifecycle, new_epoch
from edge.messages import FaultReason, Frame, ServiceState, Verdict, frame_topic
from edge.settings import Settings
from edge.sockets import FRAME_HWM, MAP_HWM, VERDICT_HWM, Sockets, receive

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
        frames = sockets.speaking_subscriber(
            map(settings.camera_endpoint, self._lines), map(frame_topic, self._lines), FRAME_HWM
        )
        shared = {
            line: settings.frames_stem(line) for line, its in self._line_settings.items() if its.shared_frames
        }
        self._inlet = Inlet(
            FrameSource(frames, shared), self._lines, self._line_settings, self._queues, self._outlet, log
        )
        self._outbox: SimpleQueue[Output] = SimpleQueue()
        self._woken, self._waker = sockets.wake_pair(f"detector-{name}")
        self._poller = zmq.Poller()
        for socket in (frames, replays, self._woken):
            self._poller.register(socket, zmq.POLLIN)
        self._model = Model(config, settings, name, log)
        self._worker: Worker | None = None
        self._working: Future[None] | None = None

    def run(self) -> None:
        """Serve until stopped; at the end every part that arrived has its verdict.

        Raises:
            BadInput: prompts, bank or calibration do not fit the model.
            Fault: the model cannot be loaded, or the worker ended.
        """
        try:
            while not self._lifecycle.stopping:
                self._serve_once()
        except AlfaError as error:
            self._outlet.beat_now(ServiceState.FAULT, str(error))
            raise
        finally:
            self._finish()

    @property
    def has_abandoned_work(self) -> bool:
        """Whether a thread still computes after `run`; the process must then end without waiting for it."""
        return self._model.computing or (self._working is not None and not self._working.done())

    def _serve_once(self) -> None:
        owes_losses = any(line.owes_losses for line in self._lines.values())
        self._poller.poll(0 if owes_losses else _POLL_MS)
        self._inlet.take()
        self._publish_outputs()
        self._outlet.publish_losses(_LOSSES_A_PASS)
        self._outlet.answer_replays()
        self._follow_model()
        self._follow_worker()
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
            else:
                self._outlet.publish_map(output)

    def _deliver(self, outputs: Sequence[Output]) -> None:
        """Called on the worker's thread, which alone uses the waker."""
        for output in outputs:
            self._outbox.put(output)
        self._waker.send(b"")

    def _follow_model(self) -> None:
        loaded = self._model.take_loaded()
        if loaded is not None:
            self._start_worker(loaded)
        changed = self._model.take_reloaded()
        if changed is not None:
            self._use_recipes(changed)
            for line in self._lines.values():
                line.count("reloaded")
        if self._model.can_reload() and self._lifecycle.take_reload():
            self._model.start_reload()

    def _start_worker(self, loaded: Loaded) -> None:
        self._worker = Worker(
            loaded, self._queues, self._line_settings, self._settings.detector, self._deliver
        )
        self._use_recipes(loaded.recipes)
        self._working = in_background("judge", self._worker.run)
        self._lifecycle.ready(f"judging {', '.join(self._lines)}")
        self._log.info(
            "ready",
            lines=list(self._lines),
            model=loaded.backbone.model_id,
            weights=loaded.backbone.weights_hash,
            device=str(loaded.backbone.device),
        )

    def _use_recipes(self, recipes: Mapping[str, LineRecipe]) -> None:
        if self._worker is not None:
            self._worker.recipes = recipes
        for name, of_line in recipes.items():
            self._lines[name].stamp = of_line.stamp

    def _follow_worker(self) -> None:
        """The worker ends by itself only through an exception."""
        if self._working is None or not self._working.done():
            return
        error = self._working.exception()
        self._log.error("worker_ended", exc_info=error)
        raise Fault("worker_ended", f"{type(error).__name__}: {error}") from error

    def _beat(self) -> None:
        for name, line in self._lines.items():
            line.heart.counters["queue"] = self._queues.depth(name)
        state, error = self._state()
        if self._outlet.beat(state, error) and state is not ServiceState.FAULT:
            self._lifecycle.alive()

    def _state(self) -> tuple[ServiceState, str]:
        if self._worker is None:
            return ServiceState.STARTING, ""
        busy_s = self._worker.busy_s
        if busy_s > self._settings.detector.hang_s:
            return ServiceState.FAULT, f"one batch has taken {busy_s:.0f} s so far"
        return ServiceState.READY, self._model.reload_error

    def _finish(self) -> None:
        """What the worker has in hand is judged; what still waits becomes FAULT."""
        self._inlet.take()
        waiting = self._queues.close()
        if self._working is not None:
            concurrent.futures.wait([self._working], timeout=_STOP_TIMEOUT_S)
        self._publish_outputs()
        for frame in waiting:
            self._outlet.publish_verdict(self._stopped(frame))
        self._outlet.publish_losses(_LOSSES_AT_STOP)
        self._outlet.close()
        # Of a start that failed there is nothing to say but why, and that is the command's one line.
        if self._worker is not None:
            counters = {line.name: dict(line.heart.counters) for line in self._lines.values()}
            self._log.info("stopped", counters=counters)

    def _stopped(self, frame: Frame) -> Verdict:
        stamp = self._lines[frame.header.line].stamp
        return fault(frame.header, FaultReason.NO_VERDICT, "the detector was stopped", stamp)


def _lines(settings: Settings, detector: str) -> dict[str, Line]:
    epoch = new_epoch()
    return {
        name: Line(name, epoch, Stamp(detector, line.recipe), settings.detector.history)
        for name, line in settings.lines_of(detector).items()
    }


def _queues(settings: Settings, detector: str) -> FrameQueues:
    return FrameQueues(
        {
            name: LineQueue(settings.detector.queue, line.overload)
            for name, line in settings.lines_of(detector).items()
        }
    )
