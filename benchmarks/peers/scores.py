"""What every peer returns, so that all are measured by the same code."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class PeerScores:
    """A method's answer for a batch of B images on one patch grid.

    Attributes:
        image: (B,), the greater the more anomalous.
        patch_map: (B, P), the same per patch, row by row.
    """

    image: Tensor
    patch_map: Tensor
