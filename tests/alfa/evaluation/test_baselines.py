"""The trivial baselines measure what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from alfa.evaluation.baselines import brightness, laplacian_energy, local_contrast, score_and_map


def _flat(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((300, 200, 3), value, np.uint8)


def test_brightness_is_the_grey_level() -> None:
    """A flat grey picture has its own level everywhere."""
    assert np.allclose(brightness(_flat(90)), 90)


def test_flat_pictures_have_no_contrast_and_no_edges() -> None:
    """Whatever their brightness."""
    assert local_contrast(_flat(200)).max() < 0.5
    assert laplacian_energy(_flat(200)).max() < 1e-3


def test_contrast_and_energy_are_where_the_edge_is() -> None:
    """Half black, half white: the highest places lie on the border between the halves."""
    image = _flat(0)
    image[150:] = 255
    for measure in (local_contrast, laplacian_energy):
        plane = measure(image)
        assert abs(int(plane.mean(axis=1).argmax()) - plane.shape[0] // 2) <= 8


def test_the_score_is_the_mean_of_the_plane_and_the_map_a_small_one() -> None:
    """Lower half white: half the range on average, and a map with the white below."""
    image = _flat(0)
    image[150:] = 255
    score, small = score_and_map(brightness, image)
    assert score == pytest.approx(127.5, abs=1)
    assert small.shape == (32, 32)
    assert small.dtype == np.float16
    assert small[:14].max() < 1
    assert small[-14:].min() > 254
