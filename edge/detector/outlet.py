"""Everything that leaves the detector: verdicts, maps, beats, and replays of what left before."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import structlog

from edge.detector.line import Line
from edge.detector.queues import Displaced
from edge.detector.verdicts import published
from edge.log_lines import about_part
from edge.messages import (
    AnomalyMap,
    DecodeError,
    Result,
    ServiceState,
    Verdict,
    decode_replay_request,
    encode_beat,
    encode_map,
    encode_verdict,
)
from edge.rate_limited_log import RateLimitedLog
from edge.sockets import Socket, receive, send

_REPLAYS_A_PASS = 16
# A subscriber gets this long to take the last verdicts when the detector ends.
_LINGER_MS = 1000


class Outlet:
    """Publishes for all lines; the only way out, so that nothing leaves uncounted.

    Args:
        publisher: PUB socket for verdicts and beats.
        maps: PUB socket for pictures.
        replays: ROUTER socket.
        lines: by name.
        log: where events go.
    """

    def __init__(
        self,
        publisher: Socket,
        maps: Socket,
        replays: Socket,
        lines: Mapping[str, Line],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._publisher = publisher
        self._maps = maps
        self._replays = replays
        self._lines = lines
        self._log = log
        self._warnings = RateLimitedLog(log)

    def publish_verdict(self, verdict: Verdict) -> None:
        """Send a verdict with the time of now, count it and keep it for replay; a FAULT is logged, too."""
        dated = published(verdict, time.time_ns(), time.monotonic_ns())
        message = encode_verdict(dated)
        send(self._publisher, message)
        self._lines[verdict.line].published(dated, message)
        if verdict.result is Result.FAULT:
            self._tell_fault(verdict)

    def publish_displaced(self, displaced: Displaced) -> None:
        """Send the FAULT of a frame that found no room, where it is owed one."""
        verdict = self._lines[displaced.frame.header.line].displaced(displaced)
        if verdict is not None:
            self.publish_verdict(verdict)

    def publish_map(self, anomaly_map: AnomalyMap) -> None:
        """Send the picture beside a verdict."""
        send(self._maps, encode_map(anomaly_map))

    def count_dropped_picture(self, line: str, why: str) -> None:
        """Count and log a picture that was not drawn."""
        self._lines[line].count("picture_dropped")
        self._warnings.warning("picture_dropped", why, line=line)

    def publish_losses(self, most: int) -> None:
        """Send FAULT(frame_lost) for up to `most` lost parts of each line."""
        for line in self._lines.values():
            for verdict in line.losses(most):
                self.publish_verdict(verdict)

    def beat(self, state: ServiceState, error: str) -> bool:
        """Send the beats that are due; True where one was. What the log held back is told when it is due."""
        self._warnings.tell_when_due()
        for line in self._lines.values():
            told, why = _of_line(line, state, error)
            if told is not line.heart.state:
                self._log.info("state", line=line.name, state=str(told), detail=why)
        # Told to the hearts first: a change of state makes a beat due at once.
        self._tell_hearts(state, error)
        due = [line for line in self._lines.values() if line.heart.due()]
        self._send_beats(due)
        return bool(due)

    def beat_now(self, state: ServiceState, error: str) -> None:
        """Send a beat of every line, due or not: the last word of a service that ends.

        It is not logged: whoever ends the service says why.
        """
        self._tell_hearts(state, error)
        self._send_beats(self._lines.values())

    def answer_replays(self) -> None:
        """Answer requests for a line's last verdicts; one that cannot be answered is logged."""
        for _ in range(_REPLAYS_A_PASS):
            parts = receive(self._replays)
            if parts is None:
                return
            peer, *request = parts
            try:
                line = decode_replay_request(request).line
            except DecodeError as error:
                self._warnings.warning("replay_undecodable", str(error), reason=error.reason)
                continue
            if line in self._lines:
                send(self._replays, [peer, *self._lines[line].history.replay()])
            else:
                self._warnings.warning("replay_of_unknown_line", line)

    def close(self) -> None:
        """Publish no more; what was sent gets a moment to leave."""
        self._publisher.close(linger=_LINGER_MS)
        self._maps.close(linger=_LINGER_MS)

    def _tell_fault(self, verdict: Verdict) -> None:
        with about_part(verdict.line, verdict.epoch, verdict.seq, verdict.part_id):
            self._warnings.warning("part_fault", verdict.detail, line=verdict.line, reason=str(verdict.fault))

    def _tell_hearts(self, state: ServiceState, error: str) -> None:
        for line in self._lines.values():
            line.heart.state, line.heart.last_error = _of_line(line, state, error)

    def _send_beats(self, lines: Iterable[Line]) -> None:
        for line in lines:
            send(self._publisher, encode_beat(line.heart.beat()))


def _of_line(line: Line, state: ServiceState, error: str) -> tuple[ServiceState, str]:
    """A line's own trouble shows where the detector as a whole is well."""
    return (
        (ServiceState.FAULT, line.trouble) if line.trouble and state is ServiceState.READY else (state, error)
    )
