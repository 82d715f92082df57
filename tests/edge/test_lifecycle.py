"""What every service does alike: signals are asked for, systemd is told, the heart beats twice a second."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from edge.lifecycle import BEAT_PERIOD_S, Heart, Lifecycle, new_epoch
from edge.messages import ServiceState, decode_beat, encode_beat

# With systemd there, sdnotify leaves closing its socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signals_ask_the_loop_to_stop(number: signal.Signals) -> None:
    """The process goes on until its loop looks."""
    with Lifecycle() as lifecycle:
        assert not lifecycle.stopping
        os.kill(os.getpid(), number)
        assert lifecycle.stopping


def test_hangup_asks_for_one_reload() -> None:
    """SIGHUP is seen once and does not stop the service."""
    with Lifecycle() as lifecycle:
        os.kill(os.getpid(), signal.SIGHUP)
        assert lifecycle.take_reload()
        assert not lifecycle.take_reload()
        assert not lifecycle.stopping


def test_stop_from_within() -> None:
    """A service may end itself the way a signal does."""
    with Lifecycle() as lifecycle:
        lifecycle.stop()
        assert lifecycle.stopping


def test_handlers_are_given_back() -> None:
    """After the with-block signals do what they did before."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Lifecycle():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


def test_systemd_is_told(systemd: socket.socket) -> None:
    """Ready, alive and stopping arrive in systemd's own words."""
    with Lifecycle() as lifecycle:
        lifecycle.ready("capturing line1")
        lifecycle.alive()
    assert [systemd.recv(200) for _ in range(3)] == [
        b"READY=1\nSTATUS=capturing line1",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_a_status_is_one_line(systemd: socket.socket) -> None:
    """An error of several lines, such as a device's, must not become a message of its own to systemd."""
    with Lifecycle() as lifecycle:
        lifecycle.status("out of memory\nMAINPID=1")
    assert systemd.recv(200) == b"STATUS=out of memory MAINPID=1"


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by hand, the same calls do nothing."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with Lifecycle() as lifecycle:
        lifecycle.ready("capturing")
        lifecycle.alive()


def test_heart_is_due_twice_a_second() -> None:
    """At once, and then not before half a second has passed."""
    heart = Heart("camera", "line1", 7)
    assert heart.due()
    start = time.monotonic()
    while not heart.due():
        assert time.monotonic() - start < 10
    assert time.monotonic() - start >= 0.95 * BEAT_PERIOD_S


def test_changed_state_is_due_at_once() -> None:
    """A FAULT shorter than half a second is told all the same, once."""
    heart = Heart("camera", "line1", 7)
    heart.due()
    heart.state = ServiceState.FAULT
    assert heart.due()
    assert not heart.due()


def test_beat_says_what_the_heart_knows() -> None:
    """State, counters, last sequence number and error travel; a long error is cut, not refused."""
    heart = Heart("detector", "line1", 7, ServiceState.READY, last_seq=41, last_error="x" * 5000)
    heart.counters["judged"] += 42
    beat = decode_beat(encode_beat(heart.beat()))
    assert (beat.service, beat.line, beat.epoch, beat.state) == ("detector", "line1", 7, ServiceState.READY)
    assert (beat.counters, beat.last_seq, beat.pid) == ({"judged": 42}, 41, os.getpid())
    assert beat.last_error == "x" * 1000
    assert abs(beat.wall_ns - time.time_ns()) < 60e9


def test_beat_does_not_change_with_the_heart() -> None:
    """A beat is a photograph: counting on does not alter one that waits to be sent."""
    heart = Heart("camera", "line1", 7)
    heart.counters["captured"] = 1
    beat = heart.beat()
    heart.counters["captured"] = 2
    assert beat.counters == {"captured": 1}


def test_epochs_tell_starts_apart() -> None:
    """Two starts do not share an epoch, and it fits a signed 64-bit integer."""
    epochs = {new_epoch() for _ in range(100)}
    assert len(epochs) == 100
    assert all(0 <= epoch < 2**63 for epoch in epochs)


def test_log_is_json_in_a_pipe() -> None:
    """A log collector gets one JSON object a line on stderr, with service and level."""
    code = "from edge.lifecycle import configure_logging as c; c('camera').warning('lost', line='line1')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    entry = json.loads(done.stderr)
    assert (entry["service"], entry["level"], entry["event"], entry["line"]) == (
        "camera",
        "warning",
        "lost",
        "line1",
    )
    assert done.stdout == b""
