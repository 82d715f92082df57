"""docs/configure.md, printed from the settings: `python -m tools.settings_reference > docs/configure.md`."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edge.settings import Settings

_PREAMBLE = """# config.toml

One file describes a box. Every key is checked when a service starts: an unknown key, a wrong type or a value
out of its bounds ends it with exit code 2 and one line that names file, key, value and what to do.
`edge-check --config config.toml` checks the file and everything that it names. Relative paths are relative to
the file.

`ALFA__TABLE__KEY` in the environment overrides a key, for instance `ALFA__PATHS__STATE=/srv/alfa`; a name
that is no key is refused there, too, and a wrong value is told by its variable. After a change:
`systemctl reload alfa-detector@NAME` for a line's `prompts`, `bank`, `calibration` and `recipe`; a restart
for anything else.

This page is printed from the code (`python -m tools.settings_reference`), and a test compares them.
"""
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


def reference() -> str:
    """The page in Markdown: a table of keys for each table of the file."""
    return "\n".join([_PREAMBLE, *_tables("", Settings)])


def _tables(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """The model's own keys, then its tables, in the order of the code."""
    fields = model.model_fields
    keys = {name: field for name, field in fields.items() if not _models(field.annotation)}
    if prefix:
        yield f"## {prefix}\n\n{_purpose(model)}\n"
    if keys:
        yield "| key | kind | default | |\n|---|---|---|---|"
        yield "\n".join(_row(name, field) for name, field in keys.items()) + "\n"
    for name, field in fields.items():
        # A dict's own keys are names that the user gives.
        named = f"{name}.NAME" if get_origin(field.annotation) is dict else name
        inside = f"{prefix.strip('[]')}.{named}" if prefix else named
        for each in _models(field.annotation):
            kind = each.model_fields.get("kind")
            which = "" if kind is None else f', kind = "{get_args(kind.annotation)[0]}"'
            yield from _tables(f"[{inside}]{which}", each)


def _models(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - any type expression
    """The tables that a field holds: none, one, or one of several kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _purpose(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", "\n")


def _row(name: str, field: FieldInfo) -> str:
    default = (
        "required" if field.is_required() else f"`{_toml(field.get_default(call_default_factory=True))}`"
    )
    cells = (f"`{name}`", _kind(field), default, field.description or "")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _kind(field: FieldInfo) -> str:
    """Type and bounds, in words."""
    words = _type_in_words(field.annotation)
    low = [f"above {m.gt}" for m in field.metadata if isinstance(m, annotated_types.Gt)]
    low += [f"at least {m.ge}" for m in field.metadata if isinstance(m, annotated_types.Ge)]
    high = [f"below {m.lt}" for m in field.metadata if isinstance(m, annotated_types.Lt)]
    high += [f"at most {m.le}" for m in field.metadata if isinstance(m, annotated_types.Le)]
    return ", ".join([words, *low, *high])


def _type_in_words(annotation: Any) -> str:  # noqa: ANN401 - any type expression
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_in_words(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_in_words(part) for part in parts if part is not type(None))
    if origin is dict:
        return f"table of {_type_in_words(parts[1])} by name"
    if origin in (tuple, list):
        return f"list of {_type_in_words(parts[0])}s"
    return _NAMES.get(annotation, "text")


def _toml(value: object) -> str:
    if value is None:
        return "none"
    return json.dumps(str(value) if isinstance(value, Path) else value)


if __name__ == "__main__":
    print(reference(), end="")
