"""The detector's way out, on real sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from edge.detector.line import Line
from edge.detector.outlet import Outlet
from edge.detector.verdicts import Stamp
from edge.messages import Part, ServiceState, beat_topic, decode_beat
from edge.sockets import BEAT_HWM, MAP_HWM, Sockets


def test_change_of_state_is_told_at_once(
    runtime_dir: Path, receive_within: Callable[..., list[Part]]
) -> None:
    """READY does not wait half a second for the next beat, and is not told twice."""
    with Sockets() as sockets:
        endpoint = f"ipc://{runtime_dir}/detector.sock"
        publisher = sockets.watched_publisher(endpoint, BEAT_HWM)
        maps = sockets.publisher(f"ipc://{runtime_dir}/maps.sock", MAP_HWM)
        replays = sockets.replay_server(f"ipc://{runtime_dir}/replay.sock")
        lines = {"line1": Line("line1", 1, Stamp("main", 0), 10)}
        outlet = Outlet(publisher, maps, replays, lines, structlog.stdlib.get_logger())
        listener = sockets.subscriber([endpoint], [beat_topic("detector", "line1")], BEAT_HWM)
        receive_within(publisher)
        assert outlet.beat(ServiceState.STARTING, "")
        assert outlet.beat(ServiceState.READY, "")
        assert not outlet.beat(ServiceState.READY, "")
        states = [decode_beat(receive_within(listener)).state for _ in range(2)]
    assert states == [ServiceState.STARTING, ServiceState.READY]
