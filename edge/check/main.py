"""`edge-check`: tries everything that the services of this box need, and says what to do where it fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from alfa.cli import entry
from edge.check.cameras import check_cameras
from edge.check.findings import Finding
from edge.check.keys import check_keys
from edge.check.pages import check_pages
from edge.check.plc import check_plc
from edge.check.report import as_json, as_table, failed
from edge.check.storage import check_storage
from edge.settings import Settings, load_settings

app = typer.Typer(add_completion=False)


@app.command()
def check(
    config: Annotated[Path, typer.Option(help="The file that describes the box.")] = Path("config.toml"),
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check config, files, camera, PLC, GPU, disk and permissions.

    Exit code 0: all is well or only warned of; 1: something fails; 2: the config itself is wrong.
    """
    settings = load_settings(config)
    findings = list(_findings(config, settings))
    if json:
        print(as_json(findings))
    else:
        Console().print(as_table(findings))
    sys.exit(1 if failed(findings) else 0)


def _findings(config: Path, settings: Settings) -> Iterator[Finding]:
    """The quick ones first."""
    yield from check_storage(config, settings)
    yield from check_keys(settings)
    yield from check_pages(settings)
    yield from check_plc(settings)
    yield from check_cameras(settings)
    # torch takes seconds to import.
    from edge.check.judging import check_device, check_judging

    yield check_device(settings)
    yield from check_judging(settings)


def main() -> None:
    """Entry point of the console script."""
    entry.run(app)


if __name__ == "__main__":
    main()
