"""Run-time prompt adaptation: Eq. 2-4 by hand, and what holds for all inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from alfa.adaptation import TextEmbeddings, adapt, contextual_scores


def _unit(*shape: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def _text(normal: int, abnormal: int, dim: int, seed: int) -> TextEmbeddings:
    rows = _unit(normal + abnormal, dim, seed=seed)
    return TextEmbeddings(rows[:normal], rows[normal:], rows[:0])


def _row(*values: float) -> Tensor:
    return torch.tensor([values])


def _at(*angles: float) -> Tensor:
    """Unit vectors in the plane with these cosines to (1, 0)."""
    return torch.tensor([[cosine, math.sqrt(1 - cosine * cosine)] for cosine in angles])


def test_contextual_scores_by_hand() -> None:
    """d+ = {0.1, 0.3, 0.5}, d- = {0.3, 0.6}: 0.1 is 0.2 below [0.3, 0.6], 0.6 is 0.1 above [0.1, 0.5]."""
    s_normal, s_abnormal = contextual_scores(_row(0.1, 0.3, 0.5), _row(0.3, 0.6))
    torch.testing.assert_close(s_normal, _row(math.tanh(0.1), 0.0, 0.0))
    torch.testing.assert_close(s_abnormal, _row(0.0, math.tanh(0.05)))


def test_contextual_score_is_the_printed_logistic_stretched_to_zero() -> None:
    """2 / (1 + exp(-k |D+ - D-|)) - 1, with both distances written out as in Eq. 4, k = 3."""
    k, d = 3.0, 0.1
    d_plus = max(0, max(0.1 - d, d - 0.2))
    d_minus = max(0, max(0.4 - d, d - 0.7))
    expected = 2 / (1 + math.exp(-k * abs(d_plus - d_minus))) - 1
    s_normal, _ = contextual_scores(_row(0.1, 0.2), _row(0.4, 0.7), k)
    assert s_normal[0, 0].item() == pytest.approx(expected, rel=1e-6)


def test_adaptation_keeps_what_lies_outside_the_other_sides_interval() -> None:
    """Similarities (Eq. 2-3) 0.1, 0.3, 0.5 against 0.3, 0.6: one prompt stays on each side."""
    adapted = adapt(torch.tensor([[1.0, 0.0]]), TextEmbeddings(_at(0.1, 0.3, 0.5), _at(0.3, 0.6), _at()))
    assert adapted.kept_normal.tolist() == [[True, False, False]]
    assert adapted.kept_abnormal.tolist() == [[False, True]]
    torch.testing.assert_close(adapted.normal, _at(0.1))
    torch.testing.assert_close(adapted.abnormal, _at(0.6))
    assert not adapted.normal_was_empty.item()
    assert not adapted.abnormal_was_empty.item()


def test_a_side_inside_the_others_interval_keeps_all_its_prompts() -> None:
    """Normal 0.3, 0.4 lie inside [0.2, 0.6]: all stay, the text is their unit mean, and it is reported."""
    normal = _at(0.3, 0.4)
    adapted = adapt(torch.tensor([[1.0, 0.0]]), TextEmbeddings(normal, _at(0.2, 0.6), _at()))
    assert adapted.kept_normal.tolist() == [[True, True]]
    assert adapted.normal_was_empty.item()
    assert not adapted.abnormal_was_empty.item()
    torch.testing.assert_close(adapted.normal[0], functional.normalize(normal.mean(dim=0), dim=0))


def test_both_sides_empty_keep_all_their_prompts() -> None:
    """With equal intervals no prompt tells the labels apart."""
    adapted = adapt(torch.tensor([[1.0, 0.0]]), TextEmbeddings(_at(0.2, 0.6), _at(0.2, 0.5, 0.6), _at()))
    assert adapted.kept_normal.all()
    assert adapted.kept_abnormal.all()
    assert adapted.normal_was_empty.item()
    assert adapted.abnormal_was_empty.item()


def test_the_flags_are_per_image() -> None:
    """One image of a batch may empty a side while the other does not."""
    text = TextEmbeddings(_at(0.3, 0.4), _at(0.2, 0.6), _at())
    adapted = adapt(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), text)
    single = adapt(torch.tensor([[0.0, 1.0]]), text)
    assert adapted.normal_was_empty.tolist() == [True, single.normal_was_empty.item()]


_similarities = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8)


@given(_similarities, _similarities, st.floats(0.1, 50))
def test_contextual_scores_stay_in_the_unit_interval_and_are_zero_exactly_inside(
    d_normal: Sequence[float], d_abnormal: Sequence[float], k: float
) -> None:
    """S_c is in [0, 1] and positive if and only if the similarity is outside the other side's interval."""
    s_normal, _ = contextual_scores(torch.tensor([d_normal]), torch.tensor([d_abnormal]), k)
    outside = torch.tensor([[d < min(d_abnormal) or d > max(d_abnormal) for d in d_normal]])
    assert torch.all((s_normal >= 0) & (s_normal <= 1))
    # Distances below the smallest float the hyperbolic tangent can hold may vanish.
    assert torch.all((s_normal > 0) <= outside)
    clearly = torch.tensor([[d < min(d_abnormal) - 1e-6 or d > max(d_abnormal) + 1e-6 for d in d_normal]])
    assert torch.all(s_normal[clearly] > 0)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 500))
def test_the_order_of_the_prompts_does_not_matter(normal: int, abnormal: int, seed: int) -> None:
    """Permuted prompts give the same text vectors."""
    text, image = _text(normal, abnormal, 5, seed), _unit(3, 5, seed=seed + 1)
    order = torch.randperm(normal, generator=torch.Generator().manual_seed(seed))
    permuted = adapt(image, TextEmbeddings(text.normal[order], text.abnormal.flip(0), text.descriptors))
    original = adapt(image, text)
    torch.testing.assert_close(permuted.direction, original.direction, rtol=1e-4, atol=1e-5)
    assert torch.equal(permuted.kept_normal, original.kept_normal[:, order])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 500))
def test_no_side_is_ever_empty_and_texts_are_unit(normal: int, abnormal: int, batch: int, seed: int) -> None:
    """Whatever the filter does, each image keeps a prompt on each side."""
    adapted = adapt(_unit(batch, 5, seed=seed + 1), _text(normal, abnormal, 5, seed))
    assert adapted.kept_normal.any(dim=1).all()
    assert adapted.kept_abnormal.any(dim=1).all()
    for texts in (adapted.normal, adapted.abnormal):
        torch.testing.assert_close(texts.norm(dim=1), torch.ones(batch), rtol=1e-5, atol=1e-5)


@given(st.integers(2, 5), st.integers(0, 500))
def test_a_batch_equals_its_images_one_by_one(batch: int, seed: int) -> None:
    """No image's prompts depend on its neighbours."""
    text, image = _text(6, 7, 5, seed), _unit(batch, 5, seed=seed + 1)
    whole = adapt(image, text).direction
    single = torch.cat([adapt(image[index : index + 1], text).direction for index in range(batch)])
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-5)


def test_an_outlier_widens_the_papers_interval_but_not_the_robust_one() -> None:
    """Abnormal: twenty at 0.6, one at 0; normal ones at 0.3 lie inside [0, 0.6], not in [0.6, 0.6]."""
    text = TextEmbeddings(_at(0.3, 0.3), _at(*[0.6] * 20, 0.0), _at())
    image = torch.tensor([[1.0, 0.0]])
    paper = adapt(image, text, form="paper")
    robust = adapt(image, text, form="robust", quantile=0.05)
    assert paper.normal_was_empty.item()
    assert not robust.normal_was_empty.item()
    assert robust.kept_normal.all()


def test_a_prompt_deep_in_the_other_sides_interval_is_left_out_by_the_robust_form() -> None:
    """The normal outlier at 0.6 is outside its own quantiles too; only the abnormal interval counts."""
    text = TextEmbeddings(_at(*[0.1] * 20, 0.6), _at(0.5, 0.6, 0.7), _at())
    adapted = adapt(torch.tensor([[1.0, 0.0]]), text, form="robust", quantile=0.05)
    assert adapted.kept_normal.tolist() == [[True] * 20 + [False]]


def test_without_contextual_scoring_all_prompts_stay() -> None:
    """The form `none` keeps prompts that the paper's would leave out, and empties no side."""
    text = TextEmbeddings(_at(0.1, 0.3, 0.5), _at(0.3, 0.6), _at())
    adapted = adapt(torch.tensor([[1.0, 0.0]]), text, form="none")
    assert adapted.kept_normal.all()
    assert adapted.kept_abnormal.all()
    assert not adapted.normal_was_empty.item()
    torch.testing.assert_close(adapted.normal[0], functional.normalize(text.normal.mean(dim=0), dim=0))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 500))
def test_robust_at_quantile_zero_is_the_papers(normal: int, abnormal: int, seed: int) -> None:
    """Quantiles 0 and 1 are minimum and maximum."""
    text, image = _text(normal, abnormal, 5, seed), _unit(3, 5, seed=seed + 1)
    robust = adapt(image, text, form="robust", quantile=0.0)
    assert torch.equal(robust.kept_normal, adapt(image, text).kept_normal)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 500), st.floats(0.01, 0.49))
def test_the_robust_interval_leaves_out_no_more_than_the_papers(
    normal: int, abnormal: int, seed: int, quantile: float
) -> None:
    """A narrower interval can only let more prompts in: S_c grows everywhere."""
    text, image = _text(normal, abnormal, 5, seed), _unit(3, 5, seed=seed + 1)
    d_normal, d_abnormal = image @ text.normal.T, image @ text.abnormal.T
    paper = contextual_scores(d_normal, d_abnormal)
    robust = contextual_scores(d_normal, d_abnormal, quantile=quantile)
    for wide, narrow in zip(paper, robust, strict=True):
        assert torch.all(narrow >= wide - 1e-6)
