"""What a check found: pure values, and the trials that end in one."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from alfa.errors import AlfaError, cause
from edge.background import in_background


class Outcome(StrEnum):
    """Only a failure makes `edge-check` fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table.

    Attributes:
        check: what was looked at, such as `camera`.
        subject: of which line, file or address.
        outcome: ok, warn or fail.
        detail: what was found.
        advice: what to do; empty where all is well.
    """

    check: str
    subject: str
    outcome: Outcome
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Makes findings about one subject."""

    name: str
    subject: str

    def ok(self, detail: str) -> Finding:
        """All is well."""
        return Finding(self.name, self.subject, Outcome.OK, detail)

    def warn(self, detail: str, advice: str) -> Finding:
        """It would run, but perhaps not as meant."""
        return Finding(self.name, self.subject, Outcome.WARN, detail, advice)

    def fail(self, detail: str, advice: str) -> Finding:
        """It would not run."""
        return Finding(self.name, self.subject, Outcome.FAIL, detail, advice)

    def tried(self, trial: Callable[[], Finding], advice: str) -> Finding:
        """What the trial finds; a failure where it raises what such a trial may raise.

        Args:
            trial: raises AlfaError or OSError where something is not as it should be.
            advice: then.
        """
        try:
            return trial()
        except AlfaError as error:
            return self.fail(str(error), advice)
        except OSError as error:
            return self.fail(cause(error), advice)

    def tried_within(self, seconds: float, trial: Callable[[], Finding], advice: str) -> Finding:
        """As `tried`, and a failure where the trial does not end in time; it is then left behind."""
        trying = in_background(self.name, lambda: self.tried(trial, advice))
        try:
            return trying.result(timeout=seconds)
        except concurrent.futures.TimeoutError:
            return self.fail(f"nothing within {seconds:g} s", advice)
