"""A service's log lines: their form, whose part they are about, and for the journal how bad it is."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AbstractContextManager

import structlog

# sd-daemon(3): the journal takes the number off the line again.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_LEVEL = "level"


def configure_logging(service: str) -> structlog.stdlib.BoundLogger:
    """JSON lines to stderr under systemd or in a pipe, coloured text on a terminal.

    To the journal each line goes with its priority, and inside `about_part` with the part it is about.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _renderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    log: structlog.stdlib.BoundLogger = structlog.get_logger(service=service)
    return log


def about_part(line: str, epoch: int, seq: int, part_id: str) -> AbstractContextManager[None]:
    """Inside, every log line of this thread says which part it is about, whoever writes it."""
    bound: AbstractContextManager[None] = structlog.contextvars.bound_contextvars(
        line=line, epoch=epoch, seq=seq, part=part_id
    )
    return bound


def goes_to_journal() -> bool:
    """Whether stderr is the connection to the journal that systemd has told this process of."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalRenderer:
    """JSON behind the number that `journalctl --priority` selects by."""

    def __init__(self) -> None:
        self._as_json = structlog.processors.JSONRenderer()

    def __call__(
        self, logger: structlog.typing.WrappedLogger, name: str, event: structlog.typing.EventDict
    ) -> str:
        """A structlog processor, the last one."""
        priority = _PRIORITIES[event[_LEVEL]]
        return f"<{priority}>{self._as_json(logger, name, event)!s}"


def _renderer() -> structlog.typing.Processor:
    if goes_to_journal():
        return JournalRenderer()
    readable = sys.stderr.isatty() and "INVOCATION_ID" not in os.environ
    return structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
