"""The few-shot memory bank (Sec. 4.3, 5.5): features of good parts, and distances to them."""

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
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from torch.nn import functional

from alfa.backbone import ImageFeatures
from alfa.errors import BadInput
from alfa.files import content_hash, write_atomic
from alfa.windows import Grid, harmonic_aggregate, window_layout

SCHEMA_VERSION = 1
PATCH_LEVEL = "patch"
# 16 images of 16x16 patches fit whole; beyond, time and memory stay where they are.
DEFAULT_CAP = 4096

# Bounds the similarity matrix held at once to 64 MB, whatever the batch and the bank.
_SIMILARITIES_AT_ONCE = 1 << 24
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
    def scales(self) -> tuple[int, ...]:
        """The window scales."""


class BankInfo(BaseModel):
    """Where a bank's rows come from; stored as the file's metadata."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_id: str
    weights_hash: str
    preprocess_hash: str
    rows: int
    cols: int
    scales: tuple[int, ...]
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
        info: model, grid, scales, preprocessing, source images.
        levels: level name (`window-2`, `window-3`, `patch`) -> (M, dim) float16 unit rows.
        content_hash: over the rows and the info without its date; travels in every verdict.
    """

    info: BankInfo
    levels: dict[str, Tensor]
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
    ) -> MemoryBank:
        """Make a bank from the features of good images.

        Args:
            features: batches of features, at least one image.
            source: the backbone they come from.
            sources: content hash of each image.
            cap: most rows a level keeps; beyond it a greedy coreset is chosen.
            seed: of the coreset's random projection.

        Raises:
            BadInput: there is no image, or the cap is not positive.
        """
        if not sum(batch.image.shape[0] for batch in features):
            raise BadInput("bank", "images", 0, "a memory bank needs at least one good image")
        if cap < 1:
            raise BadInput("bank", "cap", cap, "keep at least one row a level")
        info = BankInfo(
            model_id=source.model_id,
            weights_hash=source.weights_hash,
            preprocess_hash=source.preprocess_hash,
            rows=source.grid.rows,
            cols=source.grid.cols,
            scales=source.scales,
            sources=tuple(sources),
            cap=cap,
            created=datetime.now(UTC).replace(microsecond=0),
        )
        batches = [_level_features(batch, source.scales) for batch in features]
        levels = {
            level: greedy_coreset(
                torch.cat([batch[level].flatten(0, 1) for batch in batches]), cap, seed
            ).half()
            for level in batches[0]
        }
        return cls(info, levels, _hash(info, levels))

    @property
    def images(self) -> int:
        """How many good images were taught."""
        return len(self.info.sources)

    def to(self, device: torch.device) -> MemoryBank:
        """The same bank with its rows on `device`."""
        return replace(self, levels={level: rows.to(device) for level, rows in self.levels.items()})

    def distances(self, features: ImageFeatures) -> Tensor:
        """The distance map of Sec. 5.5: mean over levels of (1 - cos to the nearest row) / 2.

        Window distances are spread to patches with the same harmonic aggregation as S_L, not the arithmetic
        one: a good patch beside a defect shares windows with it, and the harmonic mean follows the covering
        window that does not hold the defect, so that the map stays sharp.

        Args:
            features: a batch of B images of the same backbone.

        Returns:
            (B, P) float32, in [0, 1].
        """
        maps = []
        for level, queries in _level_features(features, self.info.scales).items():
            nearest = nearest_distance(queries, self._unit_rows[level])
            if level != PATCH_LEVEL:
                layout = window_layout(features.grid, _scale_of(level), queries.device)
                nearest = harmonic_aggregate(nearest, layout)
            maps.append(nearest)
        return torch.stack(maps).mean(dim=0)

    def require_match(self, source: FeatureSource, where: str | Path) -> None:
        """Refuse a bank of another model, grid, preprocessing or set of scales.

        Raises:
            BadInput: naming the first field that differs.
        """
        theirs = (source.grid.rows, source.grid.cols)
        pairs = {
            "model_id": (self.info.model_id, source.model_id),
            "weights_hash": (self.info.weights_hash, source.weights_hash),
            "grid": ((self.info.rows, self.info.cols), theirs),
            "scales": (self.info.scales, tuple(source.scales)),
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
        tensors = {level: rows.cpu().contiguous() for level, rows in self.levels.items()}
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
        if set(levels) != _level_names(info.scales) or any(len(rows) == 0 for rows in levels.values()):
            raise BadInput(
                path, "levels", sorted(levels), "the bank is empty or lacks a level; teach it again"
            )
        if _hash(info, levels) != metadata.get("content_hash"):
            raise BadInput(path, "content_hash", metadata.get("content_hash"), "rows changed; teach it again")
        return cls(info, levels, metadata["content_hash"])


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


def _level_features(features: ImageFeatures, scales: Sequence[int]) -> dict[str, Tensor]:
    """Level name -> (B, N, dim) of that level."""
    levels = {_level_name(scale): windows for scale, windows in zip(scales, features.windows, strict=True)}
    return {**levels, PATCH_LEVEL: features.patches}


def _level_names(scales: Sequence[int]) -> set[str]:
    return {PATCH_LEVEL, *(_level_name(scale) for scale in scales)}


def _level_name(scale: int) -> str:
    return f"window-{scale}"


def _scale_of(level: str) -> int:
    return int(level.removeprefix("window-"))


def _hash(info: BankInfo, levels: dict[str, Tensor]) -> str:
    parts = [info.model_dump_json(exclude={"created"}).encode()]
    for level, rows in sorted(levels.items()):
        # The lengths keep two different banks from giving the same bytes.
        parts.append(level.encode() + struct.pack("<2q", *rows.shape))
        parts.append(rows.cpu().contiguous().numpy().tobytes())
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
