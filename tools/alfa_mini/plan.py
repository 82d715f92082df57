"""The numbers of a training run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Chosen by leave-one-set-out over the nine training sets or by judgement; never by the development sets.

    Attributes:
        blocks: of the image tower, counted from 1, whose patch tokens are used.
        shrinking: regularisation of the patch projection, in multiples of the mean variance.
        sharpness: of the attention pool.
        width: of the text tower.
        layers: of the text tower.
        heads: of the text tower.
        steps: of its training.
        captions: read at each step.
        learning_rate: highest one.
        weight_decay: of AdamW.
        verdict_share: of the direction from good to defective in a caption's target.
        centre_share: of where good parts of all kinds lie.
        kind_share: of the kinds of defect that the caption names.
        class_share: of the class it names.
        seed: of every choice.
    """

    blocks: tuple[int, ...] = (9, 12)
    shrinking: float = 100.0
    sharpness: float = 20.0
    width: int = 128
    layers: int = 2
    heads: int = 4
    steps: int = 500
    captions: int = 96
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    verdict_share: float = 0.45
    centre_share: float = 0.7
    kind_share: float = 0.2
    class_share: float = 0.4
    seed: int = 0
