"""The window pass beside the library's own blocks, on a model small enough for a test."""

from __future__ import annotations

import torch

from alfa.backbone import Backbone
from alfa.settings import ModelSettings
from benchmarks.peers_speed import random_model
from benchmarks.suite import Effort
from benchmarks.window_pass import compare, pass_flops


def test_it_does_the_same_work_as_the_plain_pass_and_prints_every_row(tiny_settings: ModelSettings) -> None:
    """Embeddings agree to rounding, and each figure has its row."""
    rows = compare(random_model(tiny_settings), tiny_settings, [1], Effort(quick=True))
    assert rows[0].value < 1e-5
    assert [row.unit for row in rows] == ["", "ms/image", "GFLOP/image", "%", "ms/image"]
    assert all(row.value > 0 for row in rows[1:])


def test_the_last_block_and_shared_projections_save_products(tiny_settings: ModelSettings) -> None:
    """Fewer products than if all blocks worked on all tokens: 12 c^2 multiplications a token and block."""
    backbone = Backbone.load(tiny_settings)
    layouts = backbone.layouts(backbone.grid)
    tokens = 1 + backbone.grid.patches + sum(layout.windows * (1 + layout.scale**2) for layout in layouts)
    depth = len(backbone._tower.blocks)
    everything = 2 * tokens * depth * 12 * backbone.patch_dim**2
    with torch.inference_mode():
        done = pass_flops(backbone, torch.zeros(1, 3, *backbone.image_size))
    assert 0.3 * everything < done < everything
