"""The contenders as variants of the evaluation: each at every number of shots and choice of images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import alfa
from alfa.backbone import Backbone
from alfa.evaluation.datasets import Dataset
from alfa.evaluation.variants import Read, ShotBanks, Variant, row_of
from alfa.files import content_hash, file_hash
from alfa.recipe import Recipe, method_hash
from alfa.settings import ModelSettings
from benchmarks.quality.contenders import Contender, Method, TaughtImage


def taught_images(
    dataset: Dataset, backbone: Backbone, choice: ShotBanks, read: Read
) -> dict[Path, TaughtImage]:
    """Every image that any bank of the choice holds, encoded once."""
    paths = sorted({path for shots, seed in choice.pairs for path in choice.taught(shots, seed)})
    known: dict[Path, TaughtImage] = {}
    for batch, pictures in read(paths, f"teaching {dataset.name}"):
        for positions, features in backbone.encode(pictures):
            for row, position in enumerate(positions):
                path = batch[position]
                known[path] = TaughtImage(features.select([row]), file_hash(path))
    return known


def shot_variants(
    rows: Sequence[Contender],
    shots: Sequence[int],
    choice: ShotBanks,
    known: Mapping[Path, TaughtImage],
    identity: str,
) -> list[Variant]:
    """Zero-shot first, then by number of shots; the seeds of a contender at k shots are one row.

    Args:
        rows: the contenders.
        shots: numbers of taught images; 0 for zero-shot.
        choice: which images each number and seed takes: the same as `alfa-eval` takes.
        known: those images.
        identity: hash of what all of them depend on, from `common_identity`.
    """
    return [*_untaught(rows, shots, identity), *_taught(rows, choice, known, identity)]


def common_identity(backbone: Backbone, recipe: Recipe, settings: ModelSettings) -> str:
    """Hash of everything that all variants' scores depend on beside their images."""
    described = {
        "weights": backbone.weights_hash,
        "prompts": recipe.prompts_hash,
        "method": method_hash(backbone, settings),
        "code": _code_hash(),
    }
    return content_hash(json.dumps(described, sort_keys=True).encode())


def _untaught(rows: Sequence[Contender], shots: Sequence[int], identity: str) -> Iterator[Variant]:
    name = row_of(0)
    for row in rows:
        if 0 in shots and row.untaught is not None:
            yield _variant(f"{row.name}, {name}", row.untaught, identity, f"{row.name}, {name}")


def _taught(
    rows: Sequence[Contender], choice: ShotBanks, known: Mapping[Path, TaughtImage], identity: str
) -> Iterator[Variant]:
    for shots, seed in choice.pairs:
        images = [known[path] for path in choice.taught(shots, seed)]
        taught_identity = content_hash((identity + choice.identity(shots, seed)).encode())
        for row in rows:
            name = f"{row.name}, {row_of(shots)}"
            yield _variant(f"{name} seed {seed}", row.teach(images, seed), taught_identity, name)


def _variant(name: str, method: Method, identity: str, row: str) -> Variant:
    # The name says how the numbers are made: two contenders may share everything else.
    return Variant(name, method, content_hash((name + identity).encode()), row)


@cache
def _code_hash() -> str:
    """Of the method and the benchmarks: results of another release must not be gone on with."""
    method = Path(alfa.__file__).parent.glob("*.py")
    return file_hash(*sorted(method), *sorted(Path(__file__).parent.rglob("*.py")))
