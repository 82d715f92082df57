"""`edge-watch`: live verdicts of the box in a terminal, or one line a verdict for pipes.

Listens to the topics as anybody may; it changes nothing and nothing waits for it.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
import zmq
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from alfa.cli import entry
from alfa.errors import BadInput
from edge.detector.stage_times import STAGES, mean_ms
from edge.lifecycle import Lifecycle
from edge.messages import (
    Beat,
    DecodeError,
    Part,
    Result,
    ServiceState,
    Verdict,
    beat_topic,
    decode_beat,
    decode_verdict,
    verdict_topic,
)
from edge.security.credentials import Credentials
from edge.security.keys import Role
from edge.settings import Settings, load_settings
from edge.sockets import VERDICT_HWM, Socket, Sockets, receive

_POLL_MS = 100
_ROWS = 15
_REDRAWS_A_SECOND = 8
_SILENT_AFTER_S = 2.0
_STYLES = {Result.OK: "green", Result.NG: "bold red", Result.FAULT: "bold yellow"}
_STATE_STYLES = {ServiceState.READY: "green", ServiceState.FAULT: "bold red"}
_NS_PER_S = 1e9

Heard: TypeAlias = Verdict | Beat

app = typer.Typer(add_completion=False)


@dataclass(slots=True)
class Watched:
    """What was heard of the watched lines so far; `take` is the only way in."""

    lines: tuple[str, ...]
    rows: int = _ROWS
    verdicts: int = 0
    undecodable: int = 0
    newest: deque[Verdict] = field(init=False)
    counts: dict[str, Counter[Result]] = field(init=False)
    beats: dict[tuple[str, str], tuple[Beat, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.newest = deque(maxlen=self.rows)
        self.counts = {line: Counter() for line in self.lines}

    def take(self, heard: Heard, now_s: float) -> None:
        """Note a verdict or a beat."""
        if isinstance(heard, Verdict):
            self.verdicts += 1
            self.newest.appendleft(heard)
            self.counts[heard.line][heard.result] += 1
        else:
            self.beats[heard.service, heard.line] = heard, now_s


@app.command()
def watch(
    config: Annotated[Path, typer.Option(help="The file that describes the box.")] = Path("config.toml"),
    line: Annotated[list[str] | None, typer.Option(help="Only this line; may be given again.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="One line a verdict, for pipes.")] = False,
    count: Annotated[int, typer.Option(min=0, help="End after this many verdicts; 0 for never.")] = 0,
) -> None:
    """Show verdicts as they are published, until interrupted."""
    settings = load_settings(config)
    watched = Watched(_lines(config, settings, line))
    console = Console()
    credentials = Credentials.load(settings.network, Role.SUBSCRIBER)
    with (
        Lifecycle() as lifecycle,
        Sockets(credentials) as sockets,
        _screen(watched, console, plain) as live,
    ):
        socket = _subscribed(sockets, settings, watched.lines)
        while not lifecycle.stopping and not (count and watched.verdicts >= count):
            sockets.tend()
            for heard in _listen(socket, watched, count):
                watched.take(heard, time.monotonic())
                if plain and isinstance(heard, Verdict):
                    print(plain_line(heard), flush=True)
            if live is not None:
                live.update(screen(watched, time.monotonic()))


def plain_line(verdict: Verdict) -> str:
    """A verdict as one line of `name=value` pairs, the same ones for every verdict."""
    reasons = ",".join(reason.text for reason in verdict.reasons) if verdict.result is Result.NG else ""
    pairs = {
        "time": _clock(verdict),
        "line": verdict.line,
        "epoch": verdict.epoch,
        "seq": verdict.seq,
        "part": verdict.part_id,
        "result": verdict.result,
        "fault": verdict.fault,
        "score": _number(verdict.score),
        "threshold": _number(verdict.threshold),
        "calibrated": str(verdict.calibrated).lower(),
        "latency_ms": f"{verdict.timings.total:.1f}",
        "reasons": reasons,
    }
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in pairs.items())


def screen(watched: Watched, now_s: float) -> Group:
    """The whole picture: lines on top, the newest verdicts below."""
    return Group(_lines_table(watched, now_s), _verdicts_table(watched))


def _lines_table(watched: Watched, now_s: float) -> Table:
    table = Table(
        "line", "camera", "captured", "detector", "waiting", "stages (mean ms)", *Result, expand=True
    )
    for line in watched.lines:
        camera, detector = (watched.beats.get((service, line)) for service in ("camera", "detector"))
        table.add_row(
            line,
            _state(camera, now_s),
            _counter(camera, "captured"),
            _state(detector, now_s),
            _counter(detector, "queue"),
            _stage_means(detector),
            *(Text(str(watched.counts[line][result]), _STYLES[result]) for result in Result),
        )
    if watched.undecodable:
        table.caption = f"{watched.undecodable} messages could not be decoded"
    return table


def _verdicts_table(watched: Watched) -> Table:
    table = Table(
        "time",
        "line",
        "seq",
        "part",
        "result",
        "score",
        "threshold",
        "ms",
        Column("why", ratio=1),
        expand=True,
    )
    for verdict in watched.newest:
        table.add_row(
            _clock(verdict),
            verdict.line,
            str(verdict.seq),
            # Text: part ids and descriptors are not console markup.
            Text(verdict.part_id),
            Text(verdict.result, _STYLES[verdict.result]),
            _number(verdict.score),
            _number(verdict.threshold) + (" *" if _uncalibrated(verdict) else ""),
            f"{verdict.timings.total:.0f}",
            Text(_why(verdict), overflow="ellipsis", no_wrap=True),
        )
    if any(_uncalibrated(verdict) for verdict in watched.newest):
        table.caption = "* not calibrated"
    return table


def _state(beat: tuple[Beat, float] | None, now_s: float) -> Text:
    """A service's state, unless it has fallen silent."""
    if beat is None:
        return Text("not heard", "dim")
    said, at_s = beat
    if now_s - at_s > _SILENT_AFTER_S:
        return Text(f"silent {now_s - at_s:.0f} s", "bold red")
    text = f"{said.state} {said.last_error}".strip()
    return Text(text, _STATE_STYLES.get(said.state, "yellow") if not said.last_error else "bold red")


def _counter(beat: tuple[Beat, float] | None, name: str) -> str:
    return "" if beat is None else str(beat[0].counters.get(name, ""))


def _stage_means(beat: tuple[Beat, float] | None) -> str:
    """Over the parts judged since the detector's start; nothing before the first."""
    counters = {} if beat is None else beat[0].counters
    means = [(stage, mean_ms(counters, stage)) for stage in STAGES]
    return ", ".join(f"{stage} {mean:.0f}" for stage, mean in means if mean is not None)


def _why(verdict: Verdict) -> str:
    if verdict.result is Result.FAULT:
        return f"{verdict.fault}: {verdict.detail}" if verdict.detail else str(verdict.fault)
    if verdict.result is Result.NG:
        return ", ".join(reason.text for reason in verdict.reasons)
    return ""


def _uncalibrated(verdict: Verdict) -> bool:
    return verdict.threshold is not None and not verdict.calibrated


def _clock(verdict: Verdict) -> str:
    """Local time of publication; of the capture it may be unknown."""
    published = datetime.fromtimestamp(verdict.published_wall_ns / _NS_PER_S).astimezone()
    return published.strftime("%H:%M:%S.%f")[:-3]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _quoted(value: str) -> str:
    """As JSON where a space, a quote or a control character would make other pairs of the line."""
    plain = value.isprintable() and not set(value) & {" ", '"', "\\"}
    return value if plain else json.dumps(value)


def _listen(socket: Socket, watched: Watched, count: int) -> Iterable[Heard]:
    """What is there now, after waiting a moment for the first; not more verdicts than asked for."""
    socket.poll(_POLL_MS, zmq.POLLIN)
    while not (count and watched.verdicts >= count) and (parts := receive(socket)) is not None:
        decode: Callable[[list[Part]], Heard]
        decode = decode_verdict if bytes(parts[0]).startswith(b"verdict/") else decode_beat
        try:
            yield decode(parts)
        except DecodeError:
            watched.undecodable += 1


def _lines(config: Path, settings: Settings, asked: list[str] | None) -> tuple[str, ...]:
    for name in asked or ():
        if name not in settings.lines:
            raise BadInput(config, "line", name, f"no such line; there are {', '.join(settings.lines)}")
    return tuple(asked or settings.lines)


def _subscribed(sockets: Sockets, settings: Settings, lines: tuple[str, ...]) -> Socket:
    detectors = {settings.lines[line].detector for line in lines}
    # Cameras elsewhere let nobody in who need not see every picture; their beats are not shown.
    near = [line for line in lines if settings.camera_is_near(line)]
    endpoints = [*map(settings.detector_endpoint, detectors), *map(settings.camera_endpoint, near)]
    topics = [
        topic
        for line in lines
        for topic in (verdict_topic(line), beat_topic("camera", line), beat_topic("detector", line))
    ]
    return sockets.subscriber(endpoints, topics, VERDICT_HWM)


def _screen(watched: Watched, console: Console, plain: bool) -> AbstractContextManager[Live | None]:
    if plain:
        return nullcontext()
    first = screen(watched, time.monotonic())
    return Live(first, console=console, refresh_per_second=_REDRAWS_A_SECOND)


def main() -> None:
    """Entry point of the console script."""
    entry.run(app)


if __name__ == "__main__":
    main()
