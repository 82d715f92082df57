"""What comparisons with other implementations share: one model with random weights, and the peers' modules.

Weights cannot be downloaded everywhere and do not change what a pass costs; both sides get the same ones, so
that equal work can be shown by equal numbers.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from alfa.backbone import Backbone
from alfa.inspector import Inspection, judge
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from benchmarks.machine import native_precisions
from benchmarks.suite import Unavailable

if TYPE_CHECKING:
    # It imports open_clip, which takes longer than torch; not every peer needs it.
    from alfa.clip_model import ClipModel

# As in the paper, and the only model that anomalib's WinCLIP takes.
PAPERS_MODEL = ModelSettings(name="ViT-B-16-plus-240", keep_aspect=False, precision="fp32", device="cpu")
_PROMPTS = Path(__file__).parents[1] / "prompts" / "bottle.toml"


@dataclass(frozen=True, slots=True, eq=False)
class Ours:
    """The whole method on pixels that are already prepared, as it runs in the detector.

    Attributes:
        backbone: the model.
        recipe: prompts of one class; text is encoded before anything is timed, as for the peers.
        settings: the method's numbers.
    """

    backbone: Backbone
    recipe: Recipe
    settings: ModelSettings

    @classmethod
    def of(cls, model: ClipModel, settings: ModelSettings) -> Ours:
        """On a copy of a model, which the backbone may convert as it likes."""
        backbone = Backbone(copy.deepcopy(model), settings)
        return cls(backbone, Recipe.load(backbone, _PROMPTS, settings=settings), settings)

    def inspect(self, pixels: Tensor) -> list[Inspection]:
        """Encode and judge (B, 3, h, w) normalised pixels."""
        features = self.backbone.encode_images(pixels)
        size = (pixels.shape[2], pixels.shape[3])
        return judge(features, self.recipe, self.settings, [size] * len(pixels))


def random_model(settings: ModelSettings) -> ClipModel:
    """The model that the settings name; its weights are random, and the same in every run, if it has none."""
    # open_clip takes seconds to import, which a benchmark that is not chosen need not wait for.
    from alfa.pretrained import open_model

    torch.manual_seed(0)
    return open_model(settings)


def random_pixels(images: int, size: tuple[int, int]) -> Tensor:
    """(images, 3, h, w), as normalised pixels are distributed; the same in every run."""
    return torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(1))


def peer_module(name: str) -> Any:  # noqa: ANN401 - other projects' modules, typed or not
    """Import a module of a peer.

    Raises:
        Unavailable: it is not installed, or cannot be used with what else is.
    """
    with warnings.catch_warnings():
        # Deprecations inside the peer are its own affair.
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError as error:
            root = name.partition(".")[0]
            advice = f"{root} cannot be imported ({error}); install the `peers` extra"
            raise Unavailable(advice) from error


def bf16_here() -> bool:
    """Whether bfloat16 is worth a comparison on this processor."""
    return "bf16" in native_precisions()


def require_equal(name: str, ours: Sequence[Tensor], theirs: Sequence[Tensor], atol: float) -> float:
    """The greatest difference between what the two sides computed from the same pixels.

    Raises:
        AssertionError: it is above `atol`: the times would be of different work.
    """
    # Of tensors: Python's own `max` loses a NaN.
    levels = [(own.float() - other.float()).abs().amax() for own, other in zip(ours, theirs, strict=True)]
    difference = float(torch.stack(levels).amax())
    if not difference <= atol:
        raise AssertionError(f"{name} differ by {difference:.3g}: not the same work")
    return difference
