"""A detector that tells on SIGUSR1 how many hooks its modules have: `python -m benchmarks.line_probe FILE`.

Everything after FILE is for edge-detector. Hooks cannot be counted from outside, and a hook registered at
every frame is a classic leak of this kind of program. The count is made on the main thread between two
rounds of its loop.
"""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from types import FrameType

from alfa.files import write_atomic
from edge.detector.main import main


def hooks() -> int:
    """Forward hooks of all modules that are alive, pre-hooks among them."""
    from torch import nn

    # Reading the class and not calling isinstance: that would wake lazy proxies of other libraries.
    modules = [each for each in gc.get_objects() if issubclass(type(each), nn.Module)]
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in modules)


def _answer_to(path: Path) -> None:
    def answer(number: int, frame: FrameType | None) -> None:
        write_atomic(path, str(hooks()).encode(), durable=False)

    signal.signal(signal.SIGUSR1, answer)


if __name__ == "__main__":
    _answer_to(Path(sys.argv.pop(1)))
    main()
