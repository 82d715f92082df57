"""How every command of this project ends: 0 done, 1 anomalies found, 2 bad input, 3 fault."""

from __future__ import annotations

import sys

import typer

from alfa.errors import AlfaError
from alfa.heap import keep_freed_memory


def run(app: typer.Typer) -> None:
    """Run a typer application; a known error becomes one line on stderr and its exit code."""
    keep_freed_memory()
    try:
        app()
    except AlfaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
