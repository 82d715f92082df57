"""The image side of the comparison: features of each image, computed once and kept in a folder.

Windows cost a second an image; text costs nothing. So the folder holds what hangs on the image tower alone,
and a retrained text side is compared again within minutes. Patch tokens meet the text through a projection
that belongs to the text side: it is applied on reading.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
from rich.progress import track
from torch import Tensor

from alfa.backbone import Backbone, ImageFeatures, ValueVectors
from alfa.evaluation.datasets import Dataset, LabelledImage
from alfa.files import content_hash, file_hash, write_atomic
from alfa.images import read_image
from alfa.pretrained import IMAGE_TOWER_FILE
from alfa.windows import Grid


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
        """The folder in `root` for this image tower, preprocessing and scales.

        Args:
            backbone: loaded with an aligner that needs value vectors.
            model: directory of the model.
            root: of all caches.
        """
        depends = {
            "image_tower": file_hash(model / IMAGE_TOWER_FILE),
            "preprocess": backbone.preprocess_hash,
            "scales": backbone.scales,
        }
        return cls(backbone, root / content_hash(json.dumps(depends, sort_keys=True).encode()))

    def fill(self, images: Sequence[LabelledImage], doing: str) -> None:
        """Compute what is not there yet."""
        missing = [image for image in images if not self._path(image).exists()]
        for image in track(missing, doing, disable=not missing):
            [(_, features)] = self.backbone.encode([read_image(image.path)])
            write_atomic(self._path(image), safetensors.torch.save(_to_tensors(features)))

    def read(self, image: LabelledImage, text_side: Backbone) -> ImageFeatures:
        """Features of one image, a batch of one, with the patch tokens in that text side's joint space."""
        features = _from_tensors(safetensors.torch.load_file(self._path(image)))
        return replace(features, patch_joint=text_side.joint_patches(features.patches))

    def _path(self, image: LabelledImage) -> Path:
        return self.directory / f"{file_hash(image.path)}.safetensors"


def _to_tensors(features: ImageFeatures) -> dict[str, Tensor]:
    assert features.values is not None
    tensors = {"image": features.image, "patches": features.patches, "tokens": features.values.tokens}
    for level, windows in enumerate(features.windows):
        tensors[f"windows.{level}"] = windows
        tensors[f"values.{level}"] = features.values.windows[level]
        tensors[f"agreement.{level}"] = features.values.agreement[level]
    shape = features.image.new_zeros(features.grid.rows, features.grid.cols)
    return {name: tensor.half().contiguous() for name, tensor in (tensors | {"grid": shape}).items()}


def _from_tensors(tensors: dict[str, Tensor]) -> ImageFeatures:
    wide = {name: tensor.float() for name, tensor in tensors.items()}
    levels = range(sum(name.startswith("windows.") for name in wide))
    return ImageFeatures(
        grid=Grid(*wide["grid"].shape),
        image=wide["image"],
        windows=tuple(wide[f"windows.{level}"] for level in levels),
        patches=wide["patches"],
        patch_joint=None,
        values=ValueVectors(
            tokens=wide["tokens"],
            windows=tuple(wide[f"values.{level}"] for level in levels),
            agreement=tuple(wide[f"agreement.{level}"] for level in levels),
        ),
    )
