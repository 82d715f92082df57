"""Keys of TCP endpoints: there, of the right role, and the secret ones read by their owner alone."""

from __future__ import annotations

from collections.abc import Iterator

from edge.check.findings import Check, Finding
from edge.security.keys import KeyDirectory, Role
from edge.settings import Settings

_ADVICE = "make or copy keys as docs/security.md says: `edge-keys new`, `edge-keys list`"


def check_keys(settings: Settings) -> Iterator[Finding]:
    """One finding for each service that uses TCP, and one of the list of those that are let in."""
    network = settings.network
    if network is None:
        yield Check("keys", "").ok("no [network] table: nothing leaves the box, no keys are needed")
        return
    keys = KeyDirectory(network.keys)
    allowed = Check("keys", str(network.keys))
    yield allowed.tried(lambda: allowed.ok(f"{len(keys.certificates())} keys are let in"), _ADVICE)
    for role, name in _services(settings):
        key = network.key_of(role, name)
        if key is not None:
            yield _check_key(keys, key, role)


def _services(settings: Settings) -> Iterator[tuple[Role, str]]:
    yield Role.RESULTS, ""
    yield from ((Role.DETECTOR, name) for name in settings.detectors())
    yield from ((Role.CAMERA, name) for name in settings.lines)
    yield Role.SUBSCRIBER, ""


def _check_key(keys: KeyDirectory, key: str, role: Role) -> Finding:
    """The secret may be on another host, or with systemd alone (LoadCredential): then it is not here."""
    check = Check("key", key)

    def look() -> Finding:
        keys.certificate(key, role)
        if not keys.has_secret(key):
            return check.ok(f"{role}; its secret is on another host or with systemd")
        keys.pair(key, role, environment={})
        return check.ok(f"{role}; its secret is here and for its owner alone")

    return check.tried(look, _ADVICE)
