"""Alive, lost and back, by hand."""

from __future__ import annotations

import pytest

from edge.messages import Beat, ServiceState
from edge.results.upstream import Upstream


def beat(state: ServiceState = ServiceState.READY, epoch: int = 1, error: str = "") -> Beat:
    return Beat("camera", "line1", state, epoch, {}, last_error=error)


@pytest.fixture
def upstream() -> Upstream:
    """Lost after one second; heard of at 10 s."""
    upstream = Upstream(lost_after_s=1.0)
    upstream.hear(beat(), 10.0)
    upstream.is_lost(10.0)
    return upstream


def test_never_heard_of_is_not_lost() -> None:
    """Before its first beat a service is not alive, and that is no event."""
    upstream = Upstream(lost_after_s=1.0)
    assert not upstream.is_lost(100.0)
    assert (upstream.alive, upstream.ready, upstream.heard_of) == (False, False, False)


def test_silence_is_a_loss_once(upstream: Upstream) -> None:
    """Told at the first look after the deadline and not again."""
    assert not upstream.is_lost(11.0)
    assert upstream.alive
    assert upstream.is_lost(11.01)
    assert not upstream.is_lost(11.5)
    assert (upstream.alive, upstream.trouble) == (False, "no heartbeat")


def test_a_service_that_says_fault_is_lost(upstream: Upstream) -> None:
    """Its own words are the trouble; beating is not enough to be alive."""
    upstream.hear(beat(ServiceState.FAULT, error="device gone"), 10.5)
    assert upstream.is_lost(10.5)
    assert (upstream.alive, upstream.trouble) == (False, "device gone")
    upstream.hear(beat(), 11.0)
    assert not upstream.is_lost(11.0)
    assert upstream.alive


@pytest.mark.parametrize("state", [ServiceState.STARTING, ServiceState.PAUSED])
def test_alive_but_not_ready(upstream: Upstream, state: ServiceState) -> None:
    """A service that starts is there and does no work yet."""
    upstream.hear(beat(state), 10.5)
    assert not upstream.is_lost(10.5)
    assert (upstream.alive, upstream.ready) == (True, False)


def test_news_of_a_beat() -> None:
    """The first beat, another epoch, and the end of a silence are news; one beat after another is not."""
    upstream = Upstream(lost_after_s=1.0)
    assert [
        upstream.hear(beat(epoch=1), 10.0),
        upstream.hear(beat(epoch=1), 10.5),
        upstream.hear(beat(epoch=2), 10.6),
        upstream.hear(beat(epoch=2), 11.0),
        upstream.hear(beat(epoch=2), 12.5),
    ] == [True, False, True, False, True]
