"""The model on a GPU, in half precision: time an image, share of the matmul peak, what recording saves."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from alfa.backbone import Backbone
from alfa.clip_model import ClipModel
from alfa.features import ImageFeatures
from alfa.settings import ModelSettings
from benchmarks.matmul import SHAPES_ON_GPU, peak_flops
from benchmarks.peers_speed import PAPERS_MODEL, Ours, random_model, random_pixels
from benchmarks.suite import Benchmark, Effort, Row, Unavailable
from benchmarks.timing import Timing, in_turn, times_faster, waited_for
from benchmarks.window_pass import PlainPass, pass_flops

_MODELS = (PAPERS_MODEL, ModelSettings())
_BATCHES = (1, 8, 32)
_ROUNDS = 30
_MS = 1000.0
# Asked for the paper's model in bf16.
_TARGETS_MS = {1: "<= 8", 8: "<= 4"}


def run(effort: Effort) -> list[Row]:
    """The paper's model with random weights, and alfa-mini; in bf16 and beside it fp16.

    Raises:
        Unavailable: torch sees no GPU.
    """
    if not torch.cuda.is_available():
        raise Unavailable("torch sees no GPU")
    rounds = 1 if effort.quick else _ROUNDS
    rows = []
    for settings in _MODELS:
        for precision in ("bf16", "fp16"):
            chosen = settings.model_copy(update={"device": "cuda", "precision": precision})
            rows += compare(random_model(settings), chosen, rounds)
    return rows


@torch.inference_mode()
def compare(model: ClipModel, settings: ModelSettings, rounds: int) -> list[Row]:
    """Rows of one model in one precision.

    Args:
        model: the weights.
        settings: of ours, on a GPU.
        rounds: how often each is timed.
    """
    ours = Ours.of(model, settings)
    launched = Backbone(copy.deepcopy(model), settings.model_copy(update={"cuda_graphs": False}))
    exact = Backbone(copy.deepcopy(model), settings.model_copy(update={"precision": "fp32"}))
    label = f"{settings.name}, {settings.precision}"
    pixels = random_pixels(8, exact.image_size).to(exact.device)
    difference = _difference(
        ours.backbone.encode_images(pixels.to(ours.backbone.dtype)), exact.encode_images(pixels)
    )
    rows = [Row(f"{label}: greatest difference of embeddings", difference, "", note="from float32, 8 images")]
    plain = _plain_pass(model, launched)
    for batch in _BATCHES:
        rows += _rows(f"{label}, batch {batch}", ours, launched, plain, batch, rounds)
    return rows


def _difference(ours: ImageFeatures, theirs: ImageFeatures) -> float:
    pairs = zip((ours.image, *ours.windows), (theirs.image, *theirs.windows), strict=True)
    return max(float((own - other).abs().amax()) for own, other in pairs)


def _plain_pass(model: ClipModel, backbone: Backbone) -> PlainPass | None:
    """Of a model whose image side is open_clip's own."""
    if not hasattr(model.clip.visual, "transformer"):
        return None
    on_gpu = copy.deepcopy(model)
    on_gpu.clip.visual.requires_grad_(False).to(backbone.device, backbone.dtype)
    return PlainPass(on_gpu, backbone)


def _rows(
    label: str, ours: Ours, launched: Backbone, plain: PlainPass | None, batch: int, rounds: int
) -> list[Row]:
    backbone = ours.backbone
    pixels = random_pixels(batch, backbone.image_size).to(backbone.device, backbone.dtype)
    encode, one_by_one, whole = (
        _timed(work, pixels) for work in (backbone.encode_images, launched.encode_images, ours.inspect)
    )
    library = [] if plain is None else [_timed(plain.encode, pixels)]
    recorded, unrecorded, inspected, *others = in_turn([encode, one_by_one, whole, *library], rounds, 3)
    rate = pass_flops(launched, pixels) / recorded.median
    peak = peak_flops(backbone.dtype, backbone.device, SHAPES_ON_GPU, 3)
    paper = backbone.settings.name == PAPERS_MODEL.name and backbone.settings.precision == "bf16"
    target = _TARGETS_MS.get(batch, "") if paper else ""
    rows = [
        _time(f"{label}: encode", batch, recorded, unrecorded, "kernels launched one by one", target),
        Row(
            f"{label}: share of the matmul peak",
            100 * rate / peak,
            "%",
            note=f"{rate / 1e12:.0f} of {peak / 1e12:.0f} TFLOP/s",
        ),
        _time(f"{label}: encode and judge", batch, inspected, None, "", target),
    ]
    if others:
        rows.append(_time(f"{label}: library's blocks, scale by scale", batch, others[0], None, ""))
    return rows


def _timed(work: Callable[[Tensor], object], pixels: Tensor) -> Callable[[], object]:
    return waited_for(lambda: work(pixels), pixels.device)


def _time(what: str, images: int, took: Timing, beside: Timing | None, against: str, target: str = "") -> Row:
    ratio = None if beside is None else times_faster(took, beside)
    return Row(what, _MS * took.median / images, "ms/image", ratio, against, target, took.note())


BENCHMARK = Benchmark("window_pass_gpu", "The model on a GPU", run)
