"""Against ALFA as the paper words it: a window is the whole image with everything else blacked out.

Every window then costs a pass over all tokens of an image; where tokens are dropped, one over its own.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from alfa.clip_model import ClipModel
from alfa.settings import ModelSettings
from alfa.windows import Grid, window_layout
from benchmarks.peers_speed import PAPERS_MODEL, Ours, random_model, random_pixels
from benchmarks.suite import Benchmark, Effort, Row
from benchmarks.timing import in_turn, torch_threads

# As many as a pass over whole images is fast with.
_WINDOWS_AT_ONCE = 16
_ROUNDS = 3


def window_masks(grid: Grid, scales: tuple[int, ...], patch_size: int) -> Tensor:
    """(N, 1, h, w), 1 inside the window: all windows of all scales, in their order."""
    coverage = torch.cat([window_layout(grid, scale).coverage.T for scale in scales])
    planes = coverage.view(-1, 1, grid.rows, grid.cols)
    return functional.interpolate(planes, scale_factor=float(patch_size), mode="nearest")


@torch.inference_mode()
def masked_embeddings(clip: Any, pixels: Tensor, masks: Tensor, black: Tensor) -> Tensor:  # noqa: ANN401
    """(N, d) unit: each window by a pass over the image that is black outside it.

    Args:
        clip: open_clip's model.
        pixels: (3, h, w), normalised.
        masks: (N, 1, h, w), 1 inside.
        black: (3, 1, 1), what a black pixel is after normalisation.
    """
    batches = torch.split(masks, _WINDOWS_AT_ONCE)
    parts = [clip.encode_image(pixels * inside + black * (1 - inside)) for inside in batches]
    return functional.normalize(torch.cat(parts), dim=-1)


def compare(model: ClipModel, settings: ModelSettings, effort: Effort) -> list[Row]:
    """One image each, in float32, with all threads and with one.

    Args:
        model: the weights of both.
        settings: of ours, in float32.
        effort: quick times a few windows only.
    """
    ours = Ours.of(model, settings)
    clip = copy.deepcopy(model.clip).requires_grad_(False)
    backbone = ours.backbone
    masks = window_masks(backbone.grid, backbone.scales, backbone.patch_size)
    black = (-torch.tensor(model.mean) / torch.tensor(model.std)).view(3, 1, 1)
    pixels = random_pixels(1, backbone.image_size)
    rows = []
    every = torch.get_num_threads()
    for threads in dict.fromkeys((every, 1)):
        # With one thread all windows would take twice as long for the same ratio.
        timed = masks if threads == every and not effort.quick else masks[:_WINDOWS_AT_ONCE]
        once = effort.quick or len(timed) > _WINDOWS_AT_ONCE
        with torch_threads(threads):
            mine, part = in_turn(
                [
                    partial(ours.inspect, pixels),
                    partial(masked_embeddings, clip, pixels[0], timed, black),
                ],
                rounds=1 if once else _ROUNDS,
                warm_up=0 if once else 1,
            )
        rows += rows_of(mine.median, part.median, len(masks), len(timed), threads)
    return rows


def rows_of(ours_s: float, part_s: float, windows: int, timed: int, threads: int) -> list[Row]:
    """What it says of one number of threads.

    Args:
        ours_s: for a whole image.
        part_s: for the windows that were timed.
        windows: of an image.
        timed: of them.
        threads: of torch.
    """
    theirs_s = part_s * windows / timed
    where = f"{threads} thread{'s' if threads > 1 else ''}"
    extrapolated = f"{timed} of {windows} windows timed, times {windows / timed:.1f}"
    return [
        Row(
            f"pixel-masking ALFA, windows of one image, {where}",
            theirs_s,
            "s",
            note="all windows timed" if timed == windows else extrapolated,
        ),
        Row(
            f"ALFA, the whole image, {where}",
            ours_s,
            "s",
            ratio=theirs_s / ours_s,
            against="pixel masking, float32",
            target=">= 30",
            note="ours with image pass and scores, theirs windows only",
        ),
    ]


def run(effort: Effort) -> list[Row]:
    """With the paper's model."""
    return compare(random_model(PAPERS_MODEL), PAPERS_MODEL, effort)


BENCHMARK = Benchmark("peers_masking", "Windows against blacked-out images, ViT-B-16-plus-240", run)
