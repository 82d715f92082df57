"""The heap keeps what is freed: blocks of a frame's size are not faulted in anew each time."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS_OF_TEN_BLOCKS = """
import resource, sys
from alfa.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    bytearray(b"x") * (64 << 20)
use()
before = faults()
for _ in range(10):
    use()
print(faults() - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", FAULTS_OF_TEN_BLOCKS, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_large_blocks_are_used_again() -> None:
    """Ten blocks of 64 MB, one after the other, need no new pages; without the setting they need all."""
    assert faults("kept") < faults("as usual") / 10
