"""Against anomalib's PatchCore on our tower: features and nearest neighbours, banks of the same images."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from alfa.backbone import Backbone
from alfa.features import ImageFeatures
from alfa.memory import MemoryBank
from alfa.settings import ModelSettings
from benchmarks.peers_speed import peer_module, random_model, random_pixels, require_equal
from benchmarks.suite import Benchmark, Effort, Row
from benchmarks.timing import in_turn, times_faster, torch_threads

_SETTINGS = ModelSettings(keep_aspect=False, precision="fp32", device="cpu")
# alfa-mini's tower, as timm names it.
_TOWER = "vit_small_patch14_dinov2.lvd142m"
# Their 4096 patches are as many rows as a bank keeps.
_TAUGHT = 16
_BATCHES = (1, 8)
_ROUNDS = 9
_AGAINST = "anomalib PatchCore, float32"
# Tokens of unit length through twelve blocks, summed in another order.
_EQUAL = 2e-4


def anomalibs_patchcore(trunk: torch.nn.Module, backbone: Backbone, good: Tensor) -> Any:  # noqa: ANN401
    """anomalib's model on the weights of our tower, with the patches of the same blocks side by side.

    Args:
        trunk: timm's module inside our tower.
        backbone: ours, whose blocks are taken.
        good: (B, 3, h, w), taught; all their patches are kept, as in ours.

    Raises:
        Unavailable: anomalib is not installed.
    """
    module = peer_module("anomalib.models.image.patchcore.torch_model")
    layers = [f"blocks.{block - 1}" for block in backbone.patch_blocks]
    model = module.PatchcoreModel(layers=layers, backbone=_TOWER, pre_trained=False)
    own = model.feature_extractor.feature_extractor
    # Theirs takes any size of image, ours keeps the positions of the native grid: the same parameters.
    own.load_state_dict(trunk.state_dict())
    model.train()
    model.feature_extractor.eval()
    model(good)
    model.memory_bank = torch.vstack(model.embedding_store)
    return model.eval()


def require_same_tokens(features: ImageFeatures, theirs: Any, pixels: Tensor) -> float:  # noqa: ANN401
    """The greatest difference between the unit patch tokens of all blocks.

    Raises:
        AssertionError: they differ by more than rounding.
    """
    with torch.inference_mode():
        found = theirs.feature_extractor(pixels)
    unit = [functional.normalize(level.flatten(2).mT, dim=-1) for level in found.values()]
    return require_equal("patch tokens", [*features.middle, features.patches], unit, _EQUAL)


def run(effort: Effort) -> list[Row]:
    """One and eight images at once, on one thread and on all."""
    model = random_model(_SETTINGS)
    # Before the backbone takes it: that folds scales into weights.
    trunk = copy.deepcopy(model.clip.visual.trunk)
    backbone = Backbone(model, _SETTINGS)
    good = random_pixels(_TAUGHT, backbone.image_size)
    theirs = anomalibs_patchcore(trunk, backbone, good)
    bank = MemoryBank.build([backbone.encode_images(good)], backbone, ["0" * 16] * _TAUGHT)
    first = good[:1]
    difference = require_same_tokens(backbone.encode_images(first), theirs, first)
    rows = [Row("greatest difference of patch tokens", difference, "", note="unit vectors: the same work")]
    for threads in dict.fromkeys((1, torch.get_num_threads())):
        for batch in _BATCHES:
            with torch_threads(threads):
                rows += _rows(backbone, bank, theirs, batch, threads, 1 if effort.quick else _ROUNDS)
    return rows


def _rows(
    backbone: Backbone,
    bank: MemoryBank,
    theirs: Any,  # noqa: ANN401
    batch: int,
    threads: int,
    rounds: int,
) -> list[Row]:
    pixels = random_pixels(batch, backbone.image_size)
    mine, peer = in_turn(
        [partial(_ours, backbone, bank, pixels), partial(_theirs, theirs, pixels)], rounds, int(rounds > 1)
    )
    where = f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}"
    return [
        Row(f"anomalib PatchCore, {where}", batch / peer.median, "images/s", note=peer.note()),
        Row(
            f"ALFA's features and bank, {where}",
            batch / mine.median,
            "images/s",
            ratio=times_faster(mine, peer),
            against=_AGAINST,
            note=mine.note(),
        ),
    ]


@torch.inference_mode()
def _ours(backbone: Backbone, bank: MemoryBank, pixels: Tensor) -> Tensor:
    return bank.distances(backbone.encode_images(pixels))


@torch.inference_mode()
def _theirs(theirs: Any, pixels: Tensor) -> object:  # noqa: ANN401
    return theirs(pixels)


BENCHMARK = Benchmark("peers_patchcore", "Few-shot against anomalib's PatchCore on alfa-mini's tower", run)
