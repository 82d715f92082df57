"""Captured images become the tower's input: their shape, their colours, and a buffer that is used again."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alfa.backbone import Backbone
from alfa.errors import BadInput
from alfa.images import Colour
from alfa.settings import ModelSettings


def _picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_preprocessing_normalises_with_the_models_statistics(tiny_backbone: Backbone) -> None:
    """A picture of one colour becomes (value / 255 - mean) / std in every pixel (CLIP's own mean and std)."""
    picture = np.full((80, 60, 3), (255, 0, 51), np.uint8)
    [batch] = tiny_backbone.preprocessor.prepare([picture])
    pixels = batch.pixels
    expected = [(1 - 0.48145466) / 0.26862954, -0.4578275 / 0.26130258, (0.2 - 0.40821073) / 0.27577711]
    assert pixels.shape == (1, 3, 48, 36)
    torch.testing.assert_close(pixels, torch.tensor(expected).view(1, 3, 1, 1).expand_as(pixels))


def test_a_picture_of_the_models_size_is_not_resampled(tiny_backbone: Backbone) -> None:
    """Pixel for pixel the input, normalised."""
    picture = _picture(48, 36)
    pixels = tiny_backbone.preprocessor.prepare([picture])[0].pixels[0]
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    back = pixels.permute(1, 2, 0) * torch.tensor(std) + torch.tensor(mean)
    torch.testing.assert_close((back * 255).round().byte(), torch.from_numpy(picture))


_SIDES = st.integers(16, 120)


@given(height=_SIDES, width=_SIDES, seed=st.integers(0, 99))
def test_bgr_gives_the_same_pixels_as_rgb(
    tiny_backbone: Backbone, height: int, width: int, seed: int
) -> None:
    """Byte for byte, shrunk or enlarged: the channel order of the camera does not touch the score."""
    rgb = _picture(height, width, seed)
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    preprocessor = tiny_backbone.preprocessor
    np.testing.assert_array_equal(preprocessor.fit(bgr, "bgr"), preprocessor.fit(rgb))


@given(height=_SIDES, width=_SIDES, seed=st.integers(0, 99))
def test_grey_gives_the_same_pixels_as_three_equal_channels(
    tiny_backbone: Backbone, height: int, width: int, seed: int
) -> None:
    """A bank taught from grey image files fits a grey camera to the last bit."""
    grey = _picture(height, width, seed)[:, :, :1]
    preprocessor = tiny_backbone.preprocessor
    np.testing.assert_array_equal(
        preprocessor.fit(np.ascontiguousarray(grey), "grey"),
        preprocessor.fit(np.repeat(grey, 3, axis=2)),
    )


def test_a_read_only_view_of_a_message_is_read_as_it_lies(tiny_backbone: Backbone) -> None:
    """Frames arrive as views of memory that may not be written to."""
    picture = _picture(100, 80)
    view = np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.shape)
    assert not view.flags.writeable
    np.testing.assert_array_equal(
        tiny_backbone.preprocessor.fit(view), tiny_backbone.preprocessor.fit(picture)
    )


@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
def test_a_large_frame_is_not_copied(tiny_backbone: Backbone, colour: Colour) -> None:
    """Of a 12-megapixel frame, a quarter of its size is allocated, and a sixteenth, while it is halved."""
    shape = (3000, 4000, 1 if colour == "grey" else 3)
    frame = np.zeros(shape, np.uint8)
    tracemalloc.start()
    try:
        tiny_backbone.preprocessor.fit(frame, colour)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < frame.nbytes / 3


def test_an_array_that_is_no_image_of_its_colour_is_refused(tiny_backbone: Backbone) -> None:
    """Before anything is resized, with the shape that was given."""
    with pytest.raises(BadInput, match=r"\(40, 30, 3\).*grey"):
        tiny_backbone.preprocessor.fit(_picture(40, 30), "grey")


def test_pictures_of_different_sizes_share_a_batch_and_results_outlive_the_buffer(
    tiny_backbone: Backbone,
) -> None:
    """Each row equals the picture prepared alone, also after the buffer was used again."""
    pictures = [_picture(200, 150, 1), _picture(24, 18, 2), _picture(48, 36, 3)]
    [batch] = tiny_backbone.preprocessor.prepare(pictures)
    for row, picture in zip(batch.pixels, pictures, strict=True):
        torch.testing.assert_close(row, tiny_backbone.preprocessor.prepare([picture])[0].pixels[0])


def test_pictures_of_other_shapes_go_into_batches_of_their_own(tiny_backbone: Backbone) -> None:
    """Upright, square and wide ones get grids of their own; every picture is in exactly one batch."""
    pictures = [_picture(40, 30), _picture(30, 30), _picture(20, 15), _picture(30, 90)]
    batches = tiny_backbone.preprocessor.prepare(pictures)
    assert [batch.positions for batch in batches] == [(0, 2), (1,), (3,)]
    assert [tuple(batch.pixels.shape) for batch in batches] == [
        (2, 3, 48, 36),
        (1, 3, 36, 36),
        (1, 3, 36, 48),
    ]


@pytest.fixture(scope="module")
def square_backbone(tiny_settings: ModelSettings) -> Backbone:
    """192 pixels in patches of 12: 16 x 16."""
    return Backbone.load(tiny_settings.model_copy(update={"resolution": 192}))


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_a_grid_keeps_the_shape_and_about_the_number_of_patches(
    square_backbone: Backbone, height: int, width: int
) -> None:
    """Within half a patch a side of the image's own shape, and never many more patches."""
    grid, whole = square_backbone.preprocessor.grid_for(height, width), square_backbone.grid.patches
    rows, cols = math.sqrt(whole * height / width), math.sqrt(whole * width / height)
    if min(rows, cols) >= 4:
        assert abs(grid.rows - rows) <= 0.5 + 1e-9
        assert abs(grid.cols - cols) <= 0.5 + 1e-9
    assert min(grid.rows, grid.cols) >= 4
    assert grid.patches <= 1.3 * whole


def test_squashing_is_still_there(tiny_settings: ModelSettings) -> None:
    """With keep_aspect off every picture gets the model's own size."""
    backbone = Backbone.load(tiny_settings.model_copy(update={"keep_aspect": False}))
    [batch] = backbone.preprocessor.prepare([_picture(30, 90), _picture(90, 30)])
    assert batch.pixels.shape == (2, 3, 48, 36)
