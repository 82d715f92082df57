"""One benchmark in a process of its own: `python -m benchmarks.child MODULE RESULT --seconds S [--quick]`.

The suite starts it. What it finds goes into the file RESULT, so that a library that prints cannot spoil it.
"""

from __future__ import annotations

import argparse
import importlib
import json
from dataclasses import asdict
from pathlib import Path

from alfa.files import write_atomic
from benchmarks.report import Outcome
from benchmarks.suite import Benchmark, Effort, Row, Unavailable


def main() -> None:
    """Run one benchmark and write its outcome; what goes wrong ends the process with a traceback."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("result", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    benchmark: Benchmark = importlib.import_module(given.module).BENCHMARK
    outcome = _outcome(benchmark, Effort(given.quick, given.seconds))
    # Not pydantic's JSON, which has no NaN: a figure that could not be measured.
    write_atomic(given.result, json.dumps(asdict(outcome)).encode())


def read_result(path: Path) -> Outcome:
    """What a child wrote."""
    found = json.loads(path.read_bytes())
    return Outcome(**found | {"rows": tuple(Row(**row) for row in found["rows"])})


def _outcome(benchmark: Benchmark, effort: Effort) -> Outcome:
    try:
        return Outcome(benchmark.name, benchmark.title, rows=tuple(benchmark.run(effort)))
    except Unavailable as error:
        return Outcome(benchmark.name, benchmark.title, missing=str(error))


if __name__ == "__main__":
    main()
