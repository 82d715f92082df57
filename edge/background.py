"""Work on a thread of its own whose end, result or exception is looked at from the loop that started it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


def in_background(name: str, work: Callable[[], _T]) -> Future[_T]:
    """Start `work` on a daemon thread: unlike an executor's, one that hangs does not hold up the exit."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - not swallowed: `result()` raises it in the loop
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
