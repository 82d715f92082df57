"""What one service shows to others over TCP, and whom it lets in."""

from __future__ import annotations

import os
from collections.abc import Mapping

from alfa.errors import BadInput
from edge.security.doors import LETS_IN, SERVED_BY, Door, Doorway
from edge.security.keys import Certificate, KeyDirectory, KeyPair, Role
from edge.security.settings import NetworkSettings


class NotLetIn(Exception):
    """A peer that a door refuses; says why, in words of our own."""


class Credentials:
    """A service's keys and its list of those that are let in.

    The list is replaced as a whole, so that the guard's thread may read while the service reloads.

    Args:
        keys: the directory of all keys.
        own: of this service.
        doorways: every TCP endpoint of the line.

    Raises:
        BadInput: a key of the directory cannot be taken, or one of a service behind a door is missing.
    """

    def __init__(self, keys: KeyDirectory, own: KeyPair, doorways: Mapping[str, Doorway]) -> None:
        self.own = own
        self._keys = keys
        self._doorways = doorways
        self._allowed = self._read_allowed()

    @classmethod
    def load(
        cls,
        network: NetworkSettings | None,
        role: Role,
        name: str = "",
        environment: Mapping[str, str] = os.environ,
    ) -> Credentials | None:
        """A service's credentials as config.toml names them; None where it uses ipc alone.

        Args:
            network: the table, with absolute paths.
            role: of the service.
            name: of the camera's line or of the detector.
            environment: names systemd's directory of credentials.

        Raises:
            BadInput: a key is missing, damaged, of another role, or may be read by others.
        """
        key = None if network is None else network.key_of(role, name)
        if network is None or key is None:
            return None
        keys = KeyDirectory(network.keys)
        return cls(keys, keys.pair(key, role, environment), network.doorways)

    def bound_as(self, endpoint: str) -> Door:
        """What an endpoint is for that this service is about to bind.

        Raises:
            BadInput: it is none of ours.
        """
        doorway = self._doorway(endpoint)
        if doorway.key != self.own.certificate.name:
            raise BadInput(
                endpoint, "", None, f"is {doorway.key}'s; {self.own.certificate.name} cannot bind it"
            )
        return doorway.door

    def server_key(self, endpoint: str) -> bytes:
        """The public key that the service behind an endpoint must prove to have.

        Raises:
            BadInput: it is missing, damaged, or of another role.
        """
        doorway = self._doorway(endpoint)
        return self._keys.certificate(doorway.key, SERVED_BY[doorway.door]).key

    def let_in(self, door: Door, public: str) -> Certificate:
        """Who a key belongs to, where its role may come in.

        Args:
            door: that it asks to enter.
            public: the key it proved to have (Z85).

        Raises:
            NotLetIn: nobody's key, or one of a role that has no business there.
        """
        certificate = self._allowed.get(public)
        if certificate is None:
            raise NotLetIn("unknown key")
        if certificate.role not in LETS_IN[door]:
            raise NotLetIn(f"role {certificate.role}")
        return certificate

    def reload(self) -> bool:
        """Read the directory again; True where a key that was let in is gone or has another role.

        Raises:
            BadInput: as at the start; the list stays as it was.
        """
        before, now = self._allowed, self._read_allowed()
        self._allowed = now
        return any(now.get(public) != certificate for public, certificate in before.items())

    def _read_allowed(self) -> Mapping[str, Certificate]:
        return {certificate.public: certificate for certificate in self._keys.certificates()}

    def _doorway(self, endpoint: str) -> Doorway:
        try:
            return self._doorways[endpoint]
        except KeyError:
            raise BadInput(endpoint, "", None, "is not in [network], which names the keys for it") from None
