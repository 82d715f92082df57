"""What is decoded, given to those who keep account: what one message leaves must not break at the next."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import structlog

from benchmarks.fuzz.mutations import Message
from edge.detector.line import Line as DetectorLine
from edge.detector.verdicts import Stamp
from edge.messages import decode_beat, decode_frame_header, decode_verdict
from edge.rate_limited_log import RateLimitedLog
from edge.results.bookkeeper import Bookkeeper, Entry
from edge.results.line import Line as ResultsLine
from edge.results.record import Record
from edge.results.retention import Retention
from edge.settings import LineSettings, ResultsSettings, SyntheticSource

_BETWEEN_S = 0.01
_LOSSES_A_MESSAGE = 100
_KEEP_DAYS = 365
_PATIENCE_MS = 100
_REMEMBERED = 100


class Arrivals:
    """The detector's account of one line.

    Args:
        line: whose frames come.
    """

    def __init__(self, line: str) -> None:
        self._line = DetectorLine(line, epoch=1, stamp=Stamp("main", 1), history=_REMEMBERED)

    def take(self, message: Message) -> None:
        """As the inlet does with a frame, and then the losses that are due."""
        self._line.arrived(decode_frame_header(list(message)))
        for _ in self._line.losses(_LOSSES_A_MESSAGE):
            pass
        self._line.heart.beat()


class Books:
    """The results service's account of one line, with a real record.

    Args:
        line: whose verdicts and beats come.
        path: of the record.
    """

    def __init__(self, line: str, path: Path) -> None:
        # Silent: that much is refused is what is wanted here.
        log: structlog.stdlib.BoundLogger = structlog.wrap_logger(None, [_dropped])
        settings = LineSettings(source=SyntheticSource(kind="synthetic"), prompts="generic")
        self._line = ResultsLine(line, settings, ResultsSettings(no_verdict_after_ms=_PATIENCE_MS), epoch=1)
        record = Record.open(path)
        retention = Retention(record, _KEEP_DAYS)
        self._books = Bookkeeper(record, retention, {line: self._line}, log, RateLimitedLog(log))
        self._books.restore(0.0)
        self._steps = count(1)

    def take(self, message: Message) -> None:
        """As the service's loop does with a verdict or a camera's beat, to the record and the registers."""
        now = _BETWEEN_S * next(self._steps)
        if message and message[0].startswith(b"beat/"):
            beat = decode_beat(list(message))
            self._line.camera.hear(beat, now)
            self._books.captured(self._line, beat.epoch, max(beat.counters.get("captured", 0), 0), now)
            self._books.captured_earlier(self._line, beat.earlier, now)
        else:
            self._books.take(Entry(decode_verdict(list(message))), now)
        self._books.take_overdue(now)
        for entry in self._books.write(now):
            self._line.show(entry.verdict)
        self._line.telegram()


def _dropped(logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    raise structlog.DropEvent
