"""How many parts each start of a camera has captured, in a file that outlives the process.

Beats tell the count twice a second. A camera that is killed in between has captured parts that no beat told
of. A frame that was still in the killed process's socket is known to nobody: no gap shows it, as no frame of
that start follows. The next start reads the file and tells for the one that cannot any more.

    byte 0    epoch of this start, 8 bytes    byte 8    parts captured in it, 8 bytes
    byte 16   the start before, likewise      ...       little-endian; at most eight starts
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import structlog

from alfa.files import write_atomic
from edge.messages import MOST_EARLIER_STARTS, EarlierStart

# Epoch and count of a start, the present one first.
_ENTRY = struct.Struct("<QQ")
_COUNT = struct.Struct("<Q")
_COUNT_AT = 8
_LARGEST = 2**63 - 1


class Tally:
    """The counts of one line's camera. What cannot be written is logged, and the camera goes on without.

    Args:
        path: in the runtime directory, which lives as long as the machine runs.
        epoch: of this start.
        log: where failures go.

    Attributes:
        earlier: the counts of the starts before, the last one first.
    """

    def __init__(self, path: Path, epoch: int, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._file = -1
        self.earlier: tuple[EarlierStart, ...] = ()
        try:
            self.earlier = _read(path)
            entries = [EarlierStart(epoch, 0), *self.earlier]
            content = b"".join(_ENTRY.pack(entry.epoch, entry.captured) for entry in entries)
            # The machine's memory keeps it; a power cut ends what it is about.
            write_atomic(path, content, durable=False)
            self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self._fail(error)

    def count(self, captured: int) -> None:
        """So many parts by now; said before the part is published."""
        if self._file < 0:
            return
        try:
            os.pwrite(self._file, _COUNT.pack(captured), _COUNT_AT)
        except OSError as error:
            self.close()
            self._fail(error)

    def close(self) -> None:
        """Let go of the file; what it says stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _fail(self, error: OSError) -> None:
        self._log.warning(
            "tally_not_kept",
            detail=str(error),
            advice="parts in hand when this camera is killed may go unheard",
        )


def _read(path: Path) -> tuple[EarlierStart, ...]:
    """Nothing where there is no such file, or another than we write."""
    try:
        content = path.read_bytes()[: MOST_EARLIER_STARTS * _ENTRY.size]
    except FileNotFoundError:
        return ()
    whole = len(content) - len(content) % _ENTRY.size
    starts = (EarlierStart(*values) for values in _ENTRY.iter_unpack(content[:whole]))
    return tuple(start for start in starts if start.captured and max(start.epoch, start.captured) <= _LARGEST)
