"""`python -m tools.compare_banks`: which levels a memory bank should have, on sets with known answers.

The figures of docs/few-shot.md. Only the bank is judged, without any text. Images are encoded once; the
distances of every patch to every good image are computed once as well, and a bank of k parts is the smallest
of k of them. The good images that were not taught are the good ones that are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track
from torch import Tensor

from alfa.backbone import Backbone
from alfa.cli.entry import run
from alfa.distances import joined
from alfa.evaluation.datasets import GOOD, Dataset, LabelledImage, find_datasets, spread_over_kinds
from alfa.evaluation.metrics import PixelHistogram, Truth, image_metrics
from alfa.features import ImageFeatures
from alfa.foreground import Foreground, fit_foreground
from alfa.images import read_image
from alfa.settings import ModelSettings

app = typer.Typer(add_completion=False)

# Distances after each block to one: (levels, P) -> (P,).
Join = Callable[[Tensor], Tensor]
_TOP_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to make a map and a score of distances.

    Attributes:
        name: as the table has it.
        join: distances after each of the tower's patch blocks, (levels, P) -> (P,).
        masked: whether background is at distance 0.
        share: of the patches, the highest of which are averaged; 0 takes the highest one.
    """

    name: str
    join: Join
    masked: bool = False
    share: float = 0.0


VARIANTS = (
    Variant("last block", lambda levels: levels[-1]),
    Variant("first middle block", lambda levels: levels[0]),
    Variant("second middle block", lambda levels: levels[-2]),
    Variant("both middle blocks, mean", lambda levels: levels[:-1].mean(dim=0)),
    Variant("all, mean", lambda levels: levels.mean(dim=0)),
    Variant("all, geometric mean", lambda levels: levels.clamp_min(1e-5).log().mean(dim=0).exp()),
    Variant("all, last counts half", joined),
    Variant("the same, foreground (default)", joined, masked=True),
    Variant("the same, foreground, top 1 %", joined, masked=True, share=_TOP_SHARE),
)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One image of a set.

    Attributes:
        image: what is known of it.
        features: of the image alone.
        distances: (levels, good images, P), to each good image of the set.
        truth: its mask, or None where not known.
    """

    image: LabelledImage
    features: ImageFeatures
    distances: Tensor
    truth: Truth | None


@app.command()
def compare(
    data: Annotated[Path, typer.Option("--data", help="Folder of sets.")],
    images: Annotated[int, typer.Option("--images", min=4, help="Most images a set.")] = 120,
    shots: Annotated[list[int], typer.Option("--shots", min=1, help="Taught parts; several times.")] = [1, 4],  # noqa: B006 - typer's form
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of the taught parts.")] = 5,
    threads: Annotated[int, typer.Option("--threads", min=0, help="For torch; 0: its own choice.")] = 0,
) -> None:
    """Print image AUROC of each set, their mean, and pixel AUROC and PRO where masks are known."""
    settings = ModelSettings(device="cpu", precision="fp32", threads=threads)
    backbone = Backbone.load(settings)
    figures: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    names = []
    for dataset in find_datasets(data):
        judged = judge(dataset, backbone, images)
        names.append(dataset.name)
        for variant in VARIANTS:
            for k in shots:
                drawn = [measure(judged, variant, backbone, k, seed) for seed in range(seeds)]
                figures.setdefault((variant.name, k), []).append(_mean(drawn))
    print("| variant | k |", " | ".join(names), "| mean | pixel | PRO |")
    print("|---|---|" + "---|" * (len(names) + 3))
    for (name, k), rows in figures.items():
        numbers = [row[0] for row in rows] + list(_mean(rows))
        print(f"| {name} | {k} | " + " | ".join(f"{100 * number:.1f}" for number in numbers) + " |")


@torch.inference_mode()
def judge(dataset: Dataset, backbone: Backbone, limit: int) -> list[Judged]:
    """Encode the images of a set and compare each with all good ones."""
    taught = [LabelledImage(path, GOOD, None) for path in dataset.train]
    chosen = spread_over_kinds([*dataset.test, *taught], limit)
    encoded = [
        backbone.encode([read_image(each.path)])[0][1] for each in track(chosen, f"{dataset.name}: images")
    ]
    good = [features for each, features in zip(chosen, encoded, strict=True) if not each.abnormal]
    rows = [
        torch.cat([tokens_of(features)[level] for features in good])
        for level in range(len(tokens_of(good[0])))
    ]
    counts = [features.grid.patches for features in good]
    return [
        Judged(each, features, _to_each(tokens_of(features), rows, counts), _truth(each))
        for each, features in zip(track(chosen, f"{dataset.name}: distances"), encoded, strict=True)
    ]


def tokens_of(features: ImageFeatures) -> list[Tensor]:
    """(P, c) after each patch block, of a batch of one."""
    return [level[0] for level in (*features.middle, features.patches)]


def _to_each(tokens: Sequence[Tensor], rows: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """(levels, good images, P)."""
    levels = []
    for own, theirs in zip(tokens, rows, strict=True):
        nearest = [part.amax(dim=1) for part in torch.split(own @ theirs.T, list(counts), dim=1)]
        levels.append((1 - torch.stack(nearest)) / 2)
    return torch.stack(levels).clamp(0, 1)


def _truth(image: LabelledImage) -> Truth | None:
    mask = image.read_mask() if image.mask_known else None
    return None if mask is None else Truth.of(mask)


def measure(
    judged: Sequence[Judged], variant: Variant, backbone: Backbone, k: int, seed: int
) -> tuple[float, float, float]:
    """Image AUROC, pixel AUROC and PRO after k taught parts; the last two are NaN without masks."""
    good = [position for position, each in enumerate(judged) if not each.image.abnormal]
    chosen = np.random.default_rng(seed).permutation(len(good))[:k].tolist()
    taught = {good[index] for index in chosen}
    foreground = _foreground([judged[each].features for each in sorted(taught)], backbone)
    pixels = PixelHistogram()
    scores, abnormal = [], []
    for position, each in enumerate(judged):
        if position in taught:
            continue
        patch_map = variant.join(each.distances[:, chosen].amin(dim=1))
        if variant.masked and foreground is not None:
            patch_map = patch_map * foreground.mask(each.features.patches, each.features.grid)[0]
        highest = max(1, round(variant.share * len(patch_map)))
        scores.append(float(patch_map.topk(highest).values.mean()))
        abnormal.append(each.image.abnormal)
        if each.truth is not None:
            grid = each.features.grid
            pixels.update(patch_map.view(grid.rows, grid.cols).numpy(), each.truth)
    found = (
        pixels.metrics() if any(each.truth is not None and each.image.abnormal for each in judged) else None
    )
    places = (np.nan, np.nan) if found is None else (found.auroc, found.pro)
    return image_metrics(abnormal, scores).auroc, *places


def _foreground(taught: Sequence[ImageFeatures], backbone: Backbone) -> Foreground | None:
    return fit_foreground([each.patches for each in taught], [each.grid for each in taught], backbone.grid)


def _mean(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Over the rows that have a figure."""
    columns = ([value for value in column if not np.isnan(value)] for column in zip(*rows, strict=True))
    image, pixel, pro = (float(np.mean(column)) if column else float("nan") for column in columns)
    return image, pixel, pro


if __name__ == "__main__":
    run(app)
