"""Everything that enters the results service, decoded; what cannot be decoded is counted and logged."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import zmq

from edge.addresses import IPC
from edge.messages import (
    AnomalyMap,
    Beat,
    DecodeError,
    Part,
    ReplayRequest,
    Verdict,
    beat_topic,
    decode_beat,
    decode_map,
    decode_replay,
    decode_verdict,
    encode_replay_request,
    map_topic,
    replay_topic,
    verdict_topic,
)
from edge.rate_limited_log import RateLimitedLog
from edge.settings import Settings
from edge.sockets import BEAT_HWM, MAP_HWM, VERDICT_HWM, Sockets, offer
from edge.speakers import Speaker, Speakers

# Bound the time between two beats when much comes at once.
_MESSAGES_A_PASS = 500
_MAPS_A_PASS = 16
_Message = TypeVar("_Message")


@dataclass(slots=True)
class Delivery:
    """What one look into the inbox brought, each kind in order of arrival."""

    beats: list[Beat] = field(default_factory=list)
    replayed: list[Verdict] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    maps: list[AnomalyMap] = field(default_factory=list)


class Inbox:
    """The sockets of the service's inputs.

    Args:
        sockets: makes them.
        settings: of the whole box.
        undecodable: counts messages that could not be taken, by line.
        warnings: where they are told.
    """

    def __init__(
        self,
        sockets: Sockets,
        settings: Settings,
        undecodable: Mapping[str, Counter[str]],
        warnings: RateLimitedLog,
    ) -> None:
        self._undecodable = undecodable
        self._warnings = warnings
        detectors = {name: settings.lines_of(name) for name in settings.detectors()}
        # One socket for both: who hears a detector's first beat is subscribed to its verdicts already, so
        # that nothing falls between the replay, which a beat brings about, and what follows.
        of_detectors = {
            settings.detector_endpoint(name): [
                topic for line in lines for topic in (verdict_topic(line), beat_topic("detector", line))
            ]
            for name, lines in detectors.items()
        }
        of_cameras = {settings.camera_endpoint(line): [beat_topic("camera", line)] for line in settings.lines}
        of_maps = {settings.maps_endpoint(name): map(map_topic, lines) for name, lines in detectors.items()}
        self._detectors = Speakers.subscribed(sockets, of_detectors, VERDICT_HWM, warnings)
        self._cameras = Speakers.subscribed(sockets, of_cameras, BEAT_HWM, warnings)
        self._maps = Speakers.subscribed(sockets, of_maps, MAP_HWM, warnings)
        clients = {
            name: _replay_client(sockets, settings.replay_endpoint(name), lines)
            for name, lines in detectors.items()
        }
        self._replay_of = {name: clients[line.detector].socket for name, line in settings.lines.items()}
        self._replays = Speakers(clients.values(), warnings)
        self._replayed: deque[tuple[bytes, list[Part]]] = deque()
        self._poller = zmq.Poller()
        for speakers in self._all:
            for socket in speakers.sockets:
                self._poller.register(socket, zmq.POLLIN)

    @property
    def impostors(self) -> int:
        """Messages dropped because their sender may not speak for their line (`Speakers`)."""
        return sum(speakers.impostors for speakers in self._all)

    def ask_replay(self, line: str) -> None:
        """Ask the line's detector for the verdicts that it still holds; they come with a later delivery."""
        if not offer(self._replay_of[line], encode_replay_request(ReplayRequest(line))):
            # It is asked again while parts are missing.
            self._warnings.warning("replay_not_asked", "the detector takes no requests", line=line)

    def take(self, wait_ms: int) -> Delivery:
        """What is there, up to a bound; waits at most so long for the first message."""
        self._poller.poll(0 if self._replayed else wait_ms)
        delivery = Delivery()
        for topic, parts in self._cameras.take(_MESSAGES_A_PASS):
            self._decode(topic, parts, decode_beat, delivery.beats)
        for topic, parts in self._detectors.take(_MESSAGES_A_PASS):
            if topic.startswith(b"beat/"):
                self._decode(topic, parts, decode_beat, delivery.beats)
            else:
                self._decode(topic, parts, decode_verdict, delivery.verdicts)
        self._take_replays(delivery.replayed)
        for topic, parts in self._maps.take(_MAPS_A_PASS):
            self._decode(topic, parts, decode_map, delivery.maps)
        return delivery

    def _take_replays(self, replayed: list[Verdict]) -> None:
        """A long replay is taken a piece at a time; others wait in their sockets, which are bounded."""
        if not self._replayed:
            self._replayed.extend(self._pieces())
        if self._replayed:
            pieces: list[list[Verdict]] = []
            self._decode(*self._replayed.popleft(), decode_replay, pieces)
            replayed += [verdict for piece in pieces for verdict in piece]

    def _pieces(self) -> Iterator[tuple[bytes, list[Part]]]:
        """Of the next replay."""
        for topic, (first, *packed) in self._replays.take(most=1):
            for start in range(0, len(packed), _MESSAGES_A_PASS):
                yield topic, [first, *packed[start : start + _MESSAGES_A_PASS]]

    @property
    def _all(self) -> tuple[Speakers, ...]:
        return self._detectors, self._cameras, self._maps, self._replays

    def _decode(
        self, topic: bytes, parts: list[Part], decode: Callable[[list[Part]], _Message], into: list[_Message]
    ) -> None:
        try:
            into.append(decode(parts))
        except DecodeError as error:
            asked = topic.decode()
            line = asked.rstrip("/").rpartition("/")[2]
            self._undecodable[line]["undecodable"] += 1
            self._warnings.warning("undecodable", f"{asked}: {error}", reason=error.reason)


def _replay_client(sockets: Sockets, endpoint: str, lines: Iterable[str]) -> Speaker:
    """It answers for what it is asked, and is asked for its own lines."""
    topics = frozenset(map(replay_topic, lines))
    return Speaker(sockets.replay_client(endpoint), endpoint, topics, near=endpoint.startswith(IPC))
