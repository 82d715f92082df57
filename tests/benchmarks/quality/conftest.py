"""Features small enough to score by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alfa.features import ImageFeatures
from alfa.windows import Grid, window_layout

FeatureMaker = Callable[..., ImageFeatures]


@pytest.fixture(scope="session")
def make_features() -> FeatureMaker:
    """Features of one image, or of `count` random ones, on a grid; whatever is not given is random."""

    def make(
        rows: int = 2,
        cols: int = 2,
        *,
        image: Tensor | None = None,
        windows: tuple[Tensor, ...] | None = None,
        patches: Tensor | None = None,
        middle: tuple[Tensor, ...] = (),
        scales: tuple[int, ...] = (),
        count: int = 1,
        seed: int = 0,
    ) -> ImageFeatures:
        generator = torch.Generator().manual_seed(seed)

        def unit(*shape: int) -> Tensor:
            return functional.normalize(torch.randn(*shape, 4, generator=generator), dim=-1)

        layouts = tuple(window_layout(Grid(rows, cols), scale) for scale in scales)
        return ImageFeatures(
            grid=Grid(rows, cols),
            image=unit(count) if image is None else image,
            windows=tuple(unit(count, layout.windows) for layout in layouts) if windows is None else windows,
            patches=unit(count, rows * cols) if patches is None else patches,
            patch_joint=None,
            middle=middle,
            layouts=layouts,
        )

    return make
