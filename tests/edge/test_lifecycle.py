"""What every service does alike: signals are asked for, systemd is told."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from edge.lifecycle import Lifecycle

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
