"""`edge-watch`: live verdicts of the box in a terminal, or one line a verdict for pipes.

Listens to the topics as anybody may; it changes nothing and nothing waits for it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from alfa.cli import entry
from alfa.errors import BadInput
from edge.lifecycle import Lifecycle
from edge.log_lines import configure_logging
from edge.messages import DecodeError, Part, Verdict, beat_topic, decode_beat, decode_verdict, verdict_topic
from edge.rate_limited_log import RateLimitedLog
from edge.security.credentials import Credentials
from edge.security.keys import Role
from edge.settings import Settings, load_settings
from edge.sockets import VERDICT_HWM, Sockets
from edge.speakers import Speakers
from edge.watch_view import Heard, Watched, plain_line, screen

_POLL_MS = 100
_MESSAGES_A_LOOK = 1000
_REDRAWS_A_SECOND = 8

app = typer.Typer(add_completion=False)


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
    log = configure_logging("watch")  # to stderr: others read what is printed
    with (
        Lifecycle() as lifecycle,
        Sockets(credentials, log) as sockets,
        _screen(watched, console, plain) as live,
    ):
        warnings = RateLimitedLog(log)
        speakers = _subscribed(sockets, settings, watched.lines, warnings)
        while not lifecycle.stopping and not (count and watched.verdicts >= count):
            sockets.tend()
            warnings.tell_when_due()
            for heard in _listen(speakers, watched, count):
                watched.take(heard, time.monotonic())
                if plain and isinstance(heard, Verdict):
                    print(plain_line(heard), flush=True)
            if live is not None:
                live.update(screen(watched, time.monotonic()))


def _listen(speakers: Speakers, watched: Watched, count: int) -> Iterable[Heard]:
    """What is there now, after waiting a moment for the first; not more verdicts than asked for."""
    speakers.wait(_POLL_MS)
    for topic, parts in speakers.take(_MESSAGES_A_LOOK):
        if count and watched.verdicts >= count:
            return
        decode: Callable[[list[Part]], Heard]
        decode = decode_verdict if topic.startswith(b"verdict/") else decode_beat
        try:
            yield decode(parts)
        except DecodeError:
            watched.undecodable += 1


def _lines(config: Path, settings: Settings, asked: list[str] | None) -> tuple[str, ...]:
    for name in asked or ():
        if name not in settings.lines:
            raise BadInput(config, "line", name, f"no such line; there are {', '.join(settings.lines)}")
    return tuple(asked or settings.lines)


def _subscribed(
    sockets: Sockets, settings: Settings, lines: tuple[str, ...], warnings: RateLimitedLog
) -> Speakers:
    topics: defaultdict[str, list[bytes]] = defaultdict(list)
    for line in lines:
        detector = settings.detector_endpoint(settings.lines[line].detector)
        topics[detector] += [verdict_topic(line), beat_topic("detector", line)]
        # Cameras elsewhere let nobody in who need not see every picture; their beats are not shown.
        if settings.camera_is_near(line):
            topics[settings.camera_endpoint(line)].append(beat_topic("camera", line))
    return Speakers.subscribed(sockets, topics, VERDICT_HWM, warnings)


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
