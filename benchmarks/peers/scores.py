"""What every peer returns, so that all are measured by the same code."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class PeerScores:
    """A method's answer for a batch of B images on one patch grid; an `alfa.evaluation.variants.ScoresLike`.

    Attributes:
        image: (B,), the greater the more anomalous.
        patch_map: (B, P), the same per patch, row by row.
    """

    image: Tensor
    patch_map: Tensor

    @property
    def s_global(self) -> Tensor:
        """The whole score: a peer's is not made of two halves as ours is (Eq. 12)."""
        return self.image

    @property
    def s_local_max(self) -> Tensor:
        """(B,), the greatest of the map."""
        return self.patch_map.amax(dim=1)
