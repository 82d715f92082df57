"""The addresses of /metrics, /healthz and /readyz: free to listen on, and not open to everybody?"""

from __future__ import annotations

from collections.abc import Iterator

from edge.addresses import Address
from edge.check.findings import Check, Finding
from edge.check.running import is_served, try_to_listen
from edge.settings import Settings

_TAKEN = "free the port (ss -ltnp says who has it), or name another one in [http]"
_OPEN = "keep [http] on a loopback address unless the network is closed to others"


def check_pages(settings: Settings) -> Iterator[Finding]:
    """One finding for each address in `[http]`."""
    http = settings.http
    yield from _check("results", http.results, settings.results_endpoint())
    for name, listen in http.detectors.items():
        yield from _check(f"detector {name}", listen, settings.detector_endpoint(name))
    for name, listen in http.cameras.items():
        yield from _check(f"camera {name}", listen, settings.camera_endpoint(name))


def _check(service: str, listen: str, endpoint: str) -> Iterator[Finding]:
    """Nothing of a service without pages; the port of one that runs is its own."""
    if not listen:
        return
    check = Check("pages", service)
    address = Address.parse(listen)
    is_running = is_served(endpoint)
    yield check.tried(lambda: _look(check, address, is_running), _TAKEN)


def _look(check: Check, address: Address, is_running: bool) -> Finding:
    if not is_running:
        try_to_listen(address)
    if not address.is_loopback:
        return check.warn(f"{address} can be reached from other machines", _OPEN)
    return check.ok(f"{address}, for this machine alone")
