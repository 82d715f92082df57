"""Log lines: which part they are about, and their priority where the journal reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

PROGRAM = """
from edge.log_lines import about_part, configure_logging
log = configure_logging("results")
with about_part("line1", 7, 41, "p-41"):
    log.warning("late")
    log.error("fault", line="line2")
log.info("stopped")
"""


def logged(environment: dict[str, str]) -> list[str]:
    """What a service writes to a pipe."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | environment,
    )
    return done.stderr.splitlines()


def journalled(journal_stream: str = "") -> list[str]:
    """What it writes when systemd has told it that its stderr is the journal's, or another stream's."""
    reader, writer = os.pipe()
    status = os.fstat(writer)
    stream = journal_stream or f"{status.st_dev}:{status.st_ino}"
    try:
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            stderr=writer,
            check=True,
            env=os.environ | {"JOURNAL_STREAM": stream},
        )
    finally:
        os.close(writer)
    with os.fdopen(reader) as pipe:
        return pipe.read().splitlines()


def test_lines_within_say_which_part_they_are_about() -> None:
    """Bound once; what a line says itself wins, and after the part nothing is left of it."""
    late, fault, stopped = map(json.loads, logged({"JOURNAL_STREAM": ""}))
    assert [late[name] for name in ("line", "epoch", "seq", "part")] == ["line1", 7, 41, "p-41"]
    assert (fault["line"], fault["seq"]) == ("line2", 41)
    assert not {"line", "epoch", "seq", "part"} & stopped.keys()


def test_the_journal_gets_priorities() -> None:
    """warning 4, error 3, info 6, each before a JSON object."""
    lines = journalled()
    assert [line[:3] for line in lines] == ["<4>", "<3>", "<6>"]
    assert [json.loads(line[3:])["event"] for line in lines] == ["late", "fault", "stopped"]


def test_another_stream_gets_none() -> None:
    """stderr led elsewhere: the variable is of the service manager's stream and not of this one."""
    assert [line[0] for line in journalled("1:1")] == ["{"] * 3


def test_log_is_json_in_a_pipe() -> None:
    """A log collector gets one JSON object a line on stderr, with service and level."""
    code = "from edge.log_lines import configure_logging as c; c('camera').warning('lost', line='line1')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    entry = json.loads(done.stderr)
    assert (entry["service"], entry["level"], entry["event"], entry["line"]) == (
        "camera",
        "warning",
        "lost",
        "line1",
    )
    assert done.stdout == b""
