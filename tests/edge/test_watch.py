"""What a person or a pipe sees of the verdicts."""

from __future__ import annotations

import io
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from edge.detector.stage_times import observed
from edge.heart import Heart
from edge.messages import (
    Beat,
    FaultReason,
    Reason,
    Result,
    ServiceState,
    Timings,
    Verdict,
    encode_beat,
    encode_verdict,
)
from edge.settings import load_settings
from edge.sockets import VERDICT_HWM, Sockets, send
from edge.watch_view import Watched, plain_line, screen

WriteConfig = Callable[..., Path]
WATCH = (sys.executable, "-m", "edge.watch")


def verdict(seq: int = 0, result: Result = Result.NG, line: str = "line1") -> Verdict:
    return Verdict(
        line=line,
        epoch=5,
        seq=seq,
        part_id="A 7",
        result=result,
        score=0.75,
        threshold=0.5,
        reasons=(Reason("a deep scratch", 0.3),),
        published_wall_ns=1_700_000_000_000_000_000,
    )


def fault(seq: int = 0) -> Verdict:
    return Verdict("line1", 5, seq, "", Result.FAULT, FaultReason.FRAME_LOST)


def beat(state: ServiceState = ServiceState.READY, error: str = "") -> Beat:
    heart = Heart("detector", "line1", epoch=1, state=state, last_error=error)
    return heart.beat()


def pairs(line: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(line))


def shown(watched: Watched, now_s: float = 0.0) -> str:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as capture:
        console.print(screen(watched, now_s))
    return capture.get()


def test_a_plain_line_reads_back_as_pairs() -> None:
    """Values with spaces are quoted, so that a shell or a script can split the line."""
    read = pairs(plain_line(verdict()))
    assert (read["result"], read["score"], read["part"], read["reasons"]) == (
        "NG",
        "0.7500",
        "A 7",
        "a deep scratch",
    )


def test_a_plain_line_of_a_fault_has_no_score() -> None:
    """Not judged is not a number, and the reason is named."""
    read = pairs(plain_line(fault()))
    assert (read["result"], read["fault"], read["score"]) == ("FAULT", "frame_lost", "")


def test_a_part_id_cannot_break_the_line() -> None:
    """A line break in a part id stays within its value."""
    broken = Verdict("line1", 1, 0, 'x"\nresult=OK', Result.FAULT, FaultReason.STALE)
    assert "\n" not in plain_line(broken)


def test_verdicts_are_counted_by_line_and_result() -> None:
    """Two NG and one FAULT of line1 show as such; line2 has none."""
    watched = Watched(("line1", "line2"))
    for heard in (verdict(0), verdict(1), fault(2)):
        watched.take(heard, now_s=0)
    assert watched.counts["line1"] == {Result.NG: 2, Result.FAULT: 1}
    assert not watched.counts["line2"]


def test_the_newest_verdict_is_on_top() -> None:
    """And older ones than there are rows for are gone."""
    watched = Watched(("line1",), rows=2)
    for seq in range(3):
        watched.take(verdict(seq), now_s=0)
    assert [kept.seq for kept in watched.newest] == [2, 1]


def test_the_screen_says_why_a_part_is_bad() -> None:
    """Score, threshold and descriptor are in the table; without calibration it says so."""
    watched = Watched(("line1",))
    watched.take(verdict(), now_s=0)
    text = shown(watched)
    assert all(piece in text for piece in ("0.7500", "0.5000 *", "a deep scratch", "not calibrated"))


def test_a_silent_detector_is_not_shown_as_ready() -> None:
    """A state is only as good as the last beat is new."""
    watched = Watched(("line1",))
    watched.take(beat(), now_s=100)
    assert "READY" in shown(watched, now_s=101)
    assert "silent 5 s" in shown(watched, now_s=105)


def test_the_screen_says_where_the_time_goes() -> None:
    """The mean of each stage over all parts; nothing before the first part."""
    watched = Watched(("line1",))
    watched.take(beat(), now_s=0)
    assert "infer" not in shown(watched)
    heart = Heart("detector", "line1", epoch=1)
    for infer in (10.0, 20.0):
        heart.counters.update(dict(observed(Timings(queue=3.0, infer=infer, total=40.0))))
    watched.take(heart.beat(), now_s=0)
    assert "queue 3, preprocess 0, infer 15, post 0, total 40" in shown(watched)


def test_markup_in_a_descriptor_is_shown_as_it_is() -> None:
    """Text from a prompt file is not taken for console markup."""
    watched = Watched(("line1",))
    marked = Verdict("line1", 1, 0, "[red]", Result.FAULT, FaultReason.MODEL_ERROR, detail="[/oops]")
    watched.take(marked, now_s=0)
    assert "[/oops]" in shown(watched)


@pytest.mark.parametrize("control", ["\x1b", "\x9b", "\r", "\x07"])
def test_what_a_sender_wrote_does_not_drive_the_terminal(control: str) -> None:
    """A part id, a detail or an error with a terminal's codes could paint over an NG: they are shown."""
    watched, text = Watched(("line1",)), f"a{control}[2Jb"
    watched.take(Verdict("line1", 1, 0, text, Result.FAULT, FaultReason.MODEL_ERROR, detail=text), now_s=0)
    watched.take(beat(ServiceState.FAULT, error=text), now_s=0)
    seen = shown(watched)
    assert control not in seen
    assert seen.count(f"a{control!r}[2Jb".replace("'", "")) == 3


def test_watching_ends_after_the_asked_number_of_verdicts(write_config: WriteConfig) -> None:
    """A real process hears real topics: two verdicts, two lines, exit 0; beats are no verdicts."""
    config = write_config()
    with Sockets() as sockets:
        endpoint = load_settings(config).detector_endpoint("main")
        publisher = sockets.watched_publisher(endpoint, VERDICT_HWM)
        process = subprocess.Popen(
            [*WATCH, "--config", config, "--plain", "--count", "2"], stdout=subprocess.PIPE, text=True
        )
        # One subscription for each of three topics; ZeroMQ sends them together.
        for _ in range(3):
            assert publisher.poll(30_000)
            publisher.recv()
        send(publisher, encode_beat(beat()))
        for seq in range(3):
            send(publisher, encode_verdict(verdict(seq)))
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [pairs(line)["seq"] for line in output.splitlines()] == ["0", "1"]


def test_watching_ends_cleanly_when_interrupted(write_config: WriteConfig) -> None:
    """Ctrl-C is how one ends it: exit 0 and no traceback."""
    config = write_config()
    with Sockets() as sockets:
        publisher = sockets.watched_publisher(load_settings(config).detector_endpoint("main"), VERDICT_HWM)
        process = subprocess.Popen(
            [*WATCH, "--config", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert publisher.poll(30_000)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, b"")


def test_an_unknown_line_is_bad_input(write_config: WriteConfig) -> None:
    """One line that names the lines there are, exit 2."""
    ended = subprocess.run(
        [*WATCH, "--config", write_config(), "--line", "line7"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "line7" in ended.stderr
    assert "line1" in ended.stderr


@pytest.mark.parametrize("module", ["edge.watch", "edge.detector.main"])
def test_it_starts_without_torch(module: str) -> None:
    """A watcher needs no model, and a wrong config is told before seconds of imports."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
