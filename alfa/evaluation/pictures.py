"""Pictures of an evaluation: curves of a class, and image, map and mask of single cases side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from alfa.errors import Fault
from alfa.evaluation.datasets import LabelledImage
from alfa.evaluation.metrics import PRO_FPR_LIMIT, Curve, Truth, evaluation_size
from alfa.evaluation.protocol import Curves
from alfa.images import RgbImage, read_image
from alfa.overlay import overlay

_GAP = 6
_MASK_COLOUR = (255, 0, 0)
_UNKNOWN_GREY = 200
_JPEG_QUALITY = 85
_FIGURE_INCHES = (12.0, 3.2)


def curves_png(curves: Mapping[str, Curves]) -> bytes:
    """ROC and precision-recall by images, ROC and PRO by pixels; one line a row of the report."""
    figure = Figure(figsize=_FIGURE_INCHES, layout="constrained")
    axes = figure.subplots(1, 4)
    for name, each in curves.items():
        for axis, curve in zip(axes, (each.roc, each.pr, each.pixel_roc, each.pro), strict=True):
            _draw(axis, curve, name)
    _label(axes[0], "ROC, images", "false-positive rate", "true-positive rate")
    _label(axes[1], "precision-recall, images", "recall", "precision")
    _label(axes[2], "ROC, pixels", "false-positive rate", "true-positive rate")
    _label(axes[3], "PRO, pixels", "false-positive rate", "overlap per region", PRO_FPR_LIMIT)
    axes[0].legend(fontsize="small", loc="lower right")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=90)
    return content.getvalue()


def case_jpeg(image: LabelledImage, patch_map: NDArray[np.float16], map_scale: tuple[float, float]) -> bytes:
    """Image, its map over it, and its mask, side by side.

    Args:
        image: a test image.
        patch_map: (rows, cols).
        map_scale: what is shown as 0 and as 1, the same for all cases of a class.

    Raises:
        BadInput: the image or its mask cannot be read.
        Fault: the picture cannot be encoded.
    """
    picture = _small(read_image(image.path))
    gap = np.full((picture.shape[0], _GAP, 3), 255, np.uint8)
    panels = [picture, gap, overlay(picture, patch_map, None, map_scale), gap, _mask_panel(image, picture)]
    done, encoded = cv2.imencode(
        ".jpg",
        cv2.cvtColor(np.concatenate(panels, axis=1), cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
    )
    if not done:
        raise Fault("not_encoded", str(image.path))
    return encoded.tobytes()


def _draw(axis: Axes, curve: Curve | None, name: str) -> None:
    if curve is not None:
        axis.plot(curve.x, curve.y, label=name, linewidth=1.2)


def _label(axis: Axes, title: str, x: str, y: str, x_end: float = 1.0) -> None:
    axis.set(title=title, xlabel=x, ylabel=y, xlim=(0, x_end), ylim=(0, 1.02))
    axis.grid(alpha=0.3)


def _small(picture: RgbImage) -> RgbImage:
    height, width = evaluation_size(*picture.shape[:2])
    shrinking = height < picture.shape[0]
    return cv2.resize(  # type: ignore[no-any-return]
        picture, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    )


def _mask_panel(image: LabelledImage, picture: RgbImage) -> RgbImage:
    """The outline of the defect as it is evaluated; an even grey where it is not known."""
    if not image.mask_known:
        return np.full_like(picture, _UNKNOWN_GREY)
    panel = picture.copy()
    mask = image.read_mask() if image.abnormal else None
    if mask is not None:
        evaluated = Truth.of(mask).mask.view(np.uint8)
        height, width = panel.shape[:2]
        fitted = cv2.resize(evaluated, (width, height), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(fitted, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(panel, outlines, -1, _MASK_COLOUR, 1)
    return panel
