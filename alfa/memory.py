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

from alfa.backbone import ImageFeatures
from alfa.errors import BadInput
from alfa.files import content_hash, write_atomic
from alfa.foreground import Foreground, fit_foreground
from alfa.windows import Grid

SCHEMA_VERSION = 2
# 16 images of 16x16 patches fit whole; beyond, time and memory stay where they are.
DEFAULT_CAP = 4096

# Bounds the similarity matrix held at once to 64 MB, whatever the batch and the bank.
_SIMILARITIES_AT_ONCE = 1 << 24
# A logarithm needs a floor; this one is far below what good parts differ by, float16 rounding is about 1e-7.
_SMALLEST_DISTANCE = 1e-5
# The same image taught twice is no reason to call every other part a thousand times as far.
_SMALLEST_TYPICAL = 1e-3
# Beside each middle block, which places defects better; the last one still knows textures better.
_WEIGHT_OF_LAST_BLOCK = 0.5
# So many of the taught parts, spread over all, say what is typical.
_PARTS_LEFT_OUT = 16
# Greedy selection compares all rows once per row chosen; distances survive a random projection this wide.
_CORESET_DIMENSIONS = 64


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
        """Make a bank from the features of good images.

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
        if not sum(batch.image.shape[0] for batch in features):
            raise BadInput("bank", "images", 0, "a memory bank needs at least one good image")
        if cap < 1:
            raise BadInput("bank", "cap", cap, "keep at least one row a level")
        blocks = tuple(source.patch_blocks)
        upright = [_level_tokens(batch, blocks) for batch in features]
        every = [*upright, *(_level_tokens(batch, blocks) for batch in turned)]
        info = BankInfo(
            model_id=source.model_id,
            weights_hash=source.weights_hash,
            preprocess_hash=source.preprocess_hash,
            rows=source.grid.rows,
            cols=source.grid.cols,
            blocks=blocks,
            turns=turns,
            typical=_typical_distance(upright, [batch.grid for batch in features]),
            sources=tuple(sources),
            cap=cap,
            created=datetime.now(UTC).replace(microsecond=0),
        )
        levels = {
            level: greedy_coreset(
                torch.cat([batch[level].flatten(0, 1) for batch in every]), cap, seed
            ).half()
            for level in upright[0]
        }
        foreground = fit_foreground(
            [batch.patches for batch in features], [batch.grid for batch in features], source.grid
        )
        return cls(info, levels, foreground, _hash(info, levels, foreground))

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
        tokens = _level_tokens(features, self.info.blocks)
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


def nearest_distance(queries: Tensor, rows: Tensor) -> Tensor:
    """(1 - cos) / 2 to the nearest row, by matrix products over chunks of the rows.

    Args:
        queries: (B, N, dim), unit.
        rows: (M, dim), unit, M >= 1.

    Returns:
        (B, N) float32, in [0, 1].
    """
    flat = queries.flatten(0, 1).float()
    best = torch.full((flat.shape[0],), -1.0, device=flat.device)
    for chunk in torch.split(rows, max(1, _SIMILARITIES_AT_ONCE // len(flat))):
        torch.maximum(best, (flat @ chunk.float().T).amax(dim=1), out=best)
    return ((1 - best) / 2).clamp(0, 1).view(queries.shape[:2])


def joined(levels: Sequence[Tensor] | Tensor) -> Tensor:
    """Weighted geometric mean of the levels' distances.

    Args:
        levels: distances after each block, the last block last, of any one shape.
    """
    weights = [1.0] * (len(levels) - 1) + [_WEIGHT_OF_LAST_BLOCK]
    logs = [
        weight * distances.clamp_min(_SMALLEST_DISTANCE).log()
        for weight, distances in zip(weights, levels, strict=True)
    ]
    return (torch.stack(logs).sum(dim=0) / sum(weights)).exp()


def greedy_coreset(rows: Tensor, cap: int, seed: int = 0) -> Tensor:
    """At most `cap` of the rows, so chosen that every row left out is near a kept one (k-centre, greedy).

    The first is the row nearest the mean, then always the one furthest from all chosen so far. Sequential
    by nature; it runs when a bank is taught, never when a part is judged.

    Args:
        rows: (M, dim).
        cap: most rows to keep.
        seed: of the random projection in which distances are compared.
    """
    if len(rows) <= cap:
        return rows
    points = _projected(rows.float(), seed)
    chosen = torch.empty(cap, dtype=torch.int64)
    chosen[0] = (points - points.mean(dim=0)).square().sum(dim=1).argmin()
    distance = (points - points[chosen[0]]).square().sum(dim=1)
    for step in range(1, cap):
        chosen[step] = distance.argmax()
        torch.minimum(distance, (points - points[chosen[step]]).square().sum(dim=1), out=distance)
    return rows[chosen.to(rows.device)]


def _projected(rows: Tensor, seed: int) -> Tensor:
    dimensions = rows.shape[1]
    if dimensions <= _CORESET_DIMENSIONS:
        return rows
    generator = torch.Generator().manual_seed(seed)
    projection = torch.randn(dimensions, _CORESET_DIMENSIONS, generator=generator)
    return torch.mm(rows, (projection / _CORESET_DIMENSIONS**0.5).to(rows.device))


def _typical_distance(batches: Sequence[dict[str, Tensor]], grids: Sequence[Grid]) -> float:
    """Mean distance of the patches of a good part to the other good parts, of one part to the rest of itself.

    Args:
        batches: level name -> (B_i, P_i, c), unit.
        grids: of each batch.
    """
    parts = [
        {level: tokens[index] for level, tokens in batch.items()}
        for batch in batches
        for index in range(len(next(iter(batch.values()))))
    ]
    if len(parts) == 1:
        return max(_SMALLEST_TYPICAL, float(_distances_within(parts[0], grids[0]).mean()))
    step = -(-len(parts) // _PARTS_LEFT_OUT)
    left_out = [_distances_to_others(parts, index) for index in range(0, len(parts), step)]
    return max(_SMALLEST_TYPICAL, float(torch.cat(left_out).mean()))


def _distances_to_others(parts: Sequence[dict[str, Tensor]], index: int) -> Tensor:
    """(P,) of one part, from a bank of all the others."""
    others = [*parts[:index], *parts[index + 1 :]]
    levels = [
        nearest_distance(tokens[None], torch.cat([other[level] for other in others]))
        for level, tokens in parts[index].items()
    ]
    return joined(levels)[0]


def _distances_within(part: dict[str, Tensor], grid: Grid) -> Tensor:
    """(P,) to the nearest patch of the same part that is no neighbour; all that one part can tell."""
    places = torch.cartesian_prod(torch.arange(grid.rows), torch.arange(grid.cols))
    near = (places[:, None] - places).abs().amax(dim=2) <= 1
    levels = []
    for tokens in part.values():
        cosines = (tokens @ tokens.T).masked_fill(near.to(tokens.device), -1.0)
        levels.append(((1 - cosines.amax(dim=1)) / 2).clamp(0, 1))
    return joined(levels)


def _level_tokens(features: ImageFeatures, blocks: Sequence[int]) -> dict[str, Tensor]:
    """Level name -> (B, P, c) of that block."""
    tokens = (*features.middle, features.patches)
    return {_level_name(block): level for block, level in zip(blocks, tokens, strict=True)}


def _level_names(blocks: Sequence[int]) -> set[str]:
    return {_level_name(block) for block in blocks}


def _level_name(block: int) -> str:
    return f"block-{block}"


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
