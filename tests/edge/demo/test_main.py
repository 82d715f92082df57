"""`edge-demo` as a process, as far as it goes without running a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_directory_that_is_not_a_demos_is_left_alone(tmp_path: Path) -> None:
    """One line, exit 2, and what lies there still lies there."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(
        [sys.executable, "-m", "edge.demo.main", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: edge-demo: --output = '{tmp_path}': exists and is not a demo's; name another one"
    ]
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
