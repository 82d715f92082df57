"""Against anomalib's WinCLIP: zero-shot images a second on the same weights, pixels and processor."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from alfa.clip_model import ClipModel
from alfa.features import ImageFeatures
from alfa.settings import ModelSettings
from benchmarks.peers_speed import (
    PAPERS_MODEL,
    Ours,
    bf16_here,
    peer_module,
    random_model,
    random_pixels,
    require_equal,
)
from benchmarks.suite import Benchmark, Effort, Row
from benchmarks.timing import in_turn, times_faster, torch_threads

_BATCHES = (1, 8)
# A batch of eight takes minutes on two cores.
_ROUNDS = {1: 3, 8: 1}
_QUICK_BATCHES = (1, 2)
# Unit embeddings; float32 sums in another order differ by about 1e-6.
_EQUAL = 2e-5
_AGAINST = "anomalib WinCLIP, float32"


class AcceptsEitherOrder(nn.Module):
    """A transformer for (n, tokens, c) that also takes (tokens, n, c), as open_clip's did before 2.25.

    anomalib's WinCLIP is written for those; with a later one attention would run across windows instead of
    across their tokens: other work, and wrong results.
    """

    def __init__(self, transformer: nn.Module, tokens: int) -> None:
        """The transformer, and how many tokens an image has that comes in its own order."""
        super().__init__()
        self._transformer = transformer
        self._tokens = tokens

    def forward(self, tokens: Tensor) -> Tensor:
        """All blocks, in the order that came."""
        if tokens.shape[1] == self._tokens:
            return self._transformer(tokens)  # type: ignore[no-any-return]
        return self._transformer(tokens.transpose(0, 1)).transpose(0, 1)  # type: ignore[no-any-return]


def anomalibs_winclip(model: ClipModel) -> Any:  # noqa: ANN401 - anomalib's module
    """anomalib's model on a copy of ours, with text embeddings of any content: they cost the same.

    Raises:
        Unavailable: anomalib is not installed.
    """
    module = peer_module("anomalib.models.image.winclip.torch_model")
    clip = copy.deepcopy(model.clip)
    rows, cols = clip.visual.grid_size
    clip.visual.transformer = AcceptsEitherOrder(clip.visual.transformer, rows * cols + 1)
    with _no_download(clip):
        theirs = module.WinClipModel().eval()
    theirs._text_embeddings = functional.normalize(torch.randn(2, clip.visual.output_dim), dim=1)
    return theirs


@contextmanager
def _no_download(clip: nn.Module) -> Iterator[None]:
    """anomalib's constructor names weights of a hub; it gets this model instead."""
    with mock.patch.object(open_clip, "create_model_and_transforms", return_value=(clip, None, None)):
        yield


def require_same_windows(features: ImageFeatures, theirs: Any, pixels: Tensor) -> float:  # noqa: ANN401
    """The greatest difference between the unit embeddings of images and windows.

    Args:
        features: ours, of `pixels`.
        theirs: anomalib's model.
        pixels: (B, 3, h, w).

    Raises:
        AssertionError: they differ by more than rounding.
    """
    with torch.inference_mode():
        image, windows, _ = theirs.encode_image(pixels)
    unit = [functional.normalize(level, dim=-1) for level in (image, *windows)]
    return require_equal(
        "embeddings of images and windows", [features.image, *features.windows], unit, _EQUAL
    )


def compare(model: ClipModel, settings: ModelSettings, batches: Sequence[int], effort: Effort) -> list[Row]:
    """Rows per number of threads and batch size, float32 against float32, then bf16 against it.

    Args:
        model: the weights of both.
        settings: of ours, in float32.
        batches: images at once.
        effort: how often.
    """
    theirs = anomalibs_winclip(model)
    ours = Ours.of(model, settings)
    half = Ours.of(model, settings.model_copy(update={"precision": "bf16"})) if bf16_here() else None
    difference = _require_same_work(ours, theirs)
    rows = []
    for threads in dict.fromkeys((1, torch.get_num_threads())):
        for batch in batches:
            with torch_threads(threads):
                rows += _rows(ours, half, theirs, batch, threads, effort)
    note = "unit vectors of images and windows, from the same pixels: the same work"
    return [Row("greatest difference of embeddings", difference, "", note=note), *rows]


def _require_same_work(ours: Ours, theirs: Any) -> float:  # noqa: ANN401
    pixels = random_pixels(1, ours.backbone.image_size)
    return require_same_windows(ours.backbone.encode_images(pixels), theirs, pixels)


def _rows(
    ours: Ours,
    half: Ours | None,
    theirs: Any,  # noqa: ANN401
    batch: int,
    threads: int,
    effort: Effort,
) -> list[Row]:
    pixels = random_pixels(batch, ours.backbone.image_size)
    things = [lambda: ours.inspect(pixels), lambda: _score(theirs, pixels)]
    if half is not None:
        things.append(lambda: half.inspect(pixels.bfloat16()))
    rounds = 1 if effort.quick else _ROUNDS[batch]
    # Where one run takes minutes, warming up would double them and change nothing.
    timings = in_turn(things, rounds, warm_up=int(rounds > 1))
    mine, peer = timings[:2]
    where = f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}"
    rows = [
        Row(f"anomalib WinCLIP, float32, {where}", batch / peer.median, "images/s", note=peer.note()),
        Row(
            f"ALFA, float32, {where}",
            batch / mine.median,
            "images/s",
            ratio=times_faster(mine, peer),
            against=_AGAINST,
            target=">= 1.3 in float32",
            note=mine.note(),
        ),
    ]
    name, target = f"ALFA, bf16, {where}", ">= 3 for bf16 against its float32"
    if half is None:
        note = "not run: the processor has no bf16 instructions"
        return [*rows, Row(name, float("nan"), "images/s", against=_AGAINST, target=target, note=note)]
    fast = timings[2]
    speed = batch / fast.median
    return [*rows, Row(name, speed, "images/s", times_faster(fast, peer), _AGAINST, target, fast.note())]


@torch.inference_mode()
def _score(theirs: Any, pixels: Tensor) -> object:  # noqa: ANN401
    return theirs(pixels)


def run(effort: Effort) -> list[Row]:
    """With the paper's model."""
    model = random_model(PAPERS_MODEL)
    return compare(model, PAPERS_MODEL, _QUICK_BATCHES if effort.quick else _BATCHES, effort)


BENCHMARK = Benchmark("peers_winclip", "Zero-shot against anomalib's WinCLIP, ViT-B-16-plus-240", run)
