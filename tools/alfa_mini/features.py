"""The frozen tower's patch tokens of all samples, computed once and kept in a cache folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
from rich.progress import track
from torch import Tensor

from alfa.backbone import Backbone
from alfa.features import ImageFeatures
from alfa.files import content_hash, file_hash, write_atomic
from alfa.model_directory import IMAGE_TOWER_FILE
from alfa.settings import ModelSettings
from alfa.windows import Grid
from tools.alfa_mini.defects import KINDS
from tools.alfa_mini.sets import Sample, Source, read

_PICTURES_AT_ONCE = 16
_UNKNOWN = -1.0
_NO_KIND = -1


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One sample as the tower sees it.

    Attributes:
        tokens: (P, blocks * c) float16, the blocks' unit tokens side by side.
        labels: (P,) defective fraction of each patch's area, -1 where not known.
        abnormal: whether a defect is on it.
        rendered: whether the defect is.
        kind: index into `KINDS` of the rendered defect, -1 without.
    """

    tokens: Tensor
    labels: Tensor
    abnormal: bool
    rendered: bool
    kind: int


def extract(
    model: Path, blocks: Sequence[int], found: list[Source], cache: Path, threads: int
) -> list[Picture]:
    """Tokens of all sources, chunk by chunk; what the cache has already is not computed again.

    Args:
        model: a directory in the embedded model's form, with the image tower.
        blocks: counted from 1, whose tokens are taken.
        found: what to read, in order.
        cache: folder for the chunks.
        threads: for torch.
    """
    settings = ModelSettings(threads=threads, local="patches", device="cpu", precision="fp32")
    backbone = Backbone.load_directory(model, settings)
    chunks = [found[start : start + _PICTURES_AT_ONCE] for start in range(0, len(found), _PICTURES_AT_ONCE)]
    tower = file_hash(model / IMAGE_TOWER_FILE)
    paths = [_computed(backbone, tower, blocks, chunk, cache) for chunk in track(chunks, "image tower")]
    return [picture for path in paths for picture in _pictures(safetensors.torch.load_file(path))]


def _computed(
    backbone: Backbone, tower: str, blocks: Sequence[int], chunk: list[Source], cache: Path
) -> Path:
    described = [
        tower,
        backbone.preprocess_hash,
        [*blocks],
        [str(source) for source in chunk],
    ]
    path = cache / f"{content_hash(json.dumps(described).encode())}.safetensors"
    if not path.exists():
        samples = [read(source) for source in chunk]
        write_atomic(path, safetensors.torch.save(_encoded(backbone, blocks, samples)))
    return path


def _encoded(backbone: Backbone, blocks: Sequence[int], samples: list[Sample]) -> dict[str, Tensor]:
    """Flat rows, as pictures of different shapes have different numbers of patches."""
    tokens: list[Tensor] = [torch.empty(0)] * len(samples)
    labels: list[Tensor] = [torch.empty(0)] * len(samples)
    for positions, features in backbone.encode([sample.image for sample in samples]):
        rows = torch.cat(_levels(backbone, features, blocks), dim=-1).half()
        for row, position in enumerate(positions):
            tokens[position] = rows[row]
            labels[position] = _patch_labels(samples[position], features.grid)
    kinds = [KINDS.index(sample.kinds[0]) if sample.rendered else _NO_KIND for sample in samples]
    return {
        "tokens": torch.cat(tokens),
        "labels": torch.cat(labels),
        "patches": torch.tensor([len(each) for each in labels]),
        "abnormal": torch.tensor([sample.abnormal for sample in samples]),
        "rendered": torch.tensor([sample.rendered for sample in samples]),
        "kind": torch.tensor(kinds),
    }


def _levels(backbone: Backbone, features: ImageFeatures, blocks: Sequence[int]) -> list[Tensor]:
    levels = dict(zip(backbone.patch_blocks, (*features.middle, features.patches), strict=True))
    return [levels[block] for block in blocks]


def _pictures(chunk: dict[str, Tensor]) -> list[Picture]:
    counts = chunk["patches"].tolist()
    rows = zip(
        torch.split(chunk["tokens"], counts),
        torch.split(chunk["labels"], counts),
        chunk["abnormal"].tolist(),
        chunk["rendered"].tolist(),
        chunk["kind"].tolist(),
        strict=True,
    )
    return [Picture(*row) for row in rows]


def _patch_labels(sample: Sample, grid: Grid) -> Tensor:
    """(P,) defective fraction of each patch's area."""
    if sample.mask is None:
        return torch.full((grid.patches,), _UNKNOWN)
    size = (grid.cols, grid.rows)
    return torch.from_numpy(
        cv2.resize(sample.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    ).flatten()
