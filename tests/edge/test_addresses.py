"""HOST:PORT in settings: what is taken, what is refused, and who could reach it."""

from __future__ import annotations

import pytest

from edge.addresses import Address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9460", "127.0.0.1", 9460), ("localhost:1", "localhost", 1), ("[::1]:65535", "::1", 65535)],
)
def test_addresses_are_read_and_written_alike(text: str, host: str, port: int) -> None:
    """Names, IPv4 and bracketed IPv6 addresses."""
    address = Address.parse(text)
    assert (address.host, address.port, str(address)) == (host, port, text)


@pytest.mark.parametrize(
    "text",
    ["", "9460", ":9460", "host", "host:", "host:0", "host:65536", "host:x", "a@b:1", "h:1/p", "::1:5"],
)
def test_anything_else_is_refused(text: str) -> None:
    """With words that say what to write."""
    with pytest.raises(ValueError, match="write HOST:PORT"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("10.0.0.1:1", False),
        ("box.example:1", False),
    ],
)
def test_only_loopback_is_for_this_machine_alone(text: str, loopback: bool) -> None:
    """A name other than localhost may lead anywhere."""
    assert Address.parse(text).is_loopback is loopback
