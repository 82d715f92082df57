"""Pictures beside the record: the judged image and its map as files, the oldest giving way.

{directory}/{line}/{epoch}/{seq}.jpg    the image, as judged
{directory}/{line}/{epoch}/{seq}.npz    `values` (h, w) float16, `median` and `threshold` of the scale,
                                        `captured` (height, width) in pixels

The picture of a part whose alarm nobody has acknowledged gives way last: not to age, and to size only when no
other is left, because a full disk would stop the record.

A verdict's region is told in pixels of the captured image, which the camera may have shrunk before it was
judged: `captured` says by how much. Files of earlier releases have none.
"""

from __future__ import annotations

import io
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue

import numpy as np
import structlog

from alfa.errors import BadInput
from alfa.files import write_atomic
from edge.background import in_background
from edge.messages import AnomalyMap, MapHeader
from edge.rate_limited_log import RateLimitedLog

_MOST_WAITING = 64
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    size: int
    since_s: float


def evidence_path(directory: Path, line: str, epoch: int, seq: int, kind: str) -> Path:
    """Where the file of a part lies; `kind` is jpg or npz."""
    return directory / line / str(epoch) / f"{seq:09d}.{kind}"


class EvidenceStore:
    """The directory and its limits.

    Args:
        directory: made when the first file comes.
        most_bytes: of all files together; the newest picture is kept even if it is larger.
        most_s: age in seconds.
        is_open: whether the alarm of a part (line, epoch, seq) waits for its acknowledge; asked by the thread
            that prunes.

    Attributes:
        gave_way: files of such parts that went all the same.

    Raises:
        BadInput: there is something else than a directory in its place.
    """

    def __init__(
        self,
        directory: Path,
        most_bytes: int,
        most_s: float,
        is_open: Callable[[str, int, int], bool] = lambda line, epoch, seq: False,
    ) -> None:
        _check_place(directory)
        self._directory = directory
        self._most_bytes = most_bytes
        self._most_s = most_s
        self._is_open = is_open
        self._kept = deque(_found(directory))
        self._held: deque[_Kept] = deque()  # due, but of open alarms
        self._looked_at = 0
        self.gave_way = 0
        self._bytes = sum(kept.size for kept in self._kept)

    def keep(self, picture: AnomalyMap, now_s: float) -> None:
        """Write a part's files, then delete what is too old or too much.

        Args:
            picture: map and image; an empty one of either makes no file.
            now_s: seconds since 1970.

        Raises:
            OSError: not writable, or disk full; deleting was tried all the same.
        """
        try:
            if picture.jpeg:
                self._write(picture.header, "jpg", picture.jpeg, now_s)
            if picture.values.size:
                self._write(picture.header, "npz", _packed(picture), now_s)
        finally:
            self.prune(now_s)

    def prune(self, now_s: float) -> None:
        """Delete the oldest files until the rest is within both limits."""
        self._look_at_held()
        while self._kept and self._is_due(self._kept[0], now_s):
            oldest = self._kept[0]
            if self._is_of_open_alarm(oldest):
                self._held.append(oldest)
            else:
                self._delete(oldest)
            self._kept.popleft()
        while self._held and self._bytes > self._most_bytes:
            self._delete(self._held[0])
            self._held.popleft()
            self.gave_way += 1

    def _look_at_held(self) -> None:
        """One each time: however many there are, a picture is kept as fast."""
        if not self._held:
            return
        self._looked_at = (self._looked_at + 1) % len(self._held)
        kept = self._held[self._looked_at]
        if not self._is_of_open_alarm(kept):
            self._delete(kept)
            del self._held[self._looked_at]

    def _is_due(self, oldest: _Kept, now_s: float) -> bool:
        too_much = self._bytes > self._most_bytes and len(self._kept) > 1
        return too_much or now_s - oldest.since_s > self._most_s

    def _is_of_open_alarm(self, kept: _Kept) -> bool:
        line, epoch = kept.path.parent.parent.name, kept.path.parent.name
        # A file that is not named as ours are is no part's.
        if not (epoch.isdecimal() and kept.path.stem.isdecimal()):
            return False
        return self._is_open(line, int(epoch), int(kept.path.stem))

    def _delete(self, kept: _Kept) -> None:
        # First the file: one that cannot be deleted, on a disk that became read-only, still takes its room.
        kept.path.unlink(missing_ok=True)
        self._bytes -= kept.size

    def _write(self, header: MapHeader, kind: str, content: bytes, now_s: float) -> None:
        path = evidence_path(self._directory, header.line, header.epoch, header.seq, kind)
        # Waiting for the disk would hold up the record's commits, which share it, and with them the PLC.
        write_atomic(path, content, durable=False)
        self._kept.append(_Kept(path, len(content), now_s))
        self._bytes += len(content)


class EvidenceWriter:
    """Keeps pictures on a thread of its own: a slow disk costs pictures, never a verdict.

    Counters: `evidence` parts kept, `evidence_dropped` because too many waited, `evidence_failed`, and
    `evidence_gave_way`, files of parts with an open alarm for which there was no room.

    Args:
        store: used by the thread alone.
        log: where failures go.
    """

    def __init__(self, store: EvidenceStore, log: structlog.stdlib.BoundLogger) -> None:
        self._store = store
        self._log = log
        self._warnings = RateLimitedLog(log)  # of the thread
        self._waiting: Queue[AnomalyMap | None] = Queue(_MOST_WAITING)
        self.counters: Counter[str] = Counter(
            evidence=0, evidence_dropped=0, evidence_failed=0, evidence_gave_way=0
        )
        self._is_behind = False
        self._running: Future[None] = in_background("evidence", self._run)

    def put(self, picture: AnomalyMap) -> None:
        """Take a picture for keeping; never blocks.

        Raises:
            Exception: whatever ended the thread, which ends by itself only through a bug.
        """
        if self._running.done():
            self._running.result()
        try:
            self._waiting.put_nowait(picture)
        except Full:
            # One line for each time that the disk falls behind, not one a picture.
            if not self._is_behind:
                self._log.warning("evidence_dropped", line=picture.header.line, seq=picture.header.seq)
            self.counters["evidence_dropped"] += 1
            self._is_behind = True
        else:
            self._is_behind = False

    def stop(self) -> None:
        """Keep what waits, within a few seconds, and end the thread."""
        # A disk that hangs must not hold up the end: the thread is a daemon.
        with suppress(Full):
            self._waiting.put(None, timeout=_STOP_TIMEOUT_S)
        wait_for([self._running], timeout=_STOP_TIMEOUT_S)

    def _run(self) -> None:
        while (picture := self._waiting.get()) is not None:
            try:
                self._store.keep(picture, time.time())
            except OSError as error:
                self.counters["evidence_failed"] += 1
                self._warnings.warning("evidence_failed", str(error), line=picture.header.line)
            else:
                self.counters["evidence"] += 1
            self._tell_what_gave_way()

    def _tell_what_gave_way(self) -> None:
        if self._store.gave_way > self.counters["evidence_gave_way"]:
            self.counters["evidence_gave_way"] = self._store.gave_way
            self._warnings.warning(
                "evidence_gave_way", "pictures of open alarms; see results.evidence_max_mb"
            )


def _check_place(directory: Path) -> None:
    try:
        is_taken = directory.exists() and not directory.is_dir()
    except OSError as error:
        raise BadInput(
            directory, "", None, f"cannot be read ({error.strerror}); check paths.state"
        ) from error
    if is_taken:
        advice = "is no directory; move it, or name another one in results.evidence"
        raise BadInput(directory, "", None, advice)


def _found(directory: Path) -> list[_Kept]:
    """What earlier runs left, oldest first."""
    found: list[_Kept] = []
    for path in directory.glob("*/*/*"):
        if path.suffix not in (".jpg", ".npz") and not path.name.startswith("."):
            continue
        status = path.stat()
        # What a crash or a power cut left unfinished (alfa.files.write_atomic).
        if path.name.startswith(".") or status.st_size == 0:
            # Where the disk is read-only, at the next start.
            with suppress(OSError):
                path.unlink()
        else:
            found.append(_Kept(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda kept: kept.since_s)


def _packed(picture: AnomalyMap) -> bytes:
    header, stream = picture.header, io.BytesIO()
    np.savez_compressed(
        stream,
        values=picture.values,
        median=header.median,
        threshold=header.threshold,
        captured=(header.captured_height, header.captured_width),
    )
    return stream.getvalue()
