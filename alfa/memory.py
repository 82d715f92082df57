"""The few-shot memory bank (Sec. 4.3, 5.5): features of good parts, and distances to them.

The paper keeps window embeddings; here the bank keeps patch tokens of a middle block, a later one and the
last, which find defects better and place them much better (docs/few-shot.md has the figures).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor
from torch.nn import functional

from alfa.distances import joined, level_name, level_tokens, nearest_distance
from alfa.errors import BadInput
from alfa.features import ImageFeatures
from alfa.files import content_hash, write_atomic
from alfa.foreground import Foreground
from alfa.teaching import DEFAULT_CAP, Taught, Teaching
from alfa.windows import Grid

SCHEMA_VERSION = 2


class FeatureSource(Protocol):
    """What names the model that features come from: a backbone."""

    @property
    def model_id(self) -> str:
        """Name and weights' name."""

    @property
    def weights_hash(self) -> str:
        """Hash of the weights."""

    @property
    def preprocess_hash(self) -> str:
        """Hash of the preprocessing."""

    @property
    def grid(self) -> Grid:
        """The patch grid."""

    @property
    def patch_blocks(self) -> tuple[int, ...]:
        """The blocks whose patch tokens it gives, the last block last."""


class BankInfo(BaseModel):
    """Where a bank's rows come from; stored as the file's metadata.

    `turns` is in how many orientations each part was taught; `typical` the mean distance between patches of
    one good part and the other good parts, the unit of the bank's distances.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_id: str
    weights_hash: str
    preprocess_hash: str
    rows: int
    cols: int
    blocks: tuple[int, ...] = Field(min_length=1)
    turns: int = Field(ge=1)
    typical: float = Field(gt=0, allow_inf_nan=False)
    sources: tuple[str, ...]
    cap: int
    created: datetime

    @property
    def grid(self) -> Grid:
        """The patch grid of the model."""
        return Grid(self.rows, self.cols)


@dataclass(frozen=True, slots=True, eq=False)
class MemoryBank:
    """Rows of good parts per level, and what they were made from.

    Attributes:
        info: model, grid, blocks, preprocessing, source images.
        levels: level name (`block-6`, `block-9`, `block-12`) -> (M, c) float16 unit rows.
        foreground: where the part is in an image, or None where it fills the image or cannot be told.
        content_hash: over the rows and the info without its date; travels in every verdict.
    """

    info: BankInfo
    levels: dict[str, Tensor]
    foreground: Foreground | None
    content_hash: str
    _unit_rows: dict[str, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # float16 rounds a row's length; once here, not at every image, it is made 1 again.
        unit_rows = {level: functional.normalize(rows.float(), dim=1) for level, rows in self.levels.items()}
        object.__setattr__(self, "_unit_rows", unit_rows)

    @classmethod
    def build(
        cls,
        features: Sequence[ImageFeatures],
        source: FeatureSource,
        sources: Sequence[str],
        cap: int = DEFAULT_CAP,
        seed: int = 0,
        turned: Sequence[ImageFeatures] = (),
        turns: int = 1,
    ) -> MemoryBank:
        """Make a bank from the features of good images that are all at hand.

        Args:
            features: batches of features, at least one image.
            source: the backbone they come from.
            sources: content hash of each image.
            cap: most rows a level keeps; beyond it a greedy coreset is chosen.
            seed: of the coreset's random projection.
            turned: features of the same images in other orientations.
            turns: how many orientations of each image there are, the upright one counted.

        Raises:
            BadInput: there is no image, or the cap is not positive.
        """
        images = sum(len(batch.image) for batch in features)
        teaching = Teaching(source.patch_blocks, source.grid, images, cap, seed)
        for batch in features:
            teaching.add(batch)
        for batch in turned:
            teaching.add_turned(batch)
        return cls.of(teaching.outcome(), source, sources, cap, turns)

    @classmethod
    def of(
        cls,
        taught: Taught,
        source: FeatureSource,
        sources: Sequence[str],
        cap: int = DEFAULT_CAP,
        turns: int = 1,
    ) -> MemoryBank:
        """The bank of what was taught.

        Args:
            taught: the outcome of a `Teaching`.
            source: the backbone whose features were taught.
            sources: content hash of each image.
            cap: most rows a level keeps.
            turns: how many orientations of each image were taught, the upright one counted.
        """
        info = BankInfo(
            model_id=source.model_id,
            weights_hash=source.weights_hash,
            preprocess_hash=source.preprocess_hash,
            rows=source.grid.rows,
            cols=source.grid.cols,
            blocks=tuple(source.patch_blocks),
            turns=turns,
            typical=taught.typical,
            sources=tuple(sources),
            cap=cap,
            created=datetime.now(UTC).replace(microsecond=0),
        )
        content_hash = _hash(info, taught.levels, taught.foreground)
        return cls(info, taught.levels, taught.foreground, content_hash)

    @property
    def images(self) -> int:
        """How many good images were taught."""
        return len(self.info.sources)

    def to(self, device: torch.device) -> MemoryBank:
        """The same bank with its rows on `device`."""
        levels = {level: rows.to(device) for level, rows in self.levels.items()}
        foreground = None if self.foreground is None else self.foreground.to(device)
        return replace(self, levels=levels, foreground=foreground)

    def distances(self, features: ImageFeatures, foreground: bool = True) -> Tensor:
        """How far each patch is from those of good parts; 1 is what good parts are from each other.

        A level's distance is (1 - cos to the nearest row) / 2, as in Sec. 5.5. Levels are joined by a
        weighted geometric mean, which no level rules because its distances happen to be the larger ones.

        Args:
            features: a batch of B images of the same backbone.
            foreground: whether background is at distance 0, where the bank knows what is background.

        Returns:
            (B, P) float32, not negative.
        """
        tokens = level_tokens(features, self.info.blocks)
        distances = joined([nearest_distance(tokens[level], self._unit_rows[level]) for level in tokens])
        distances = distances / self.info.typical
        if foreground and self.foreground is not None:
            return distances * self.foreground.mask(features.patches, features.grid)
        return distances

    def require_match(self, source: FeatureSource, where: str | Path) -> None:
        """Refuse a bank of another model, grid, preprocessing or set of blocks.

        Raises:
            BadInput: naming the first field that differs.
        """
        theirs = (source.grid.rows, source.grid.cols)
        pairs = {
            "model_id": (self.info.model_id, source.model_id),
            "weights_hash": (self.info.weights_hash, source.weights_hash),
            "grid": ((self.info.rows, self.info.cols), theirs),
            "blocks": (self.info.blocks, tuple(source.patch_blocks)),
            "preprocess_hash": (self.info.preprocess_hash, source.preprocess_hash),
        }
        for name, (taught, running) in pairs.items():
            if taught != running:
                advice = f"the bank does not fit the model, which has {running!r}; teach it again"
                raise BadInput(where, name, taught, advice)

    def save(self, path: Path) -> None:
        """Write the bank as safetensors, atomically."""
        metadata = {
            "schema_version": str(SCHEMA_VERSION),
            "bank": self.info.model_dump_json(),
            "content_hash": self.content_hash,
        }
        tensors = {name: rows.cpu().contiguous() for name, rows in _tensors(self.levels, self.foreground)}
        write_atomic(path, safetensors.torch.save(tensors, metadata))

    @classmethod
    def load(cls, path: Path) -> MemoryBank:
        """Read a bank and check that it is whole.

        Raises:
            BadInput: missing, not a bank, of another version, cut short or changed since it was written.
        """
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                levels = {level: file.get_tensor(level) for level in file.keys()}  # noqa: SIM118 - not a dict
        except FileNotFoundError as error:
            raise BadInput(path, "", None, "no such memory bank; teach one with alfa-bank teach") from error
        except (OSError, safetensors.SafetensorError) as error:
            raise BadInput(
                path, "", None, f"is not a readable memory bank ({error}); teach it again"
            ) from error
        info = _read_info(path, metadata)
        foreground = Foreground.take(levels)
        if set(levels) != _level_names(info.blocks) or any(len(rows) == 0 for rows in levels.values()):
            raise BadInput(
                path, "levels", sorted(levels), "the bank is empty or lacks a level; teach it again"
            )
        if _hash(info, levels, foreground) != metadata.get("content_hash"):
            raise BadInput(path, "content_hash", metadata.get("content_hash"), "rows changed; teach it again")
        return cls(info, levels, foreground, metadata["content_hash"])


def _level_names(blocks: Sequence[int]) -> set[str]:
    return {level_name(block) for block in blocks}


def _tensors(levels: dict[str, Tensor], foreground: Foreground | None) -> list[tuple[str, Tensor]]:
    """What a bank's file holds, by name."""
    return sorted((levels | ({} if foreground is None else foreground.tensors())).items())


def _hash(info: BankInfo, levels: dict[str, Tensor], foreground: Foreground | None) -> str:
    parts = [info.model_dump_json(exclude={"created"}).encode()]
    for name, tensor in _tensors(levels, foreground):
        # The shapes keep two different banks from giving the same bytes.
        parts.append(name.encode() + struct.pack(f"<{tensor.dim()}q", *tensor.shape))
        parts.append(tensor.cpu().contiguous().numpy().tobytes())
    return content_hash(b"".join(parts))


def _read_info(path: Path, metadata: dict[str, str]) -> BankInfo:
    if "bank" not in metadata:
        raise BadInput(
            path, "", None, "is a safetensors file but no memory bank; teach one with alfa-bank teach"
        )
    version = metadata.get("schema_version")
    if version != str(SCHEMA_VERSION):
        advice = f"this version reads schema {SCHEMA_VERSION}; teach the bank again"
        raise BadInput(path, "schema_version", version, advice)
    try:
        return BankInfo.model_validate_json(metadata["bank"])
    except ValidationError as error:
        raise BadInput(path, "bank", None, "its description is damaged; teach it again") from error
