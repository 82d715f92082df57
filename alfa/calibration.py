"""The threshold from good parts: split-conformal, for a stated rate of false rejects.

Of n good scores the ceil((n + 1)(1 - alpha))-th smallest is the threshold; a further good part, exchangeable
with these, lies above it with probability at most alpha. No assumption on the scores' distribution is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alfa.errors import BadInput
from alfa.files import content_hash, write_atomic
from alfa.tables import first_problem

SCHEMA_VERSION = 1

# (n + 1)(1 - alpha) is a whole number for the alphas people choose; its float may lie a hair above.
_ROUNDING = 1e-9
# Good scores that are all the same give no scale; this one keeps what is shown finite.
_SMALLEST_SPAN = 1e-6
# Scores move with the size of the images that the model's input is made from; less than this does not show.
_SIDE_TOLERANCE = 0.1


class Judged(Protocol):
    """What calibration reads of one inspected good image."""

    @property
    def score(self) -> float:
        """The image score S."""

    @property
    def anomaly_map(self) -> NDArray[np.float16]:
        """(h, w)."""

    @property
    def finite(self) -> bool:
        """Whether score and map are finite."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a threshold depends on: under another model, prompts, bank or method it means nothing.

    Attributes:
        weights_hash: of the model's weights.
        prompts_hash: of the prompt set.
        bank_hash: of the memory bank; empty without one.
        method_hash: of the method's settings and the preprocessing.
    """

    weights_hash: str
    prompts_hash: str
    bank_hash: str
    method_hash: str


class Calibration(BaseModel):
    """Thresholds of the image score and of the map, with what they were made from."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: int = SCHEMA_VERSION
    n: int = Field(ge=1, description="good images")
    alpha: float = Field(gt=0, lt=1, description="false-reject rate held")
    score_median: float
    score_threshold: float
    map_median: float
    map_threshold: float
    weights_hash: str
    prompts_hash: str
    bank_hash: str
    method_hash: str
    image_side: int = Field(0, ge=0, description="longer side in pixels of the largest image; 0: unknown")

    @model_validator(mode="after")
    def _thresholds_are_above_medians(self) -> Calibration:
        if self.score_threshold < self.score_median or self.map_threshold < self.map_median:
            raise ValueError("a threshold lies below its median")
        return self

    @property
    def content_hash(self) -> str:
        """Names this calibration in every verdict; what its images were like changes no verdict."""
        content = self.model_dump(exclude={"image_side"})
        return content_hash(json.dumps(content, sort_keys=True).encode())

    @property
    def binding(self) -> Binding:
        """What the thresholds hold for."""
        return Binding(self.weights_hash, self.prompts_hash, self.bank_hash, self.method_hash)

    def normalised(self, score: float) -> float:
        """The score on the fixed scale: 0 = good median, 1 = threshold."""
        return (score - self.score_median) / scale_span(self.score_median, self.score_threshold)

    def is_for_side(self, side: int) -> bool:
        """Whether images of this longer side in pixels are about as large as those it was made from.

        True where that is not known: files of earlier releases do not say.
        """
        return not self.image_side or abs(side - self.image_side) <= _SIDE_TOLERANCE * self.image_side

    def require_match(self, binding: Binding, where: str | Path) -> None:
        """Refuse thresholds made under another model, prompt set, bank or method.

        Raises:
            BadInput: naming the first field that differs.
        """
        for field in Binding.__slots__:
            made, running = getattr(self.binding, field), getattr(binding, field)
            if made != running:
                advice = f"was made for another setup, now it is {running!r}; run alfa-calibrate again"
                if field == "bank_hash" and not running:
                    advice = (
                        "was made with a memory bank, none is given; name it, or run alfa-calibrate again"
                    )
                raise BadInput(where, field, made, advice)

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_atomic(path, (self.model_dump_json(indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a calibration file.

        Raises:
            BadInput: missing, not JSON, of another version, or with a wrong or missing value.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInput(path, "", None, "no such file; make it with alfa-calibrate") from error
        except OSError as error:
            raise BadInput(path, "", None, f"cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise BadInput(path, "", None, f"is not JSON ({error}); run alfa-calibrate again") from error
        _require_version(path, content)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise first_problem(path, error) from error


def calibrate(
    inspections: Sequence[Judged], alpha: float, binding: Binding, image_side: int = 0
) -> Calibration:
    """Thresholds from good images that the bank was not taught from.

    The map's threshold comes from each image's largest map value, so that a region shows up on a good part
    at most as often as the part is rejected.

    Args:
        inspections: of n good images.
        alpha: rate of false rejects to hold, in (0, 1).
        binding: what the images were inspected with.
        image_side: longer side in pixels of the largest of them; 0 where it is not known.

    Raises:
        BadInput: alpha is out of range, n is too small for it, or an image had no finite score.
    """
    rank = conformal_rank(len(inspections), alpha)
    _require_finite(inspections)
    scores = np.array([inspection.score for inspection in inspections])
    maps = [inspection.anomaly_map.astype(np.float32) for inspection in inspections]
    return Calibration(
        n=len(inspections),
        alpha=alpha,
        score_median=float(np.median(scores)),
        score_threshold=float(np.sort(scores)[rank - 1]),
        map_median=float(np.median(np.concatenate([each.ravel() for each in maps]))),
        map_threshold=float(np.sort([each.max() for each in maps])[rank - 1]),
        weights_hash=binding.weights_hash,
        prompts_hash=binding.prompts_hash,
        bank_hash=binding.bank_hash,
        method_hash=binding.method_hash,
        image_side=image_side,
    )


def scale_span(median: float, threshold: float) -> float:
    """Length of the fixed scale on which scores and maps are shown: 0 = good median, 1 = threshold."""
    return max(threshold - median, _SMALLEST_SPAN)


def conformal_rank(n: int, alpha: float) -> int:
    """ceil((n + 1)(1 - alpha)): which of the n sorted scores is the threshold, counted from 1.

    Raises:
        BadInput: alpha is out of range, or n scores cannot hold so small an alpha.
    """
    if not 0 < alpha < 1:
        raise BadInput("calibration", "alpha", alpha, "give a rate between 0 and 1, such as 0.05")
    if n < 1:
        raise BadInput("calibration", "images", n, "at least one good image is needed")
    rank = math.ceil((n + 1) * (1 - alpha) - _ROUNDING)
    if rank > n:
        needed = math.ceil(1 / alpha - _ROUNDING) - 1
        advice = (
            f"{n} good images support a false-reject rate of {1 / (n + 1):.4f} at best; "
            f"give {needed} images or a larger alpha"
        )
        raise BadInput("calibration", "alpha", alpha, advice)
    return max(rank, 1)


def _require_finite(inspections: Sequence[Judged]) -> None:
    broken = [index for index, inspection in enumerate(inspections) if not inspection.finite]
    if broken:
        raise BadInput("calibration", f"images[{broken[0]}]", None, "has no finite score; check the model")


def _require_version(path: Path, content: object) -> None:
    if not isinstance(content, dict):
        raise BadInput(path, "", None, "is not a calibration; make it with alfa-calibrate")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        advice = f"this version reads schema {SCHEMA_VERSION}; run alfa-calibrate again"
        raise BadInput(path, "schema_version", version, advice)
