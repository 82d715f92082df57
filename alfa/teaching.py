"""What a memory bank keeps of good parts, taken in batch by batch; memory does not grow with their number.

Up to the rows held (80 images of 16x16 patches) the outcome is that of all parts looked at together. Beyond,
the rows are a coreset of coresets, what is typical is measured to that coreset instead of to every row, and
the foreground is fitted to parts spread over all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alfa.coreset import RowStream, greedy_coreset
from alfa.distances import joined, level_tokens, nearest_distance
from alfa.errors import BadInput
from alfa.features import ImageFeatures
from alfa.foreground import Foreground, fit_foreground
from alfa.windows import Grid

# 16 images of 16x16 patches fit whole; beyond, time and memory stay where they are.
DEFAULT_CAP = 4096
# Beside a coreset: four caps of new rows make a selection cost a quarter more than one over all rows would;
# at 384 dimensions they are 31 MB a level.
_ROWS_HELD = 4 * DEFAULT_CAP
# The same image taught twice is no reason to call every other part a thousand times as far.
_SMALLEST_TYPICAL = 1e-3
# So many of the taught parts, spread over all, say what is typical.
_PARTS_LEFT_OUT = 16
# So many, spread over all, show where the background is.
_PARTS_FOR_FOREGROUND = 64


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What was learnt from good parts.

    Attributes:
        levels: level name -> (M, c) float16 rows.
        typical: mean distance between patches of one good part and the other good parts.
        foreground: where the part is in an image, or None where it fills the image or cannot be told.
    """

    levels: dict[str, Tensor]
    typical: float
    foreground: Foreground | None


class Teaching:
    """Takes in the features of good parts, upright and turned, and says what to keep of them."""

    def __init__(
        self, blocks: Sequence[int], grid: Grid, images: int, cap: int = DEFAULT_CAP, seed: int = 0
    ) -> None:
        """Nothing taken in yet.

        Args:
            blocks: the tower's blocks whose patch tokens are kept, the last block last.
            grid: of an image of the model's own shape.
            images: how many upright images will come.
            cap: most rows a level keeps.
            seed: of the coreset's random projection.

        Raises:
            BadInput: there is no image, or the cap is not positive.
        """
        if images < 1:
            raise BadInput("bank", "images", images, "a memory bank needs at least one good image")
        if cap < 1:
            raise BadInput("bank", "cap", cap, "keep at least one row a level")
        self._blocks = tuple(blocks)
        self._grid = grid
        self._images = images
        self._cap = cap
        self._seed = seed
        self._taken = 0
        self._upright: defaultdict[str, RowStream] = defaultdict(self._stream)
        self._turned: defaultdict[str, RowStream] = defaultdict(self._stream)
        self._left_out: defaultdict[str, PartsKept] = defaultdict(PartsKept)
        self._shown = PartsKept()

    def add(self, features: ImageFeatures) -> None:
        """Take in a batch of upright images."""
        numbers = range(self._taken, self._taken + len(features.image))
        self._taken += len(features.image)
        self._add_rows(self._upright, features, torch.tensor(numbers))
        for level, tokens in level_tokens(features, self._blocks).items():
            for place in self._spread(numbers, _PARTS_LEFT_OUT):
                self._left_out[level].add(numbers[place], tokens[place], features.grid)
        for place in self._spread(numbers, _PARTS_FOR_FOREGROUND):
            self._shown.add(numbers[place], features.patches[place], features.grid)

    def add_turned(self, features: ImageFeatures) -> None:
        """Take in a batch of images in another orientation; they do not say what is typical."""
        self._add_rows(self._turned, features, torch.full((len(features.image),), -1))

    def outcome(self) -> Taught:
        """What to keep of all that was taken in."""
        if self._taken != self._images:
            raise ValueError(f"{self._images} upright images were announced, {self._taken} came")
        upright = {level: stream.rows() for level, stream in self._upright.items()}
        turned = {level: stream.rows()[0] for level, stream in self._turned.items()}
        levels = {
            level: greedy_coreset(
                torch.cat([rows, turned.get(level, rows[:0])]), self._cap, self._seed
            ).half()
            for level, (rows, _) in upright.items()
        }
        return Taught(
            levels=levels,
            typical=max(_SMALLEST_TYPICAL, self._typical(upright)),
            foreground=fit_foreground(self._shown.tokens(), self._shown.grids, self._grid),
        )

    def _stream(self) -> RowStream:
        return RowStream(self._cap, _ROWS_HELD + self._cap, self._seed)

    def _spread(self, numbers: range, most: int) -> list[int]:
        """Places in a batch of at most `most` images spread over all."""
        step = -(-self._images // most)
        return [place for place, number in enumerate(numbers) if number % step == 0]

    def _add_rows(self, streams: dict[str, RowStream], features: ImageFeatures, numbers: Tensor) -> None:
        for level, tokens in level_tokens(features, self._blocks).items():
            owners = numbers.to(tokens.device).repeat_interleave(tokens.shape[1])
            streams[level].add(tokens.flatten(0, 1), owners)

    def _typical(self, upright: dict[str, tuple[Tensor, Tensor]]) -> float:
        """Mean distance of a part's patches to the other good parts, of one part to the rest of itself."""
        numbers = next(iter(self._left_out.values())).numbers
        kept = {level: parts.tokens() for level, parts in self._left_out.items()}
        one_by_one = [dict(zip(kept, part, strict=True)) for part in zip(*kept.values(), strict=True)]
        left_out = [
            _distances_to_others(part, number, upright)
            for number, part in zip(numbers, one_by_one, strict=True)
            if _others_are_kept(number, upright)
        ]
        if not left_out:
            # A single part, or a cap so small that one part has all its rows.
            return float(_distances_within(one_by_one[0], self._shown.grids[0]).mean())
        return float(torch.cat(left_out).mean())


class PartsKept:
    """Tokens of single parts, side by side in one block.

    Each in a tensor of its own, between batches that come and go, they would leave the heap full of holes
    that the next batch does not fit into.

    Attributes:
        numbers: of the parts.
        grids: of each.
    """

    def __init__(self) -> None:
        """None yet."""
        self.numbers: list[int] = []
        self.grids: list[Grid] = []
        self._block = torch.empty(0, 0)
        self._used = 0

    def add(self, number: int, tokens: Tensor, grid: Grid) -> None:
        """Keep a copy of (P, c) tokens."""
        end = self._used + len(tokens)
        if end > len(self._block):
            grown = tokens.new_empty(max(end, 2 * len(self._block)), tokens.shape[1])
            if self._used:
                grown[: self._used] = self._block[: self._used]
            self._block = grown
        self._block[self._used : end] = tokens
        self._used = end
        self.numbers.append(number)
        self.grids.append(grid)

    def tokens(self) -> list[Tensor]:
        """Of each part, (1, P, c)."""
        sizes = [grid.patches for grid in self.grids]
        return [part[None] for part in torch.split(self._block[: self._used], sizes)]


def _others_are_kept(number: int, upright: dict[str, tuple[Tensor, Tensor]]) -> bool:
    return all(bool((owners != number).any()) for _, owners in upright.values())


def _distances_to_others(
    part: dict[str, Tensor], number: int, upright: dict[str, tuple[Tensor, Tensor]]
) -> Tensor:
    """(P,) of one part, from the rows of all the others."""
    levels = [
        nearest_distance(tokens, rows[owners != number])
        for tokens, (rows, owners) in ((tokens, upright[level]) for level, tokens in part.items())
    ]
    return joined(levels)[0]


def _distances_within(part: dict[str, Tensor], grid: Grid) -> Tensor:
    """(P,) to the nearest patch of the same part that is no neighbour; all that one part can tell."""
    places = torch.cartesian_prod(torch.arange(grid.rows), torch.arange(grid.cols))
    near = (places[:, None] - places).abs().amax(dim=2) <= 1
    levels = []
    for (tokens,) in part.values():
        cosines = (tokens @ tokens.T).masked_fill(near.to(tokens.device), -1.0)
        levels.append(((1 - cosines.amax(dim=1)) / 2).clamp(0, 1))
    return joined(levels)
