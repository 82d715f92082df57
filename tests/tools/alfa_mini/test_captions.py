"""The caption grammar: held-out words stay held out, and sides do not share sentences."""

from __future__ import annotations

import random

from tools.alfa_mini import captions


def _many(caption: captions.Caption, count: int = 3000) -> set[str]:
    rng = random.Random(0)
    return {caption(rng, captions.random_noun(rng)) for _ in range(count)}


def test_the_sides_share_no_sentence() -> None:
    """A sentence on both sides would teach nothing."""
    assert not _many(captions.normal_caption) & _many(captions.abnormal_caption)


def test_no_gap_of_a_pattern_stays_open() -> None:
    """Every placeholder is filled."""
    sentences = _many(captions.normal_caption) | _many(captions.abnormal_caption)
    assert not [sentence for sentence in sentences if "{" in sentence]


def test_held_out_words_are_in_no_caption() -> None:
    """What checks the text tower must be new to it."""
    normal, abnormal = captions.held_out_captions("part")
    phrases = [
        sentence.split("part ", 1)[1].removeprefix("one notices ") for sentence in (*normal, *abnormal)
    ]
    seen = "\n".join(_many(captions.normal_caption) | _many(captions.abnormal_caption))
    assert len(phrases) > 20
    assert not [phrase for phrase in phrases if phrase in seen]


def test_a_defect_caption_names_its_kind() -> None:
    """Words of that kind only."""
    rng = random.Random(1)
    for _ in range(200):
        caption = captions.defect_caption(rng, "part", ("hole",))
        assert any(words in caption for words in captions.DEFECTS["hole"])
