"""Comparisons of speed: equal work on both sides, every row in quick mode, arithmetic by hand."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional

from alfa.backbone import Backbone
from alfa.clip_model import ClipModel
from alfa.pretrained import open_model
from alfa.settings import ModelSettings
from alfa.windows import Grid
from benchmarks import peers_speed_masking as masking
from benchmarks import peers_speed_patchcore as patchcore
from benchmarks import peers_speed_winclip as winclip
from benchmarks.peers_speed import Ours, peer_module, random_pixels, require_equal
from benchmarks.suite import Effort, Row, Unavailable

_QUICK = Effort(quick=True)


@pytest.fixture
def tiny_model(tiny_settings: ModelSettings) -> ClipModel:
    """The tiny model's weights."""
    return open_model(tiny_settings)


def _whats(rows: Sequence[Row]) -> list[str]:
    return [row.what for row in rows]


def _needs_anomalib() -> None:
    pytest.importorskip("anomalib", reason="anomalib is not installed (the `peers` extra)")


def test_anomalibs_windows_and_ours_are_the_same(tiny_model: ClipModel, tiny_settings: ModelSettings) -> None:
    """Embeddings of the images and of every window, from the same weights and pixels."""
    _needs_anomalib()
    backbone = Ours.of(tiny_model, tiny_settings).backbone
    pixels = random_pixels(2, backbone.image_size)
    theirs = winclip.anomalibs_winclip(tiny_model)
    assert winclip.require_same_windows(backbone.encode_images(pixels), theirs, pixels) < 1e-5


def test_attention_across_windows_would_be_found_out(
    tiny_model: ClipModel, tiny_settings: ModelSettings
) -> None:
    """What anomalib does to a transformer that takes tokens in one order only."""
    _needs_anomalib()
    backbone = Ours.of(tiny_model, tiny_settings).backbone
    pixels = random_pixels(2, backbone.image_size)
    theirs = winclip.anomalibs_winclip(tiny_model)
    theirs.clip.visual.transformer = theirs.clip.visual.transformer._transformer
    with pytest.raises(AssertionError, match="not the same work"):
        winclip.require_same_windows(backbone.encode_images(pixels), theirs, pixels)


def test_winclip_has_rows_of_both_and_one_for_bf16_whether_it_runs_or_not(
    tiny_model: ClipModel, tiny_settings: ModelSettings
) -> None:
    """Per number of threads and batch; bf16 is never left out in silence."""
    _needs_anomalib()
    rows = winclip.compare(tiny_model, tiny_settings, (1, 2), _QUICK)
    for batch in (1, 2):
        where = f"batch {batch}, 1 thread"
        for name in ("anomalib WinCLIP, float32", "ALFA, float32", "ALFA, bf16"):
            assert f"{name}, {where}" in _whats(rows)
    for row in rows:
        if row.what.startswith("ALFA, float32"):
            assert row.target.startswith(">= 1.3")
            assert row.ratio is not None
        if row.what.startswith("ALFA, bf16"):
            assert row.target.startswith(">= 3")
            assert math.isnan(row.value) is row.note.startswith("not run")


def test_window_masks_by_hand() -> None:
    """A grid of 2 x 3 patches of 2 pixels: two windows of 2 x 2 patches, each 4 x 4 pixels."""
    masks = masking.window_masks(Grid(2, 3), (2,), 2)
    assert masks.shape == (2, 1, 4, 6)
    assert masks[0, 0].tolist() == [[1, 1, 1, 1, 0, 0]] * 4
    assert masks[1, 0].tolist() == [[0, 0, 1, 1, 1, 1]] * 4


def test_a_window_that_masks_nothing_is_the_image(tiny_model: ClipModel) -> None:
    """And one that masks all is a black image."""
    pixels = random_pixels(1, (48, 36))[0]
    black = torch.tensor([-1.0, -2.0, -3.0]).view(3, 1, 1)
    masks = torch.stack([torch.ones(1, 48, 36), torch.zeros(1, 48, 36)])
    found = masking.masked_embeddings(tiny_model.clip, pixels, masks, black)
    with torch.inference_mode():
        both = tiny_model.clip.encode_image(torch.stack([pixels, black.expand(3, 48, 36)]))
    torch.testing.assert_close(found, functional.normalize(both, dim=-1), rtol=1e-4, atol=1e-5)


def test_some_windows_stand_for_all_by_their_number() -> None:
    """16 of 80 windows in 3 s are 15 s for all; 10 times our 1.5 s."""
    theirs, ours = masking.rows_of(ours_s=1.5, part_s=3.0, windows=80, timed=16, threads=1)
    assert theirs.value == 15.0
    assert theirs.note == "16 of 80 windows timed, times 5.0"
    assert (ours.value, ours.ratio) == (1.5, 10.0)


def test_masking_has_both_rows(tiny_model: ClipModel, tiny_settings: ModelSettings) -> None:
    """In quick mode as well."""
    rows = masking.compare(tiny_model, tiny_settings, _QUICK)
    assert "pixel-masking ALFA, windows of one image, 1 thread" in _whats(rows)
    assert "ALFA, the whole image, 1 thread" in _whats(rows)


def test_anomalibs_patchcore_reads_the_same_tokens_off_our_tower() -> None:
    """All three blocks, after the final norm; its bank holds the patches of what it was taught."""
    _needs_anomalib()
    settings = ModelSettings(keep_aspect=False, precision="fp32", device="cpu")
    model = open_model(settings)
    trunk = copy.deepcopy(model.clip.visual.trunk)
    backbone = Backbone(model, settings)
    pixels = random_pixels(1, backbone.image_size)
    theirs = patchcore.anomalibs_patchcore(trunk, backbone, pixels)
    assert patchcore.require_same_tokens(backbone.encode_images(pixels), theirs, pixels) < 1e-4
    assert theirs.memory_bank.shape == (backbone.grid.patches, 3 * backbone.patch_dim)


def test_a_difference_above_rounding_is_refused_and_one_below_is_given() -> None:
    """Not a number is no equality either."""
    ours, near, far = torch.zeros(2), torch.tensor([0.0, 1e-6]), torch.tensor([0.0, float("nan")])
    assert require_equal("x", [ours], [near], 1e-5) == pytest.approx(1e-6)
    with pytest.raises(AssertionError, match="x differ by nan"):
        require_equal("x", [ours, ours], [near, far], 1e-5)


def test_a_peer_that_is_not_installed_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install, instead of a crash."""
    monkeypatch.setitem(sys.modules, "anomalib", None)
    with pytest.raises(Unavailable, match="install the `peers` extra"):
        peer_module("anomalib")
