"""The installation in a booted Debian, in its short form, where this machine can boot one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_MISSING = [tool for tool in ("systemd-nspawn", "debootstrap") if shutil.which(tool) is None]


def _obstacle() -> str:
    """Why no container can be booted here; empty where one can."""
    if _MISSING:
        return f"no {' and no '.join(_MISSING)}"
    if os.geteuid() != 0:
        return "not root"
    if sys.version_info[:2] != (3, 11):
        return "this Python is not the container's 3.11"
    return "" if (_ROOT / ".venv").exists() else "no .venv in the checkout"


# A Debian is downloaded once, and everything waits for real units.
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(_obstacle()), reason=f"the trial in a booted container is not run: {_obstacle()}")
def test_the_product_installs_runs_recovers_and_leaves() -> None:
    """Every step of tests/nspawn/inside.sh says ok."""
    command = [str(_ROOT / "tests/nspawn/trial.sh")]
    environment = os.environ | {"SHORT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
