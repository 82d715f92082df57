"""`edge-detector`: judges the frames of its lines until SIGTERM; SIGHUP reloads what they are judged with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from alfa.cli import entry
from alfa.errors import BadInput
from edge.health import Health
from edge.lifecycle import Lifecycle
from edge.log_lines import configure_logging
from edge.security.credentials import Credentials
from edge.security.keys import Role
from edge.settings import Settings, load_settings
from edge.sockets import Sockets
from edge.web import Pages

app = typer.Typer(add_completion=False)


@app.command()
def detect(
    config: Annotated[Path, typer.Option(help="The file that describes the box.")] = Path("config.toml"),
    name: Annotated[str, typer.Option(help="Which detector this is: `detector` of the lines.")] = "main",
) -> None:
    """Judge the parts of every line whose `detector` is this one."""
    settings = _settings_of(config, name)
    # torch takes seconds to import; a wrong config is told before that.
    from edge.detector.recipes import check_files
    from edge.detector.service import DetectorService

    check_files(config, settings, name)
    log = configure_logging("detector").bind(detector=name)
    address = settings.http.detectors.get(name, "")
    with (
        Lifecycle() as lifecycle,
        Pages(address, config, f"http.detectors.{name}", log) as pages,
        Sockets(Credentials.load(settings.network, Role.DETECTOR, name), log) as sockets,
    ):
        service = DetectorService(config, settings, name, lifecycle, sockets, log)
        pages.serve("detector", Health(service.hearts, lifecycle))
        service.run()
    if service.has_abandoned_work:
        # A thread inside torch cannot be stopped, and the interpreter must not be torn down under it.
        log.warning("ended_with_work_in_hand")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _settings_of(config: Path, name: str) -> Settings:
    settings = load_settings(config)
    if not settings.lines_of(name):
        known = ", ".join(settings.detectors())
        raise BadInput(config, "detector", name, f"no line names this detector; the lines name {known}")
    return settings


def main() -> None:
    """Entry point of the console script."""
    entry.run(app)


if __name__ == "__main__":
    main()
