"""The detector's way out, on real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from edge.detector.line import Line
from edge.detector.outlet import Outlet
from edge.detector.verdicts import Stamp
from edge.messages import FaultReason, Part, ServiceState, beat_topic, decode_beat, missing_verdict
from edge.sockets import BEAT_HWM, MAP_HWM, Socket, Sockets


@dataclass
class Exit:
    """An outlet of line1, its line, and who listens to its beats."""

    outlet: Outlet
    line: Line
    listener: Socket
    events: LogCapture


@pytest.fixture
def way_out(runtime_dir: Path, receive_within: Callable[..., list[Part]]) -> Iterator[Exit]:
    with Sockets() as sockets:
        endpoint = f"ipc://{runtime_dir}/detector.sock"
        publisher = sockets.watched_publisher(endpoint, BEAT_HWM)
        maps = sockets.publisher(f"ipc://{runtime_dir}/maps.sock", MAP_HWM)
        replays = sockets.replay_server(f"ipc://{runtime_dir}/replay.sock")
        line, events = Line("line1", 1, Stamp("main", 0), 10), LogCapture()
        log = structlog.wrap_logger(
            structlog.PrintLogger(), processors=[structlog.contextvars.merge_contextvars, events]
        )
        outlet = Outlet(publisher, maps, replays, {"line1": line}, log)
        listener = sockets.subscriber([endpoint], [beat_topic("detector", "line1")], BEAT_HWM)
        receive_within(publisher)
        yield Exit(outlet, line, listener, events)


def test_change_of_state_is_told_at_once(way_out: Exit, receive_within: Callable[..., list[Part]]) -> None:
    """READY does not wait half a second for the next beat, and is not told twice."""
    assert way_out.outlet.beat(ServiceState.STARTING, "")
    assert way_out.outlet.beat(ServiceState.READY, "")
    assert not way_out.outlet.beat(ServiceState.READY, "")
    states = [decode_beat(receive_within(way_out.listener)).state for _ in range(2)]
    assert states == [ServiceState.STARTING, ServiceState.READY]


@pytest.mark.parametrize("reason", [reason for reason in FaultReason if reason is not FaultReason.NONE])
def test_every_fault_reason_is_counted_and_logged(way_out: Exit, reason: FaultReason) -> None:
    """Under its own name, counted from 0; the log has one line for many, with what became of which part."""
    assert way_out.line.heart.counters[str(reason)] == 0
    for seq in range(5):
        way_out.outlet.publish_verdict(missing_verdict("line1", 7, seq, reason, "for a test"))
    assert way_out.line.heart.counters[str(reason)] == way_out.line.heart.counters["fault"] == 5
    (event,) = (event for event in way_out.events.entries if event["event"] == "part_fault")
    told = {name: event[name] for name in ("reason", "line", "epoch", "seq", "detail", "log_level")}
    assert told == {
        "reason": str(reason),
        "line": "line1",
        "epoch": 7,
        "seq": 0,
        "detail": "for a test",
        "log_level": "warning",
    }
