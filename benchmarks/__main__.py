"""`python -m benchmarks`: speed, ours beside the peers', with the targets and whether they are met."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from alfa.cli.entry import run
from alfa.cli.outputs import require_writable, writing
from alfa.errors import BadInput, Fault
from alfa.files import write_atomic
from benchmarks.child import read_result
from benchmarks.machine import this_machine
from benchmarks.report import Outcome, as_json, as_markdown, line, summary, table
from benchmarks.suite import Effort

# By name, the module that has `BENCHMARK`. Only its own process imports it: no missing peer stops others.
# The soak takes long, and is a command of its own (benchmarks/soak.py).
ALL = {
    "matmul": "benchmarks.matmul",
    "window_pass": "benchmarks.window_pass",
    "window_pass_gpu": "benchmarks.window_pass_gpu",
    "stages": "benchmarks.stages",
    "peers_winclip": "benchmarks.peers_speed_winclip",
    "peers_masking": "benchmarks.peers_speed_masking",
    "peers_patchcore": "benchmarks.peers_speed_patchcore",
    "bank": "benchmarks.bank",
    "transport": "benchmarks.transport",
    "line_latency": "benchmarks.line_latency",
    "line_many": "benchmarks.line_many",
    "plc_latency": "benchmarks.plc_latency",
}
# Above what any of them takes when it is well.
_LONGEST_S = 1800.0
# A table is read on a page, also where it is written to a file.
_WIDTH = 200

app = typer.Typer(add_completion=False)


@app.command()
def measure(
    only: Annotated[
        str, typer.Option("--only", help="Names, or how they begin, with commas between; else all.")
    ] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewest runs that print every row; figures are noise.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="Of a measurement whose length is free.")
    ] = 10.0,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="CPU threads of torch and the peers; 0 is one a core.")
    ] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all to this file.", show_default=False)
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", help="Write all to this file.", show_default=False)
    ] = None,
) -> None:
    """Measure ours beside the peers'."""
    names = _chosen(only)
    files = {"--json": json_file, "--markdown": markdown_file}
    for option, file in files.items():
        if file is not None:
            require_writable(option, file)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, soft_wrap=False)
    machine = replace(this_machine(), threads=threads or len(os.sched_getaffinity(0)))
    print("\n".join(machine.lines()), flush=True)
    outcomes = []
    for outcome in _outcomes(names, Effort(quick, seconds), machine.threads):
        outcomes.append(outcome)
        console.print(table(outcome) if outcome.rows else line(outcome), markup=False, highlight=False)
    print(summary(outcomes))
    for file, text in ((json_file, as_json), (markdown_file, as_markdown)):
        if file is not None:
            with writing(file):
                write_atomic(file, text(machine, outcomes, quick).encode())
    crashed = [outcome.name for outcome in outcomes if outcome.crash]
    if crashed:
        raise Fault("benchmark_crashed", ", ".join(crashed))


def _chosen(only: str) -> list[str]:
    """The names that were asked for, in the suite's order.

    Raises:
        BadInput: one is none, and begins none.
    """
    asked = [each.strip() for each in only.split(",")] if only else [""]
    for each in asked:
        if not any(name.startswith(each) for name in ALL) or (only and not each):
            raise BadInput("--only", "", each, f"is no benchmark; choose from {', '.join(ALL)}")
    return [name for name in ALL if any(name.startswith(each) for each in asked)]


def _outcomes(names: list[str], effort: Effort, threads: int) -> Iterator[Outcome]:
    """Each benchmark in its own process, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            start = time.monotonic()
            outcome = _in_child(name, effort, threads, Path(directory) / name)
            yield replace(outcome, seconds=time.monotonic() - start)


def _in_child(name: str, effort: Effort, threads: int, result: Path) -> Outcome:
    command = [sys.executable, "-m", "benchmarks.child", ALL[name], str(result)]
    command += ["--seconds", str(effort.seconds), *(["--quick"] if effort.quick else [])]
    # Read by torch, by numpy's and by faiss' libraries as they start.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    said = result.with_suffix(".said")
    with said.open("w") as output, _own_session(command, environment, output) as child:
        try:
            status = child.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            return Outcome(name, name, crash=f"still running after {_LONGEST_S:.0f} s")
    if status:
        return Outcome(name, name, crash=_last_line(said.read_text(errors="replace")) or f"status {status}")
    return read_result(result)


@contextmanager
def _own_session(
    command: list[str], environment: dict[str, str], output: TextIO
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose own processes end with it, also where it crashed before it ended them itself."""
    # Told to stop, this process would end without ending the child, which Ctrl-C does not reach either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    child = subprocess.Popen(  # noqa: S603 - our own module
        command, env=environment, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _last_line(text: str) -> str:
    lines = [each for each in text.splitlines() if each.strip()]
    return lines[-1].strip() if lines else ""


if __name__ == "__main__":
    run(app)
