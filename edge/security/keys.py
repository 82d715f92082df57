"""Keys of the line's peers: one pair each, in a directory that is also the list of who is let in.

    NAME.pub      who it is, in which role, and the public key (TOML); on every host that NAME speaks to
    NAME.key      the secret key alone, 40 characters of Z85; on NAME's own host, mode 0600
    NAME.revoked  what was NAME.pub; the name is not given again, as it stands in logs

The keys are ZeroMQ's own (CURVE, https://rfc.zeromq.org/spec/25), made by `zmq.curve_keypair`.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import zmq
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from alfa.errors import BadInput
from alfa.files import make_directory, reading, write_atomic
from alfa.tables import first_problem, read_toml
from edge.messages import NAME_PATTERN

_PUBLIC, _SECRET, _REVOKED = ".pub", ".key", ".revoked"
_KEY_PATTERN = r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}"  # Z85 of 32 bytes
_OTHERS_MAY_WRITE = stat.S_IWOTH
_GROUP_OR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SECRET_MODE = 0o600
_CREDENTIALS = "CREDENTIALS_DIRECTORY"


class Role(StrEnum):
    """What a peer is on the line; decides which doors let it in (`edge.security.doors`)."""

    CAMERA = "camera"
    DETECTOR = "detector"
    RESULTS = "results"
    SUBSCRIBER = "subscriber"


class Certificate(BaseModel):
    """What others know of a peer: the content of NAME.pub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    role: Role
    public: Annotated[str, Field(pattern=f"^{_KEY_PATTERN}$")]
    created: datetime

    @property
    def key(self) -> bytes:
        """As ZeroMQ's options take it (Z85)."""
        return self.public.encode()


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A peer's own end: its certificate and its secret key, which no repr, log line or error shows."""

    certificate: Certificate
    secret: SecretStr


class KeyDirectory:
    """A directory of keys; made by `edge-keys new`, read by every service that speaks TCP.

    Args:
        path: the directory; it need not exist before the first `create`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, name: str, role: Role) -> Certificate:
        """Make a key pair and write both files.

        Raises:
            BadInput: the name cannot be one, is in use or was revoked, or the directory cannot be written.
        """
        if not re.fullmatch(NAME_PATTERN, name):
            raise BadInput("NAME", "", name, "use letters, digits, '_', '-' and '.', at most 64")
        public, secret = zmq.curve_keypair()
        certificate = Certificate(
            name=name, role=role, public=public.decode(), created=datetime.now(UTC).replace(microsecond=0)
        )
        try:
            make_directory(self.path, 0o750)
            self._require_unused(name)
            # The secret first: a public key without one would let nobody in, but look as if it did.
            _write_secret(self._file(name, _SECRET), secret)
            write_atomic(self._file(name, _PUBLIC), _to_toml(certificate))
        except OSError as error:
            raise BadInput(self.path, "", None, f"cannot be written: {error.strerror}") from error
        return certificate

    def certificate(self, name: str, role: Role | None = None) -> Certificate:
        """The certificate of one peer, in force.

        Args:
            name: of its key.
            role: that it must have; None for any.

        Raises:
            BadInput: there is none of that name, it is damaged, or of another role, or its key was revoked,
                be it under another name.
        """
        certificate, path = self._named(name), self._file(name, _PUBLIC)
        if certificate.public in self._revoked_keys():
            raise BadInput(path, "public", None, "this key was revoked under another name; make a new one")
        if role not in (None, certificate.role):
            raise BadInput(path, "role", str(certificate.role), f"a key of role {role} is needed here")
        return certificate

    def _named(self, name: str) -> Certificate:
        path = self._file(name, _PUBLIC)
        files = self._names()
        if f"{name}{_REVOKED}" in files:
            raise BadInput(
                path, "", None, "this key was revoked; make one of another name with `edge-keys new`"
            )
        if path.name not in files:
            raise BadInput(
                path, "", None, "no such key; make it with `edge-keys new`, or copy it from its host"
            )
        return _read(path)

    def certificates(self) -> list[Certificate]:
        """All that are in force, by name; not one that was revoked, though its file was copied here again,
        by its name or by another.

        Raises:
            BadInput: the directory is not there or cannot be read, it or one of its files may be written by
                everybody, or a file is damaged.
        """
        files = self._names()
        _require_trusted(self.path, "anyone may add keys; make it 0750")
        found = (name.removesuffix(_PUBLIC) for name in files if name.endswith(_PUBLIC))
        names = sorted(name for name in found if f"{name}{_REVOKED}" not in files)
        in_force = [_read(self._file(name, _PUBLIC)) for name in names]
        revoked = self._revoked_keys()
        return [certificate for certificate in in_force if certificate.public not in revoked]

    def revoked(self) -> list[str]:
        """The names that are let in no more."""
        return sorted(name.removesuffix(_REVOKED) for name in self._names() if name.endswith(_REVOKED))

    def revoke(self, name: str) -> Certificate:
        """Let a peer in no more; services take it up when they reload or start. Its secret here is removed.

        Raises:
            BadInput: there is no key of that name, or the directory cannot be written.
        """
        certificate = self._named(name)
        try:
            self._file(name, _PUBLIC).rename(self._file(name, _REVOKED))
            self._file(name, _SECRET).unlink(missing_ok=True)
        except OSError as error:
            raise BadInput(self.path, "", None, f"cannot be written: {error.strerror}") from error
        return certificate

    def pair(self, name: str, role: Role, environment: Mapping[str, str] = os.environ) -> KeyPair:
        """A service's own keys: the secret from systemd's credentials, else from this directory.

        Args:
            name: of the key.
            role: that it must have.
            environment: names the credentials' directory.

        Raises:
            BadInput: a file is missing or damaged, the secret may be read by others than its owner or belongs
                to another public key, or the role is another.
        """
        certificate = self.certificate(name, role)
        path, secret = self._secret(name, environment)
        if zmq.curve_public(secret.get_secret_value().encode()) != certificate.key:
            raise BadInput(
                path, "", None, f"is not the secret of {self._file(name, _PUBLIC)}; copy both anew"
            )
        return KeyPair(certificate, secret)

    def has_secret(self, name: str) -> bool:
        """Whether the secret key is in this directory; else it is on another host, or with systemd alone."""
        return self._file(name, _SECRET).exists()

    def _secret(self, name: str, environment: Mapping[str, str]) -> tuple[Path, SecretStr]:
        """systemd hands a credential to the service's user alone, which its mode bits need not show."""
        directory = environment.get(_CREDENTIALS)
        if directory and (credential := Path(directory) / f"{name}{_SECRET}").exists():
            return credential, _read_secret(credential)
        path = self._file(name, _SECRET)
        if not path.exists():
            raise BadInput(
                path, "", None, "no such secret key; copy it here, mode 0600, or use LoadCredential="
            )
        mode = path.stat().st_mode
        if mode & _GROUP_OR_OTHERS:
            raise BadInput(
                path, "", None, f"has mode {stat.S_IMODE(mode):04o}: others may read it; make it 0600"
            )
        return path, _read_secret(path)

    def _names(self) -> set[str]:
        """Of its files. One that may not be read is told, and never taken for an empty list."""
        try:
            return {path.name for path in self.path.iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            raise BadInput(self.path, "", None, "no such directory; make keys with `edge-keys new`") from None
        except OSError as error:
            raise BadInput(
                self.path, "", None, f"cannot be read ({error.strerror}); chgrp alfa, and mode 0750"
            ) from error

    def _require_unused(self, name: str) -> None:
        files = self._names()
        for suffix in (_PUBLIC, _SECRET, _REVOKED):
            if f"{name}{suffix}" in files:
                raise BadInput(self._file(name, suffix), "", None, "is there already; choose another name")

    def _revoked_keys(self) -> set[str]:
        """The public keys themselves; of a file that is damaged the name alone counts."""
        keys: set[str] = set()
        for name in self.revoked():
            with contextlib.suppress(BadInput):
                keys.add(str(read_toml(self._file(name, _REVOKED)).get("public")))
        return keys

    def _file(self, name: str, suffix: str) -> Path:
        return self.path / f"{name}{suffix}"


def _require_trusted(path: Path, danger: str) -> None:
    mode = path.stat().st_mode
    if mode & _OTHERS_MAY_WRITE:
        raise BadInput(path, "", None, f"has mode {stat.S_IMODE(mode):04o}: {danger}")


def _read(path: Path) -> Certificate:
    with reading(path):
        _require_trusted(path, "anyone may put a key of his own there; make it 0640")
    try:
        certificate = Certificate.model_validate(read_toml(path))
    except ValidationError as error:
        raise first_problem(path, error) from error
    if certificate.name != path.name.removesuffix(_PUBLIC):
        raise BadInput(path, "name", certificate.name, "is not the file's name; rename the file")
    return certificate


def _to_toml(certificate: Certificate) -> bytes:
    created = certificate.created.isoformat().replace("+00:00", "Z")
    return (
        f'name = "{certificate.name}"\nrole = "{certificate.role}"\n'
        f'public = "{certificate.public}"\ncreated = {created}\n'
    ).encode()


def _read_secret(path: Path) -> SecretStr:
    with reading(path):
        text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(_KEY_PATTERN, text):
        # Never with its value.
        raise BadInput(path, "", None, "is no secret key: 40 characters of Z85 on one line")
    return SecretStr(text)


def _write_secret(path: Path, secret: bytes) -> None:
    """Private from its first byte on: never for a moment with another mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _SECRET_MODE)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secret + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
