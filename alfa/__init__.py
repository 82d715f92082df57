"""ALFA: zero- and few-shot visual anomaly detection with a CLIP-like model.

`Inspector` is imported on first use: torch takes seconds, and the torch-free parts (prompts, overlays,
settings) must not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alfa.inspector import Inspection, Inspector

__all__ = ["Inspection", "Inspector"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's __getattr__ gives whatever was asked for
    if name in __all__:
        from alfa import inspector

        return getattr(inspector, name)
    raise AttributeError(f"module 'alfa' has no attribute {name!r}")
