"""The cameras of many lines in one process: `python -m benchmarks.line_feeder --config FILE --rate HZ`.

A Python process with OpenCV takes some 100 MB and half a second to start; 64 of them would measure this
machine's memory and not the detector. Each line has its own FrameSink here, socket and epoch included, as
its camera process would.
"""

from __future__ import annotations

import time
from itertools import cycle
from pathlib import Path
from typing import Annotated

import structlog
import typer

from alfa.cli.entry import run
from edge.camera.pacer import Pacer
from edge.camera.publisher import FrameSink
from edge.camera.sources.base import Captured
from edge.camera.sources.synthetic import render
from edge.heart import Heart, new_epoch
from edge.lifecycle import Lifecycle
from edge.log_lines import configure_logging
from edge.messages import ServiceState
from edge.settings import Settings, SyntheticSource, load_settings
from edge.sockets import FRAME_HWM, Sockets

_PICTURES = 8
_TICK_S = 0.02

app = typer.Typer(add_completion=False)


@app.command()
def feed(
    config: Annotated[Path, typer.Option(help="The box's settings; all its lines are fed.")],
    rate: Annotated[float, typer.Option(min=0.01, help="Parts a second, over all lines.")],
    width: Annotated[int, typer.Option(min=64, help="Pixels.")] = 640,
    height: Annotated[int, typer.Option(min=64, help="Pixels.")] = 480,
) -> None:
    """Publish parts, the lines taking turns at an even pace, until SIGTERM."""
    settings = load_settings(config)
    log = configure_logging("feeder")
    source = SyntheticSource(kind="synthetic", width=width, height=height)
    pictures = cycle([render(source, seq).pixels for seq in range(_PICTURES)])
    with Lifecycle() as lifecycle, Sockets() as sockets:
        sinks = _sinks(settings, sockets, log)
        while not lifecycle.stopping and not all(sink.heard for sink in sinks):
            _look_round(sinks)
            time.sleep(_TICK_S)
        turn, pacer = cycle(sinks), Pacer(rate, time.monotonic())
        beats_due_s = 0.0
        while not lifecycle.stopping:
            if (now_s := time.monotonic()) >= beats_due_s:
                _look_round(sinks)
                beats_due_s = now_s + _TICK_S
            if (wait_s := pacer.wait_s()) > 0:
                time.sleep(min(wait_s, _TICK_S))
                continue
            pacer.taken()
            next(turn).take(Captured(next(pictures), "rgb"))
        for sink in sinks:
            sink.close()


def _sinks(settings: Settings, sockets: Sockets, log: structlog.stdlib.BoundLogger) -> list[FrameSink]:
    return [
        FrameSink(
            sockets.watched_publisher(settings.camera_endpoint(line), FRAME_HWM),
            Heart("camera", line, new_epoch(), state=ServiceState.READY),
            log,
        )
        for line in settings.lines
    ]


def _look_round(sinks: list[FrameSink]) -> None:
    for sink in sinks:
        sink.wait(0)
        sink.beat_when_due()


if __name__ == "__main__":
    run(app)
