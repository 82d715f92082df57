"""Where a frame's time goes in the detector: each stage by itself, as a share of the frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from alfa.adaptation import adapt
from alfa.aligner import aligner, local_logits
from alfa.backbone import Backbone
from alfa.features import ImageFeatures
from alfa.inspector import judge
from alfa.memory import MemoryBank
from alfa.recipe import Recipe
from alfa.region import region_above
from alfa.scoring import global_score, highest, local_map
from alfa.settings import ModelSettings
from alfa.teaching import Teaching
from alfa.windows import to_pixels
from benchmarks.peers_speed import PAPERS_MODEL, Ours, random_model
from benchmarks.suite import Benchmark, Effort, Row
from benchmarks.timing import in_turn
from edge.detector.evidence import encode_jpeg
from edge.messages import Frame, FrameHeader, decode_frame, encode_frame

_MODELS = (ModelSettings(device="cpu"), PAPERS_MODEL)
_SIZES = {"640x480": (480, 640), "1080p": (1080, 1920), "12 MP": (3000, 4000)}
_SHARES_OF = "1080p"
_ROUNDS = 15
_ROUNDS_QUICK = 1
# The model takes seconds where the rest takes milliseconds.
_ROUNDS_OF_MODEL = 3
_TAUGHT = 16
_TEXT_SIDE = ("adapt", "aligner", "scores")
_TEXT_SIDE_TARGET = "<= 2 % of the frame"
_JPEG_QUALITY = 90
_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a frame's way.

    Attributes:
        name: as shown.
        run: does it once, for one frame.
        on_the_way: whether the verdict waits for it.
    """

    name: str
    run: Callable[[], object]
    on_the_way: bool = True


def shares(milliseconds: dict[str, float]) -> dict[str, float]:
    """Each stage's part of their sum, in percent."""
    whole = sum(milliseconds.values())
    return {name: 100 * part / whole for name, part in milliseconds.items()}


def colour_frame(height: int, width: int) -> Frame:
    """A BGR frame of noise, as it is after its way through a socket: a read-only view."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    header = FrameHeader(
        line="line1",
        epoch=1,
        seq=0,
        mono_ns=0,
        wall_ns=0,
        height=height,
        width=width,
        channels=3,
        dtype="uint8",
        colour="bgr",
    )
    return decode_frame(encode_frame(Frame(header, pixels)))


def taught(backbone: Backbone, features: ImageFeatures, images: int) -> MemoryBank:
    """A bank of parts that look like the one encoded, but for noise."""
    several = _noisy(features, images)
    teaching = Teaching(backbone.patch_blocks, features.grid, images)
    teaching.add(several)
    return MemoryBank.of(teaching.outcome(), backbone, ["0" * 16] * images)


def _noisy(features: ImageFeatures, images: int) -> ImageFeatures:
    generator = torch.Generator().manual_seed(0)

    def varied(tokens: Tensor) -> Tensor:
        noise = torch.randn(images, *tokens.shape[1:], generator=generator)
        return functional.normalize(tokens + 0.3 * noise / tokens.shape[-1] ** 0.5, dim=-1)

    return replace(
        features.select([0] * images),
        patches=varied(features.patches),
        middle=tuple(varied(tokens) for tokens in features.middle),
    )


def frame_stages(backbone: Backbone, size: tuple[int, int]) -> list[Stage]:
    """What is done to a frame's own pixels."""
    frame = colour_frame(*size)
    message = encode_frame(frame)
    preprocessor = backbone.preprocessor
    fitted = preprocessor.fit(frame.pixels, "bgr")
    return [
        Stage("decode", lambda: decode_frame(message)),
        Stage("resize", lambda: preprocessor.fit(frame.pixels, "bgr")),
        Stage("normalise", lambda: preprocessor.batches([fitted])),
        Stage("JPEG", lambda: encode_jpeg(frame, _JPEG_QUALITY), on_the_way=False),
    ]


def method_stages(
    features: ImageFeatures, recipe: Recipe, settings: ModelSettings, size: tuple[int, int]
) -> list[Stage]:
    """What is done to the features of one image; each stage on what the ones before it gave."""
    adapted = adapt(features.image, recipe.text)
    logits = local_logits(features, adapted, aligner(settings.aligner), settings.local)
    patch_map = local_map(logits, features.layouts, settings.temperature)
    map_size = (features.grid.rows * recipe.patch_size, features.grid.cols * recipe.patch_size)
    pixel_map = to_pixels(patch_map, features.grid, map_size).half().numpy()[0]
    threshold = float(np.median(pixel_map))

    def scores() -> object:
        return global_score(features.image, adapted, settings.temperature), highest(
            patch_map, settings.top_share
        )

    stages = [
        Stage("adapt", lambda: adapt(features.image, recipe.text)),
        Stage("aligner", lambda: local_logits(features, adapted, aligner(settings.aligner), settings.local)),
        Stage("scores", scores),
        Stage("local map", lambda: local_map(logits, features.layouts, settings.temperature)),
        Stage("pixels", lambda: to_pixels(patch_map, features.grid, map_size).half().numpy()),
        Stage("region", lambda: region_above(pixel_map, threshold, size)),
    ]
    if recipe.bank is not None:
        bank = recipe.bank
        stages.append(Stage("bank", lambda: bank.distances(features, settings.bank_foreground)))
    return stages


@torch.inference_mode()
def stage_rows(settings: ModelSettings, effort: Effort) -> list[Row]:
    """All stages of one frame at 1080p, their shares, and that of the text side."""
    ours = Ours.of(random_model(settings), settings)
    size = _SIZES[_SHARES_OF]
    frame = colour_frame(*size)
    [batch] = ours.backbone.preprocessor.batches([ours.backbone.preprocessor.fit(frame.pixels, "bgr")])
    features = ours.backbone.encode_images(batch.pixels)
    recipe = replace(ours.recipe, bank=taught(ours.backbone, features, _TAUGHT))
    stages = [*frame_stages(ours.backbone, size), *method_stages(features, recipe, settings, size)]
    rounds = _ROUNDS_QUICK if effort.quick else _ROUNDS
    took = _milliseconds(stages, rounds)
    encode = Stage("encode", lambda: ours.backbone.encode_images(batch.pixels))
    took |= _milliseconds([encode], _ROUNDS_QUICK if effort.quick else _ROUNDS_OF_MODEL)
    whole = Stage("judge", lambda: judge(features, recipe, settings, [size]))
    took_whole = _milliseconds([whole], rounds)["judge"]
    beside = {stage.name for stage in stages if not stage.on_the_way}
    parts = shares({name: took[name] for name in took if name not in beside})
    rows = [
        Row(f"{settings.name}, {_SHARES_OF}: {name}", took[name], "ms", note=_note(parts.get(name)))
        for name in sorted(took, key=lambda name: -took[name])
    ]
    text_side = sum(parts[name] for name in _TEXT_SIDE)
    return [
        *rows,
        Row(
            f"{settings.name}, {_SHARES_OF}: adaptation, aligner and scores together",
            text_side,
            "% of the frame",
            target=_TEXT_SIDE_TARGET,
        ),
        Row(
            f"{settings.name}, {_SHARES_OF}: all that follows the model, as the detector runs it",
            took_whole,
            "ms",
            note=f"{100 * took_whole / took['encode']:.1f} % of the model's time",
        ),
    ]


def size_rows(effort: Effort) -> list[Row]:
    """The stages of the pixels at the sizes of cameras, which the model does not see."""
    settings = _MODELS[0]
    backbone = Ours.of(random_model(settings), settings).backbone
    rows = []
    for label, size in _SIZES.items():
        took = _milliseconds(frame_stages(backbone, size), _ROUNDS_QUICK if effort.quick else _ROUNDS)
        rows += [Row(f"{settings.name}, {label}: {name}", took[name], "ms") for name in took]
    return rows


def run(effort: Effort) -> list[Row]:
    """Sizes first, then the shares for each model."""
    rows = size_rows(effort)
    for settings in _MODELS:
        rows += stage_rows(settings, effort)
    return rows


def _milliseconds(stages: Sequence[Stage], rounds: int) -> dict[str, float]:
    timings = in_turn([stage.run for stage in stages], rounds)
    return {stage.name: _MS * timing.median for stage, timing in zip(stages, timings, strict=True)}


def _note(share: float | None) -> str:
    return "beside the verdict's way" if share is None else f"{share:.2f} % of the frame"


BENCHMARK = Benchmark("stages", "Where a frame's time goes", run)
