"""TOML files as checked tables; what is wrong with one is told in one line, by its key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from alfa.errors import BadInput, cause
from alfa.files import reading

# Where pydantic's own words speak of Python instead of TOML.
_IN_PLAIN_WORDS = {
    "path_type": "is no path; write it in quotes",
    "dict_type": "is no table; write [...] with keys below it",
    "model_type": "is no table; write [...] with keys below it",
    "model_attributes_type": "is no table; write [...] with keys below it",
    "too_short": "is empty; give at least 1",
    "union_tag_not_found": "does not say of which kind it is; add `kind`",
}
# Somebody who pastes a secret where none belongs must not find it in the journal.
_SECRET_NAME = re.compile(r"secret|token|password|key", re.IGNORECASE)


class Table(BaseModel):
    """A table of a TOML file: a key that it does not know is refused.

    Frozen, so that it can be part of a hash or a cache key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        BadInput: it is missing, unreadable, not UTF-8 or not TOML.
    """
    with reading(path):
        # Some editors on Windows start UTF-8 files with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    try:
        return tomllib.loads(text)
    # Its own TOMLDecodeError is one; a number of thousands of digits is refused by Python itself.
    except ValueError as error:
        raise BadInput(path, "", None, f"is not valid TOML: {cause(error)}") from error
    except RecursionError as error:
        raise BadInput(path, "", None, "is nested too deeply; check its brackets") from error


def first_problem(path: Path, error: ValidationError, prefix: str = "") -> BadInput:
    """One line for one of pydantic's findings, with the full dotted key and the value given."""
    problems = error.errors(include_url=False)
    # A misspelt key is also a missing one; its spelling is the thing to look at.
    found = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    keys = [prefix] if prefix else []
    key = ".".join([*keys, *(str(part) for part in found["loc"])])
    # A finding about the whole file has no value worth showing.
    value = found["input"] if key and not _SECRET_NAME.search(key) else None
    if found["type"] == "extra_forbidden":
        return BadInput(path, key, value, "unknown key; remove it or check its spelling")
    if found["type"] == "missing":
        return BadInput(path, key, None, "is missing; add it")
    message = _IN_PLAIN_WORDS.get(found["type"], found["msg"].removeprefix("Value error, "))
    return BadInput(path, key, value, message[:1].lower() + message[1:])
