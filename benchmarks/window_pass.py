"""The window pass of the paper's backbone: how near to the machine's matmul peak, and what was left out."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from alfa.backbone import Backbone
from alfa.clip_model import ClipModel
from alfa.settings import ModelSettings
from benchmarks.matmul import SHAPES, peak_flops
from benchmarks.peers_speed import PAPERS_MODEL, random_model, random_pixels
from benchmarks.suite import Benchmark, Effort, Row
from benchmarks.timing import in_turn, times_faster

_BATCHES = (1, 8)
_QUICK_BATCHES = (1,)
_ROUNDS = {1: 5, 8: 2}
_TARGET = ">= 70 %"
_AGAINST = "each scale through the library's own blocks"


class PlainPass:
    """What the window pass is compared with: the same windows, each scale by itself through open_clip.

    Tokens are embedded once here too; but each scale is a batch of its own, all blocks work on all tokens,
    and no window shares a projection with another.
    """

    def __init__(self, model: ClipModel, backbone: Backbone) -> None:
        """On the model's own modules; the backbone only says which windows there are."""
        self._visual = model.clip.visual.eval()
        self._layouts = backbone.layouts(backbone.grid)

    def encode(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, h, w) -> embeddings of the images, (B, d), and of each scale's windows, (B, N, d)."""
        visual = self._visual
        patches = visual.conv1(pixels).flatten(2).mT
        class_token = visual.class_embedding.expand(len(patches), 1, -1)
        tokens = visual.ln_pre(torch.cat([class_token, patches], dim=1) + visual.positional_embedding)
        images = len(tokens)
        encoded = [self._pooled(tokens)]
        for layout in self._layouts:
            own = tokens[:, layout.indices + 1]
            prefix = tokens[:, None, :1].expand(-1, layout.windows, -1, -1)
            windows = torch.cat([prefix, own], dim=2).flatten(0, 1)
            encoded.append(self._pooled(windows).view(images, layout.windows, -1))
        return encoded

    def _pooled(self, tokens: Tensor) -> Tensor:
        hidden = self._visual.transformer(tokens)
        pooled = self._visual.ln_post(hidden)[:, 0] @ self._visual.proj
        return torch.nn.functional.normalize(pooled, dim=-1)


def pass_flops(backbone: Backbone, pixels: Tensor) -> int:
    """Floating-point operations of the matrix products that encoding these images really does."""
    with FlopCounterMode(display=False) as counter:
        backbone.encode_images(pixels)
    return int(counter.get_total_flops())


@torch.inference_mode()
def compare(model: ClipModel, settings: ModelSettings, batches: Sequence[int], effort: Effort) -> list[Row]:
    """Rows for each batch size; ours, the plain pass and the fast mode in turn.

    Args:
        model: the weights of all.
        settings: of ours, exact and float32.
        batches: images at once.
        effort: how often.
    """
    exact = Backbone(copy.deepcopy(model), settings)
    fast = Backbone(copy.deepcopy(model), settings.model_copy(update={"mode": "fast"}))
    plain = PlainPass(model, exact)
    pixels = random_pixels(1, exact.image_size)
    difference = _difference(exact, plain, pixels)
    rows = [Row("greatest difference of embeddings", difference, "", note="ours and the plain pass")]
    for batch in batches:
        rows += _rows(exact, fast, plain, random_pixels(batch, exact.image_size), effort)
    return rows


def _difference(exact: Backbone, plain: PlainPass, pixels: Tensor) -> float:
    features = exact.encode_images(pixels)
    levels = zip((features.image, *features.windows), plain.encode(pixels), strict=True)
    return max(float((ours - theirs).abs().amax()) for ours, theirs in levels)


def _rows(exact: Backbone, fast: Backbone, plain: PlainPass, pixels: Tensor, effort: Effort) -> list[Row]:
    images, rounds = len(pixels), 1 if effort.quick else _ROUNDS[len(pixels)]
    shapes = SHAPES[:1] if effort.quick else SHAPES
    before = peak_flops(exact.dtype, exact.device, shapes, rounds)
    ours, theirs, quick = in_turn(
        [
            lambda: exact.encode_images(pixels),
            lambda: plain.encode(pixels),
            lambda: fast.encode_images(pixels),
        ],
        rounds,
    )
    # Before and after: a machine that was busy for one of them must not flatter us.
    peak = max(before, peak_flops(exact.dtype, exact.device, shapes, rounds))
    flops = pass_flops(exact, pixels)
    rate = flops / ours.median
    at_once = f"batch {images}"
    return [
        Row(
            f"image and windows, {at_once}",
            1000 * ours.median / images,
            "ms/image",
            times_faster(ours, theirs),
            _AGAINST,
            note=ours.note(),
        ),
        Row(f"matrix products, {at_once}", flops / images / 1e9, "GFLOP/image", note="counted while running"),
        Row(
            f"share of the matmul peak, {at_once}",
            100 * rate / peak,
            "%",
            target=_TARGET,
            note=f"{rate / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s",
        ),
        Row(
            f"fast mode, {at_once}",
            1000 * quick.median / images,
            "ms/image",
            times_faster(quick, ours),
            "exact mode",
            ">= 3",
            note=quick.note(),
        ),
    ]


def run(effort: Effort) -> list[Row]:
    """ViT-B-16-plus-240 with random weights, float32, all threads."""
    batches = _QUICK_BATCHES if effort.quick else _BATCHES
    return compare(random_model(PAPERS_MODEL), PAPERS_MODEL, batches, effort)


BENCHMARK = Benchmark("window_pass", "The window pass, ViT-B-16-plus-240, float32", run)
