"""WinCLIP's compositional prompt ensemble: every state in every template (its Sec. 4.1 and appendix)."""

from __future__ import annotations

from itertools import product

NORMAL_STATES = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
ABNORMAL_STATES = ("damaged {}", "{} with flaw", "{} with defect", "{} with damage")
_FRAMES = (
    "a cropped photo of {} {{}}.",
    "a close-up photo of {} {{}}.",
    "a bright photo of {} {{}}.",
    "a dark photo of {} {{}}.",
    "a jpeg corrupted photo of {} {{}}.",
    "a blurry photo of {} {{}}.",
    "a photo of {} {{}}.",
    "a photo of {} small {{}}.",
    "a photo of {} large {{}}.",
    "a photo of {} {{}} for visual inspection.",
    "a photo of {} {{}} for anomaly detection.",
)
# Eleven frames, each with both articles: 22 templates, 22 x 7 = 154 normal prompts (the paper's 154).
TEMPLATES = tuple(frame.format(article) for frame, article in product(_FRAMES, ("a", "the")))


def compositional_prompts(class_name: str) -> tuple[list[str], list[str]]:
    """The 154 normal and 88 abnormal prompts of a class.

    As in WinCLIP, the article "a" is not adapted to what follows it.
    """
    return _composed(NORMAL_STATES, class_name), _composed(ABNORMAL_STATES, class_name)


def _composed(states: tuple[str, ...], class_name: str) -> list[str]:
    return [template.format(state.format(class_name)) for state, template in product(states, TEMPLATES)]
