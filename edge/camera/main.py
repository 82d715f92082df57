"""`edge-camera`: one process a line; images from its source go to `frame/{line}/`, beats beside them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import structlog
import typer

from alfa.cli.entry import run
from alfa.errors import BadInput, Fault
from edge.camera.condition import Condition
from edge.camera.gate import DetectorGate
from edge.camera.pacer import Pacer
from edge.camera.publisher import FrameSink
from edge.camera.sources.base import End, ImageSource
from edge.camera.sources.choice import make_source, make_watch
from edge.camera.tally import Tally
from edge.health import Health
from edge.heart import Heart, new_epoch
from edge.lifecycle import Lifecycle
from edge.log_lines import configure_logging
from edge.messages import ServiceState
from edge.ring import FrameRing
from edge.security.credentials import Credentials
from edge.security.keys import Role
from edge.settings import Settings, Source, load_settings
from edge.sockets import FRAME_HWM, Sockets, make_private
from edge.web import Pages

_TICK_S = 0.05

app = typer.Typer(add_completion=False)


@app.command()
def camera(
    config: Annotated[Path, typer.Option(help="The line's settings.")] = Path("config.toml"),
    line: Annotated[str, typer.Option(help="Which line; may be left out when there is one.")] = "",
    wait_for_detector: Annotated[
        bool, typer.Option(help="Capture nothing before the line's detector listens (replayed sources).")
    ] = False,
) -> None:
    """Capture the parts of one line and publish them until SIGTERM."""
    settings = load_settings(config)
    line = _chosen_line(settings, line, config)
    source = make_source(settings.lines[line].source)
    log = configure_logging("camera").bind(line=line)
    try:
        _open(source, line, config)
        credentials = Credentials.load(settings.network, Role.CAMERA, line)
        with (
            Lifecycle() as lifecycle,
            _pages(config, settings, line, log) as pages,
            Sockets(credentials, log) as sockets,
        ):
            heart = Heart("camera", line, new_epoch())
            heart.counters["ended"] = 0
            pages.serve("camera", Health([heart], lifecycle))
            sink = _sink(sockets, settings, line, heart, log)
            gate = DetectorGate(sockets, settings, line) if wait_for_detector else None
            lifecycle.ready(f"capturing {line}")
            log.info("started", epoch=heart.epoch, source=settings.lines[line].source.kind)
            try:
                _hold(gate, sink, lifecycle, sockets)
                _capture(source, settings.lines[line].source, sink, heart, lifecycle, sockets, log)
            except Fault as error:
                heart.state, heart.last_error = ServiceState.FAULT, str(error)
                raise
            finally:
                sink.close()
            log.info("stopped", **heart.counters)
    finally:
        source.close()


def main() -> None:
    """Console script."""
    run(app)


def _chosen_line(settings: Settings, line: str, config: Path) -> str:
    if not line and len(settings.lines) == 1:
        return next(iter(settings.lines))
    if line not in settings.lines:
        raise BadInput(
            config, "lines", line, f"no such line; --line takes one of: {', '.join(settings.lines)}"
        )
    return line


def _open(source: ImageSource, line: str, config: Path) -> None:
    """Open the source; what is wrong with it is told under the key of the settings that name it."""
    try:
        source.open()
    except BadInput as error:
        raise BadInput(config, f"lines.{line}.source.path", error.where, error.advice) from error


def _pages(config: Path, settings: Settings, line: str, log: structlog.stdlib.BoundLogger) -> Pages:
    return Pages(settings.http.cameras.get(line, ""), config, f"http.cameras.{line}", log)


def _sink(
    sockets: Sockets, settings: Settings, line: str, heart: Heart, log: structlog.stdlib.BoundLogger
) -> FrameSink:
    of_line = settings.lines[line]
    buffer_bytes = of_line.frame_buffer_bytes
    # The endpoint first: who holds it may take over what an earlier camera left, its ring and its tally.
    publisher = sockets.watched_publisher(settings.camera_endpoint(line), FRAME_HWM)
    ring = FrameRing(settings.frames_stem(line), buffer_bytes) if settings.shares_frames(line) else None
    # With TCP nobody has made it yet, and whoever comes later must find it closed to others.
    make_private(settings.paths.runtime)
    tally = Tally(settings.tally_file(line), heart.epoch, log)
    heart.earlier = tally.earlier
    return FrameSink(
        publisher,
        heart,
        log,
        max_side=of_line.max_side,
        buffer_bytes=buffer_bytes,
        ring=ring,
        tally=tally,
    )


def _hold(gate: DetectorGate | None, sink: FrameSink, lifecycle: Lifecycle, sockets: Sockets) -> None:
    """Beat, in state STARTING, until the gate opens."""
    while gate is not None and not lifecycle.stopping and not gate.is_open(sink):
        lifecycle.alive()
        sockets.tend()
        sink.beat_when_due()
        sink.wait(_TICK_S)


def _capture(
    source: ImageSource,
    settings: Source,
    sink: FrameSink,
    heart: Heart,
    lifecycle: Lifecycle,
    sockets: Sockets,
    log: structlog.stdlib.BoundLogger,
) -> None:
    """Take parts when they are due and beat in between; after the last part go on beating until stopped."""
    pacer = Pacer(source.rate_hz, time.monotonic())
    watch = make_watch(settings, time.monotonic())
    condition = Condition(heart, lifecycle, log)
    while not lifecycle.stopping:
        lifecycle.alive()
        if not heart.counters["ended"]:
            condition.follow(source.trouble or watch.trouble(time.monotonic()))
        _follow_keys(sockets, lifecycle, heart)
        sink.beat_when_due()
        if heart.counters["ended"] or (wait_s := pacer.wait_s()) > 0:
            sink.wait(_TICK_S if heart.counters["ended"] else min(wait_s, _TICK_S))
            continue
        shot = source.read(_TICK_S)
        if shot is None:
            continue
        pacer.taken()
        if not isinstance(shot, End):
            sink.take(watch.checked(shot, time.monotonic()))
        if isinstance(shot, End) or heart.counters["captured"] == settings.limit:
            heart.counters["ended"] = 1
            log.info("source ended", captured=heart.counters["captured"])


def _follow_keys(sockets: Sockets, lifecycle: Lifecycle, heart: Heart) -> None:
    sockets.tend()
    if lifecycle.take_reload():
        sockets.reload_keys()
    for name, count in sockets.counters().items():
        heart.counters[name] = count


if __name__ == "__main__":
    main()
