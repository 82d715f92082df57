"""The frozen tower's embeddings of all samples, computed once and kept in a cache folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
from rich.progress import track
from torch import Tensor

from alfa.backbone import Backbone
from alfa.files import content_hash
from alfa.settings import ModelSettings
from alfa.windows import Grid, window_layout
from tools.alfa_mini.defects import KINDS
from tools.alfa_mini.sets import Sample, Source, read

_IMAGES_AT_ONCE = 16
# Neighbouring windows share most of their tokens: every third one says nearly as much and costs a ninth.
WINDOW_STRIDE = 3
_UNKNOWN = -1.0


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Of n samples; embeddings are float16 of unit length, labels are defective fractions of the area.

    Attributes:
        image: (n, c).
        windows: per scale (n, N, c).
        patches: (n, P, c).
        patch_labels: (n, P) in [0, 1], or -1 where not known.
        window_labels: per scale (n, N), the same.
        group: (n,) index of the training set.
        abnormal: (n,) bool.
        rendered: (n,) bool.
        kinds: (n, K) bool, kinds of defect.
    """

    image: Tensor
    windows: tuple[Tensor, ...]
    patches: Tensor
    patch_labels: Tensor
    window_labels: tuple[Tensor, ...]
    group: Tensor
    abnormal: Tensor
    rendered: Tensor
    kinds: Tensor

    def select(self, index: Tensor) -> Features:
        """Some of the samples."""
        return Features(
            self.image[index],
            tuple(level[index] for level in self.windows),
            self.patches[index],
            self.patch_labels[index],
            tuple(level[index] for level in self.window_labels),
            self.group[index],
            self.abnormal[index],
            self.rendered[index],
            self.kinds[index],
        )


def sampled_windows(grid: Grid, scale: int, stride: int) -> Tensor:
    """Positions, in the product's list of windows, of those that are learnt from."""
    rows, cols = grid.rows - scale + 1, grid.cols - scale + 1
    return torch.arange(rows * cols).view(rows, cols)[::stride, ::stride].flatten()


def sampled_backbone(stride: int) -> type[Backbone]:
    """A backbone that passes on every `stride`-th window only; the pass itself stays the product's."""

    class SampledBackbone(Backbone):
        def _window_positions(self, grid: Grid, scale: int) -> Tensor:
            return super()._window_positions(grid, scale)[sampled_windows(grid, scale, stride)]

    return SampledBackbone


def extract(
    model: Path, found: list[Source], cache: Path, threads: int, stride: int = WINDOW_STRIDE
) -> list[dict[str, Tensor]]:
    """Features of all sources, chunk by chunk; what the cache has already is not computed again.

    Args:
        model: a directory in the embedded model's form whose projection is the identity.
        found: what to read, in order.
        cache: folder for the chunks.
        threads: for torch.
        stride: between windows, in patches.
    """
    settings = ModelSettings(
        threads=threads, patch_level=False, keep_aspect=False, device="cpu", precision="fp32"
    )
    backbone = sampled_backbone(stride).load_directory(model, settings)
    chunks = [found[start : start + _IMAGES_AT_ONCE] for start in range(0, len(found), _IMAGES_AT_ONCE)]
    paths = [_computed(backbone, chunk, cache, stride) for chunk in track(chunks, "image tower")]
    return [safetensors.torch.load_file(path) for path in paths]


def joined(parts: list[dict[str, Tensor]]) -> Features:
    """Chunks put together; where one has fewer windows, the rest are of unknown label."""
    whole = {name: torch.cat(_padded([part[name] for part in parts], name)) for name in parts[0]}
    scales = sorted(name for name in whole if name.startswith("windows."))
    labels = sorted(name for name in whole if name.startswith("window_labels."))
    return Features(
        image=whole["image"],
        windows=tuple(whole[name] for name in scales),
        patches=whole["patches"],
        patch_labels=whole["patch_labels"],
        window_labels=tuple(whole[name] for name in labels),
        group=whole["group"],
        abnormal=whole["abnormal"],
        rendered=whole["rendered"],
        kinds=whole["kinds"],
    )


def _padded(tensors: list[Tensor], name: str) -> list[Tensor]:
    if not name.startswith(("windows.", "window_labels.")):
        return tensors
    most = max(tensor.shape[1] for tensor in tensors)
    filling = _UNKNOWN if name.startswith("window_labels.") else 0.0
    return [
        torch.cat(
            [tensor, tensor.new_full((len(tensor), most - tensor.shape[1], *tensor.shape[2:]), filling)], 1
        )
        for tensor in tensors
    ]


def _computed(backbone: Backbone, chunk: list[Source], cache: Path, stride: int) -> Path:
    described = json.dumps([f"{backbone.weights_hash}-{stride}", [str(source) for source in chunk]])
    path = cache / f"{content_hash(described.encode())}.safetensors"
    if not path.exists():
        samples = [read(source) for source in chunk]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        safetensors.torch.save_file(_encoded(backbone, samples, stride), temporary)
        temporary.replace(path)
    return path


def _encoded(backbone: Backbone, samples: list[Sample], stride: int) -> dict[str, Tensor]:
    [(_, features)] = backbone.encode([sample.image for sample in samples])
    patch_labels = torch.stack([_patch_labels(sample, backbone.grid) for sample in samples])
    tensors = {
        "image": features.image.half(),
        "patches": features.patches.half(),
        "patch_labels": patch_labels,
        "group": torch.tensor([sample.group for sample in samples]),
        "abnormal": torch.tensor([sample.abnormal for sample in samples]),
        "rendered": torch.tensor([sample.rendered for sample in samples]),
        "kinds": torch.tensor([[kind in sample.kinds for kind in KINDS] for sample in samples]),
    }
    for scale, windows in zip(backbone.scales, features.windows, strict=True):
        tensors[f"windows.{scale}"] = windows.half()
        tensors[f"window_labels.{scale}"] = _window_labels(patch_labels, backbone.grid, scale, stride)
    return tensors


def _patch_labels(sample: Sample, grid: Grid) -> Tensor:
    """(P,) defective fraction of each patch's area."""
    if sample.mask is None:
        return torch.full((grid.patches,), _UNKNOWN)
    fractions = cv2.resize(
        sample.mask.astype(np.float32), (grid.cols, grid.rows), interpolation=cv2.INTER_AREA
    )
    return torch.from_numpy(fractions).flatten()


def _window_labels(patch_labels: Tensor, grid: Grid, scale: int, stride: int) -> Tensor:
    """(n, N) defective fraction of each window's area; the unknown stays unknown."""
    indices = window_layout(grid, scale).indices[sampled_windows(grid, scale, stride)]
    return patch_labels[:, indices].mean(dim=2)
