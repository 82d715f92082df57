"""How well scores and maps tell defective from good, in constant memory.

Use, for any method that gives a score and a map an image (ours, a peer, a baseline):

    pixels = PixelHistogram()
    for patch_map, mask in ...:               # (rows, cols) of any grid; (H, W) bool at the image's own size
        pixels.update(patch_map, Truth.of(mask))
    pixels.metrics()                          # PixelMetrics(auroc, pro, f1_max), or None without a defect
    image_metrics(abnormal, scores)           # ImageMetrics(auroc, aupr, f1_max)

`Truth.of` costs more than `update`: make it once an image where several methods are judged on it. Images
whose mask is not known are left out of `update`; good ones come with a mask that is false everywhere.

Pixels are judged at a size that no model chooses: the mask with its longest side at 256 pixels, the map
brought to it bilinearly. Maps are float16, and there are only 65,536 of those, so that counts of good and of
defective pixels per value hold everything AUROC and F1-max ask for, exactly. Counting each defective pixel
as 1 / (size of its region) instead makes the true-positive rate the mean overlap per region, which is PRO
(Bergmann et al., "Uninformed Students", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

EVALUATION_SIDE = 256
PRO_FPR_LIMIT = 0.3

_FLOAT16_VALUES = 1 << 16
_SIGN_BIT = 0x8000
# A cell of the evaluated mask is defective where half of it is.
_HALF = np.float32(0.5)


@dataclass(frozen=True, slots=True)
class ImageMetrics:
    """Over the images of one class; all in [0, 1].

    Attributes:
        auroc: chance that a defective image scores higher than a good one, ties counted half.
        aupr: average precision, defective being the positive kind.
        f1_max: best F1 over all thresholds.
    """

    auroc: float
    aupr: float
    f1_max: float


@dataclass(frozen=True, slots=True)
class PixelMetrics:
    """Over the pixels of the images whose mask is known; all in [0, 1].

    Attributes:
        auroc: chance that a defective pixel is higher than a good one, ties counted half.
        pro: area under the per-region overlap over the false-positive rate up to 0.3, divided by 0.3.
        f1_max: best F1 over all thresholds (pF1-max).
    """

    auroc: float
    pro: float
    f1_max: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A curve to draw, x rising."""

    x: Values
    y: Values

    def thinned(self, points: int) -> Curve:
        """At most so many of its points, both ends among them."""
        if len(self.x) <= points:
            return self
        # Even along the curve, not along its points: most of them may lie in one corner.
        length = np.concatenate([[0], np.cumsum(np.abs(np.diff(self.x)) + np.abs(np.diff(self.y)))])
        chosen = np.searchsorted(length, np.linspace(0, length[-1], points))
        return Curve(self.x[chosen], self.y[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """A mask at the size of evaluation.

    Attributes:
        mask: (h, w), true where defective; the longest side has 256 pixels.
        weights: (n,), for each defective pixel, row by row, 1 / (pixels of its region); regions touch at
            edges or corners.
    """

    mask: Mask
    weights: Values

    @classmethod
    def of(cls, mask: Mask) -> Truth:
        """From a mask (H, W) at the image's own size."""
        small = _at_evaluation_size(mask)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(small.view(np.uint8), connectivity=8)
        return cls(small, 1 / stats[labels[small], cv2.CC_STAT_AREA].astype(np.float64))

    @classmethod
    def all_good(cls, height: int, width: int) -> Truth:
        """Of a good image of that size, which needs no mask."""
        return cls(np.zeros(evaluation_size(height, width), bool), np.zeros(0))

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        height, width = self.mask.shape
        return height, width


class PixelHistogram:
    """How many good and how many defective pixels have which float16 value, over any number of images."""

    def __init__(self) -> None:
        self._good = np.zeros(_FLOAT16_VALUES, np.int64)
        self._defective = np.zeros(_FLOAT16_VALUES, np.int64)
        self._overlap = np.zeros(_FLOAT16_VALUES, np.float64)

    def update(self, patch_map: Map, truth: Truth) -> None:
        """Count one image.

        Args:
            patch_map: (rows, cols) covering the whole image, higher where more abnormal.
            truth: where the image is defective.

        Raises:
            ValueError: a value of the map is not finite in float16.
        """
        keys = _ordered_keys(at_size(patch_map, truth.size))
        self._good += np.bincount(keys[~truth.mask], minlength=_FLOAT16_VALUES)
        if not truth.weights.size:
            return
        defective = keys[truth.mask]
        self._defective += np.bincount(defective, minlength=_FLOAT16_VALUES)
        self._overlap += np.bincount(defective, weights=truth.weights, minlength=_FLOAT16_VALUES)

    def metrics(self) -> PixelMetrics | None:
        """The figures so far; None where no pixel is defective, or none is good."""
        if not self._defective.any() or not self._good.any():
            return None
        truth, values, counts = self._samples(self._defective)
        pro = self.pro_curve()
        return PixelMetrics(
            auroc=float(roc_auc_score(truth, values, sample_weight=counts)),
            pro=float(auc(pro.x, pro.y) / PRO_FPR_LIMIT),
            f1_max=_f1_max(truth, values, counts),
        )

    def roc(self) -> Curve:
        """True-positive rate over false-positive rate, by pixels."""
        return _roc(*self._samples(self._defective))

    def pro_curve(self) -> Curve:
        """Mean overlap per region over the false-positive rate, up to a rate of 0.3."""
        curve = _roc(*self._samples(self._overlap))
        # The first point at or beyond the limit: where the curve rises straight up at the limit itself, its
        # later points there would lift the whole stretch that leads to it.
        end = int(np.searchsorted(curve.x, PRO_FPR_LIMIT))
        at_limit = np.interp(PRO_FPR_LIMIT, curve.x[end - 1 : end + 1], curve.y[end - 1 : end + 1])
        return Curve(np.append(curve.x[:end], PRO_FPR_LIMIT), np.append(curve.y[:end], at_limit))

    def good_quantile(self, share: float) -> float:
        """The value that this share of the good pixels do not exceed.

        Raises:
            ValueError: no good pixel was counted.
        """
        counts = np.cumsum(self._good)
        if not counts[-1]:
            raise ValueError("no good pixel was counted")
        return _value_of(int(np.searchsorted(counts, max(1, share * counts[-1]))))

    def _samples(self, positive: NDArray[np.number]) -> tuple[Mask, Values, Values]:
        """Truth, value and weight of one sample per kind and value that occurs."""
        weights = np.concatenate([self._good, positive]).astype(np.float64)
        occurring = np.flatnonzero(weights)
        truth = occurring >= _FLOAT16_VALUES
        return truth, (occurring % _FLOAT16_VALUES).astype(np.float64), weights[occurring]


def image_metrics(abnormal: Sequence[bool], scores: Sequence[float]) -> ImageMetrics:
    """Figures over images.

    Raises:
        ValueError: not both kinds of image are there, or a score is not finite.
    """
    truth, values = _both_kinds(abnormal, scores)
    return ImageMetrics(
        auroc=float(roc_auc_score(truth, values)),
        aupr=float(average_precision_score(truth, values)),
        f1_max=_f1_max(truth, values),
    )


def image_roc(abnormal: Sequence[bool], scores: Sequence[float]) -> Curve:
    """True-positive rate over false-positive rate, by images.

    Raises:
        ValueError: not both kinds of image are there, or a score is not finite.
    """
    return _roc(*_both_kinds(abnormal, scores))


def image_pr(abnormal: Sequence[bool], scores: Sequence[float]) -> Curve:
    """Precision over recall, by images.

    Raises:
        ValueError: not both kinds of image are there, or a score is not finite.
    """
    precision, recall, _ = precision_recall_curve(*_both_kinds(abnormal, scores))
    return Curve(recall[::-1], precision[::-1])


def evaluation_size(height: int, width: int) -> tuple[int, int]:
    """(h, w) with the longest side at 256 pixels and the aspect ratio kept."""
    ratio = EVALUATION_SIDE / max(height, width)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def at_size(patch_map: Map, size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear, with the centres of the patches kept in place, as `alfa.windows.to_pixels` does it."""
    height, width = size
    plane = np.ascontiguousarray(patch_map, np.float32)
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[no-any-return]


def _both_kinds(abnormal: Sequence[bool], scores: Sequence[float]) -> tuple[Mask, Values]:
    truth, values = np.asarray(abnormal, bool), np.asarray(scores, np.float64)
    # scikit-learn only warns of one kind, and returns a number that is none.
    if truth.all() or not truth.any():
        raise ValueError("images of one kind only: both good and defective are needed")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return truth, values


def _roc(truth: Mask, values: Values, weights: Values | None = None) -> Curve:
    false, true, _ = roc_curve(truth, values, sample_weight=weights, drop_intermediate=False)
    return Curve(false, true)


def _f1_max(truth: Mask, values: Values, weights: Values | None = None) -> float:
    precision, recall, _ = precision_recall_curve(truth, values, sample_weight=weights)
    both = precision + recall
    return float((2 * precision * recall / np.where(both > 0, both, 1)).max())


def _ordered_keys(plane: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Each value's place among all float16 values, in ascending order."""
    # Beyond float16's range is an error, told below; numpy's warning would be a second one.
    with np.errstate(over="ignore"):
        # Adding 0 turns -0 into 0, which is the same value under another key.
        halves = plane.astype(np.float16) + np.float16(0)
    if not np.isfinite(halves).all():
        raise ValueError("a value of the map is not finite in float16")
    bits = halves.view(np.uint16)
    return np.where(bits & _SIGN_BIT, ~bits, bits | _SIGN_BIT)


def _value_of(key: int) -> float:
    bits = key & ~_SIGN_BIT if key & _SIGN_BIT else ~key & (_FLOAT16_VALUES - 1)
    return float(np.uint16(bits).view(np.float16))


def _at_evaluation_size(mask: Mask) -> Mask:
    """A cell is defective where half of it is; a region too thin for that keeps its best cells.

    Without the second rule a scratch of two pixels in a picture of 4000 would not be a defect at all, and its
    region would be missing from PRO.
    """
    height, width = evaluation_size(*mask.shape)
    whole = np.ascontiguousarray(mask).view(np.uint8)
    if max(mask.shape) <= EVALUATION_SIDE:
        enlarged: Mask = cv2.resize(whole, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        return enlarged
    fractions: NDArray[np.float32] = cv2.resize(
        whole.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    return (fractions >= _HALF) | _cells_of_lost_regions(whole, fractions)


def _cells_of_lost_regions(whole: NDArray[np.uint8], fractions: NDArray[np.float32]) -> Mask:
    """(h, w): of each region no cell of which is half covered, the cells with half of its best fraction."""
    cells = np.zeros(fractions.shape, bool)
    count, labels = cv2.connectedComponents(whole, connectivity=8)
    rows, cols = np.nonzero(whole)
    region = labels[rows, cols]
    row = rows * fractions.shape[0] // whole.shape[0]
    col = cols * fractions.shape[1] // whole.shape[1]
    fraction = fractions[row, col]
    best = np.zeros(count, np.float32)
    np.maximum.at(best, region, fraction)
    kept = (best[region] < _HALF) & (fraction >= best[region] / 2)
    cells[row[kept], col[kept]] = True
    return cells
