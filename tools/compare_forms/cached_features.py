"""The image side of the comparison: features of each image, computed once and kept in a folder.

Windows cost a second an image; text costs nothing. So the folder holds what images become in the joint space,
and a text tower that was trained again on the same projections is compared again within minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from rich.progress import track
from torch import Tensor

from alfa.backbone import Backbone
from alfa.evaluation.datasets import Dataset, LabelledImage
from alfa.features import ImageFeatures, ValueVectors
from alfa.files import content_hash, file_hash, write_atomic
from alfa.images import read_image
from alfa.model_directory import IMAGE_TOWER_FILE, TEXT_TOWER_FILE
from alfa.windows import Grid, WindowLayout


def spread(images: Sequence[LabelledImage], count: int) -> list[LabelledImage]:
    """At most `count`, evenly over the list, the same ones every time."""
    if len(images) <= count:
        return list(images)
    return [images[index * len(images) // count] for index in range(count)]


def chosen(dataset: Dataset, count: int) -> list[LabelledImage]:
    """At most `count` good and `count` defective images of a set.

    Nothing is taught, so good images of the training folder may be judged where the test folder has few.
    """
    good = [image for image in dataset.test if not image.abnormal]
    if len(good) < count:
        good += spread([LabelledImage(path, "good", None) for path in dataset.train], count - len(good))
    defective = [image for image in dataset.test if image.abnormal]
    return spread(good, count) + spread(defective, count)


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Features by image content, under a name for everything else they depend on."""

    backbone: Backbone
    directory: Path

    @classmethod
    def of(cls, backbone: Backbone, model: Path, root: Path) -> FeatureCache:
        """The folder in `root` for this image side, preprocessing and scales.

        Args:
            backbone: loaded from `model`.
            model: directory of the model.
            root: of all caches.
        """
        depends = {
            "image_tower": file_hash(model / IMAGE_TOWER_FILE),
            "projections": _projections_hash(model / TEXT_TOWER_FILE),
            "preprocess": backbone.preprocess_hash,
            "scales": backbone.scales,
            "values": backbone.settings.needs_values,
        }
        return cls(backbone, root / content_hash(json.dumps(depends, sort_keys=True).encode()))

    def fill(self, images: Sequence[LabelledImage], doing: str) -> None:
        """Compute what is not there yet."""
        missing = [image for image in images if not self._path(image).exists()]
        for image in track(missing, doing, disable=not missing):
            [(_, features)] = self.backbone.encode([read_image(image.path)])
            write_atomic(self._path(image), safetensors.torch.save(_to_tensors(features)))

    def read(self, image: LabelledImage) -> ImageFeatures:
        """Features of one image, a batch of one."""
        return _from_tensors(safetensors.torch.load_file(self._path(image)), self.backbone.layouts)

    def _path(self, image: LabelledImage) -> Path:
        return self.directory / f"{file_hash(image.path)}.safetensors"


def _projections_hash(text_tower: Path) -> str:
    """Of what brings the image tower's tokens into the joint space; it lies beside the text tower."""
    tensors = safetensors.torch.load_file(text_tower)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith("text.")}
    own.pop("logit_scale", None)
    return content_hash(safetensors.torch.save(dict(sorted(own.items()))))


def _to_tensors(features: ImageFeatures) -> dict[str, Tensor]:
    tensors = {"image": features.image, "patches": features.patches}
    if features.patch_joint is not None:
        tensors["patch_joint"] = features.patch_joint
    tensors |= {f"windows.{level}": windows for level, windows in enumerate(features.windows)}
    if features.values is not None:
        tensors["tokens"] = features.values.tokens
        tensors |= {f"values.{level}": values for level, values in enumerate(features.values.windows)}
        tensors |= {f"agreement.{level}": each for level, each in enumerate(features.values.agreement)}
    tensors["grid"] = features.image.new_zeros(features.grid.rows, features.grid.cols)
    return {name: tensor.half().contiguous() for name, tensor in tensors.items()}


def _from_tensors(
    tensors: dict[str, Tensor], layouts: Callable[[Grid], tuple[WindowLayout, ...]]
) -> ImageFeatures:
    wide = {name: tensor.float() for name, tensor in tensors.items()}
    values = None
    if "tokens" in wide:
        values = ValueVectors(wide["tokens"], _levels(wide, "values"), _levels(wide, "agreement"))
    grid = Grid(*wide["grid"].shape)
    return ImageFeatures(
        grid=grid,
        image=wide["image"],
        windows=_levels(wide, "windows"),
        patches=wide["patches"],
        patch_joint=wide.get("patch_joint"),
        values=values,
        layouts=layouts(grid),
    )


def _levels(tensors: dict[str, Tensor], name: str) -> tuple[Tensor, ...]:
    return tuple(tensors[key] for key in sorted(tensors) if key.startswith(f"{name}."))
