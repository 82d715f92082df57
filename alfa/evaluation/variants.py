"""Ways of scoring that are compared on the same features: zero-shot, and k good images taught.

A comparison is a list of `Variant`; judging, resuming, figures and reports take any such list.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

from torch import Tensor

from alfa.backbone import Backbone
from alfa.errors import BadInput
from alfa.evaluation.datasets import Dataset
from alfa.features import ImageFeatures
from alfa.files import content_hash, file_hash
from alfa.images import RgbImage
from alfa.inspector import score
from alfa.memory import MemoryBank
from alfa.recipe import Recipe, method_hash
from alfa.settings import ModelSettings
from alfa.teaching import DEFAULT_CAP

# Reads images batch by batch; the text says what for, for the progress bar.
Read = Callable[[list[Path], str], Iterable[tuple[Sequence[Path], Sequence[RgbImage]]]]


class ScoresLike(Protocol):
    """What a variant gives of B images; `alfa.inspector.Scores` is one."""

    @property
    def image(self) -> Tensor:
        """(B,), the score of each image."""

    @property
    def s_global(self) -> Tensor:
        """(B,), S_G."""

    @property
    def s_local_max(self) -> Tensor:
        """(B,), max S_L."""

    @property
    def patch_map(self) -> Tensor:
        """(B, P) on the features' grid."""


@dataclass(frozen=True, slots=True, eq=False)
class UndividedScores:
    """Scores of B images by a method that is not made of two halves as ours is (Eq. 12).

    Attributes:
        image: (B,), the greater the more anomalous.
        patch_map: (B, P), the same per patch, row by row.
    """

    image: Tensor
    patch_map: Tensor

    @property
    def s_global(self) -> Tensor:
        """(B,), the whole score."""
        return self.image

    @property
    def s_local_max(self) -> Tensor:
        """(B,), the greatest of the map."""
        return self.patch_map.amax(dim=1)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of scoring.

    Attributes:
        name: distinct within a class.
        score: features of B images to scores; pure.
        identity: hash of everything the scores depend on beside the image; results of another identity are
            never mixed with these.
        row: the line of the report; variants of the same row are repeats with other seeds.
    """

    name: str
    score: Callable[[ImageFeatures], ScoresLike]
    identity: str
    row: str


def recipe_variant(
    name: str, recipe: Recipe, settings: ModelSettings, backbone: Backbone, row: str | None = None
) -> Variant:
    """The method with this recipe (prompts, and bank where it has one) and these settings."""
    return Variant(
        name=name,
        score=lambda features: score(features, recipe, settings),
        identity=_identity(recipe, settings, backbone, recipe.bank_hash),
        row=row or name,
    )


def row_of(shots: int) -> str:
    """The report's name of k taught images."""
    return f"{shots}-shot" if shots else "zero-shot"


class ShotBanks:
    """Memory banks of the first k images of one permutation a seed: nested, each image encoded once.

    Attributes:
        pairs: (k, seed) of every bank.
    """

    def __init__(self, backbone: Backbone, dataset: Dataset, shots: Sequence[int], seeds: int) -> None:
        """Choose the images; nothing is read yet.

        Args:
            backbone: encodes them.
            dataset: teaches from its `train`.
            shots: values of k; 0 needs no bank.
            seeds: how many permutations, of seeds 0, 1, ...

        Raises:
            BadInput: there are fewer images than the largest k.
        """
        most = max(shots, default=0)
        require_shots(dataset, most)
        self._backbone = backbone
        self._orders = {seed: _permutation(dataset.train, seed)[:most] for seed in range(seeds)}
        self._banks: dict[tuple[int, int], MemoryBank] = {}
        self._name = dataset.name
        self.pairs = tuple((k, seed) for k in sorted(set(shots)) if k for seed in range(seeds))

    def taught(self, shots: int, seed: int) -> tuple[Path, ...]:
        """The images of one bank."""
        return self._orders[seed][:shots]

    def identity(self, shots: int, seed: int) -> str:
        """Hash of the images of one bank, known before they are encoded."""
        return content_hash("".join(_hash_of(path) for path in self.taught(shots, seed)).encode())

    def teach(self, read: Read) -> None:
        """Encode all the images and make the banks; a second call does nothing."""
        if self._banks or not self.pairs:
            return
        features = self._encode(read)
        for shots, seed in self.pairs:
            taught = self.taught(shots, seed)
            bank = MemoryBank.build(
                [features[path] for path in taught],
                self._backbone,
                [_hash_of(path) for path in taught],
                DEFAULT_CAP,
            )
            self._banks[shots, seed] = bank.to(self._backbone.device)

    def bank(self, shots: int, seed: int) -> MemoryBank:
        """One bank, once taught."""
        return self._banks[shots, seed]

    def variants(
        self, recipe: Recipe, settings: ModelSettings, prefix: str = "", row_prefix: str | None = None
    ) -> list[Variant]:
        """One variant a bank, repeats of the same k in one row.

        Args:
            recipe: prompts; a bank it has is replaced.
            settings: the method's numbers.
            prefix: before `k-shot seed s` in the names.
            row_prefix: before `k-shot` in the rows; the same where it is not given.
        """
        rows = prefix if row_prefix is None else row_prefix
        return [
            Variant(
                name=f"{prefix}{row_of(shots)} seed {seed}",
                score=self._scoring(recipe, settings, shots, seed),
                identity=_identity(recipe, settings, self._backbone, self.identity(shots, seed)),
                row=f"{rows}{row_of(shots)}",
            )
            for shots, seed in self.pairs
        ]

    def _scoring(
        self, recipe: Recipe, settings: ModelSettings, shots: int, seed: int
    ) -> Callable[[ImageFeatures], ScoresLike]:
        # The bank is looked up when it is used: a variant is named long before its bank is taught.
        return lambda features: score(features, replace(recipe, bank=self.bank(shots, seed)), settings)

    def _encode(self, read: Read) -> dict[Path, ImageFeatures]:
        paths = sorted({path for order in self._orders.values() for path in order})
        features: dict[Path, ImageFeatures] = {}
        for batch, pictures in read(paths, f"teaching {self._name}"):
            for positions, encoded in self._backbone.encode(pictures):
                features.update(
                    (batch[position], encoded.select([row])) for row, position in enumerate(positions)
                )
        return features


def shot_variants(
    recipe: Recipe, settings: ModelSettings, backbone: Backbone, banks: ShotBanks, shots: Sequence[int]
) -> list[Variant]:
    """Zero-shot where 0 is among the shots, then every bank."""
    zero = [recipe_variant(row_of(0), recipe, settings, backbone)] if 0 in shots else []
    return [*zero, *banks.variants(recipe, settings)]


def require_shots(dataset: Dataset, most: int) -> None:
    """Refuse more shots than there are images to teach from.

    Raises:
        BadInput: there are fewer.
    """
    if most > len(dataset.train):
        advice = f"{dataset.name} has {len(dataset.train)} images to teach from; ask for fewer"
        raise BadInput("--shots", "", most, advice)


def _permutation(paths: Sequence[Path], seed: int) -> tuple[Path, ...]:
    order = list(paths)
    random.Random(seed).shuffle(order)  # noqa: S311 - reproducible choice, not a secret
    return tuple(order)


def _identity(recipe: Recipe, settings: ModelSettings, backbone: Backbone, taught: str) -> str:
    described = {
        "weights": recipe.binding.weights_hash,
        "prompts": recipe.prompts_hash,
        "method": method_hash(backbone, settings),
        "taught": taught,
        "code": _code_hash(),
    }
    return content_hash(json.dumps(described, sort_keys=True).encode())


@cache
def _code_hash() -> str:
    """Of the method's own modules: results of another release must not be gone on with."""
    return file_hash(*sorted(Path(__file__).resolve().parents[1].glob("*.py")))


@cache
def _hash_of(path: Path) -> str:
    return file_hash(path)
