"""The addresses of the pages: free, one's own already, taken, or open to others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.check.findings import Finding, Outcome
from edge.check.pages import check_pages
from edge.processes import free_port
from edge.settings import load_settings
from edge.sockets import BEAT_HWM, Sockets

LINE = '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'


@pytest.fixture
def look(write_config: Callable[..., Path]) -> Callable[[str], list[Finding]]:
    """`look(http)` is what is found with these keys."""
    return lambda http: list(check_pages(load_settings(write_config(f"[http]\n{http}\n{LINE}"))))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        yield other.getsockname()[1]


def test_a_free_port_is_well(look: Callable[[str], list[Finding]]) -> None:
    """Of each service that is named, and of no other."""
    keys = [f'{key} = "127.0.0.1:{free_port()}"' for key in ("detectors.main", "cameras.line1")]
    found = look("\n".join(keys))
    assert [(each.subject, each.outcome) for each in found] == [
        ("detector main", Outcome.OK),
        ("camera line1", Outcome.OK),
    ]


def test_a_taken_port(look: Callable[[str], list[Finding]], taken: int) -> None:
    """The service would end with exit code 2."""
    (found,) = look(f'results = "127.0.0.1:{taken}"')
    assert (found.outcome, "in use" in found.detail) == (Outcome.FAIL, True)
    assert "[http]" in found.advice


def test_the_port_of_a_running_service_is_its_own(write_config: Callable[..., Path], taken: int) -> None:
    """It listens there as it should."""
    settings = load_settings(write_config(f'[http]\nresults = "127.0.0.1:{taken}"\n{LINE}'))
    with Sockets() as sockets:
        sockets.publisher(settings.results_endpoint(), BEAT_HWM)
        (found,) = check_pages(settings)
    assert found.outcome is Outcome.OK


def test_an_address_for_others(look: Callable[[str], list[Finding]]) -> None:
    """Only warned of: it may be meant."""
    (found,) = look(f'results = "0.0.0.0:{free_port()}"')
    assert (found.outcome, "other machines" in found.detail) == (Outcome.WARN, True)
