"""The two ways anything here may fail: wrong input (exit 2) or a fault at run time (exit 3).

Both become one line on the terminal (`alfa.cli.entry`), never a traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

_LONGEST_VALUE_SHOWN = 80
_LONGEST_CAUSE_SHOWN = 160


class AlfaError(Exception):
    """Base of every error this project raises on purpose; carries its exit code."""

    exit_code: ClassVar[int] = 3


class BadInput(AlfaError):
    """The user's input is wrong: nothing was written, and this line says what to do.

    Args:
        where: the file, argument or setting's home, such as `config.toml`.
        key: what in there is wrong, such as `lines.bottle.max_age_ms`; may be empty for the file itself.
        value: the offending value; `None` where there is none to show.
        advice: what is expected and what to do, as a short sentence without full stop.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, where: str | Path, key: str, value: object, advice: str) -> None:
        self.where = str(where)
        self.key = key
        self.value = value
        self.advice = advice
        super().__init__(self._line())

    def _line(self) -> str:
        subject = f"{self.where}: {self.key}" if self.key else self.where
        if self.value is not None:
            subject = f"{subject} = {_shortened(self.value)}"
        return printable(f"{subject}: {self.advice}")


class Fault(AlfaError):
    """Something failed at run time that the input could not have told: device, disk, network.

    Args:
        name: the fault's fixed name, as used in counters and logs, such as `camera_lost`.
        detail: what happened, for a person.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        self.detail = detail
        super().__init__(f"{name}: {detail}")


def cause(error: BaseException, secret: str = "") -> str:
    """A library's message as one short line, to stand inside one of ours; its type where it says nothing.

    Args:
        error: what the library raised.
        secret: replaced by ***, such as a key that a server sends back in its own message.
    """
    message = str(error).replace(secret, "***") if secret else str(error)
    return _cut(" ".join(message.split()) or type(error).__name__, _LONGEST_CAUSE_SHOWN)


def printable(text: str) -> str:
    """Text from outside for a terminal: a line break or a control code in it is shown, not obeyed."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _shortened(value: object) -> str:
    try:
        shown = repr(value)
    # Lists in lists without end, and numbers of thousands of digits, which a file may well hold.
    except (RecursionError, ValueError):
        shown = f"<{type(value).__name__}>"
    return _cut(" ".join(shown.split()), _LONGEST_VALUE_SHOWN)


def _cut(line: str, longest: int) -> str:
    return line if len(line) <= longest else line[: longest - 3] + "..."
