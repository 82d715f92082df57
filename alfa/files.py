"""Files that are replaced whole or not at all, and the hashes that name their content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alfa.errors import BadInput

HASH_DIGITS = 16
_CHUNK_BYTES = 1 << 20


def write_atomic(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace `path` by `content` so that a reader or a power cut sees the old file or the new one.

    Args:
        path: the file.
        content: all of it.
        durable: False does not wait for the disk: a power cut within the next seconds may leave `path` empty.

    Raises:
        OSError: the directory is not writable or the disk is full; `path` is then unchanged.
    """
    make_directory(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
            # mkstemp makes 0600; what is written here is read by services of the same group. By descriptor:
            # in a directory of theirs a name may have become a link to somebody else's file by now.
            os.fchmod(descriptor, 0o640)
            _give_to_owner_of(path.parent, descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
    if durable:
        _sync_directory(path.parent)


def make_directory(directory: Path, mode: int = 0o777) -> None:
    """Make a directory, and those that lead to it, where they are missing.

    Args:
        directory: belongs to the owner of the one above it where root makes it.
        mode: of this one, less the umask.

    Raises:
        OSError: it cannot be made.
    """
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(mode, exist_ok=True)
    _give_to_owner_of(directory.parent, directory)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within it, a text file the user named that cannot be read is bad input.

    Raises:
        BadInput: it is missing, unreadable or not UTF-8.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(path, "", None, "no such file; check the path") from error
    except OSError as error:
        raise BadInput(path, "", None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(path, "", None, f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def content_hash(content: bytes) -> str:
    """The first 16 hex digits of SHA-256: short enough for a verdict, long enough to tell files apart."""
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def file_hash(*paths: Path) -> str:
    """`content_hash` over the bytes of one or several files in the order given, read in chunks."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()[:HASH_DIGITS]


def _give_to_owner_of(directory: Path, made: int | Path) -> None:
    """What root writes for a service must be the service's, or it could not be read at the next reload."""
    if os.geteuid() == 0:
        owner = directory.stat()
        # A root that may not, as in some containers, keeps what it wrote.
        with suppress(OSError):
            if isinstance(made, int):
                os.fchown(made, owner.st_uid, owner.st_gid)
            else:
                os.lchown(made, owner.st_uid, owner.st_gid)


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable, not only the bytes."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
