"""The model on a GPU gives what it gives on the processor; skipped where torch sees no GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from alfa.backbone import Backbone
from alfa.features import ImageFeatures
from alfa.settings import ModelSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

# float32 sums in another order.
_CLOSE = 1e-4


@pytest.fixture(scope="module")
def on_gpu(tiny_settings: ModelSettings) -> Backbone:
    """The tiny model on the GPU, recording its passes."""
    return Backbone.load(tiny_settings.model_copy(update={"device": "cuda"}))


@pytest.fixture(scope="module")
def launched(tiny_settings: ModelSettings) -> Backbone:
    """The same, kernel by kernel."""
    return Backbone.load(tiny_settings.model_copy(update={"device": "cuda", "cuda_graphs": False}))


@pytest.fixture(scope="module", params=["auto", "bf16", "fp32"])
def alfa_mini(request: pytest.FixtureRequest) -> Backbone:
    """The shipped model on the GPU, which has a patch head and middle blocks."""
    return Backbone.load(ModelSettings(device="cuda", precision=request.param))


def test_embeddings_are_those_of_the_processor(on_gpu: Backbone, tiny_backbone: Backbone) -> None:
    """In float32 both differ by rounding alone."""
    assert on_gpu.records
    pixels = _pixels(3, on_gpu)
    _assert_close(on_gpu.encode_images(pixels.cuda()), tiny_backbone.encode_images(pixels), _CLOSE)


def test_a_replay_gives_what_the_kernels_give_one_by_one(on_gpu: Backbone, launched: Backbone) -> None:
    """For every number of images, on pixels that were not those of the recording."""
    for images in (1, 2, 5):
        on_gpu.encode_images(_pixels(images, on_gpu, seed=0).cuda())
        pixels = _pixels(images, on_gpu, seed=1).cuda()
        _assert_close(on_gpu.encode_images(pixels), launched.encode_images(pixels), 1e-6)


def test_a_result_is_kept_when_another_batch_follows(on_gpu: Backbone) -> None:
    """A replay writes into the recording's memory, not into what was given out before."""
    first = on_gpu.encode_images(_pixels(2, on_gpu, seed=2).cuda())
    before = [tensor.clone() for tensor in _tensors(first)]
    on_gpu.encode_images(_pixels(2, on_gpu, seed=3).cuda())
    torch.cuda.synchronize()
    assert all(torch.equal(was, now) for was, now in zip(before, _tensors(first), strict=True))


def test_more_shapes_than_are_recorded_are_still_encoded(
    tiny_settings: ModelSettings, launched: Backbone
) -> None:
    """The 40th shape runs kernel by kernel, the first is still replayed."""
    backbone = Backbone.load(tiny_settings.model_copy(update={"device": "cuda"}))
    for images in (*range(1, 41), 1):
        pixels = _pixels(images, backbone, seed=images).cuda()
        _assert_close(backbone.encode_images(pixels), launched.encode_images(pixels), 1e-6)


def test_uploads_that_follow_each_other_do_not_mix(on_gpu: Backbone, tiny_backbone: Backbone) -> None:
    """The page-locked buffer is filled again only when the GPU has read it."""
    height, width = on_gpu.image_size
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(50)]
    on_device = [on_gpu.preprocessor.prepare([image])[0].pixels for image in images]
    for image, pixels in zip(images, on_device, strict=True):
        expected = tiny_backbone.preprocessor.prepare([image])[0].pixels
        assert torch.allclose(pixels.cpu(), expected, atol=1e-5)


def test_alfa_mini_is_near_its_float32_on_the_processor(alfa_mini: Backbone) -> None:
    """Rounding to bfloat16 turns no embedding by more than a few degrees."""
    on_cpu = Backbone.load(ModelSettings(device="cpu", precision="fp32"))
    height, width = alfa_mini.image_size
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    (_, ours), (_, theirs) = alfa_mini.encode([image])[0], on_cpu.encode([image])[0]
    for own, other in zip(_tensors(ours), _tensors(theirs), strict=True):
        cosine = (own.cpu().float() * other).sum(dim=-1)
        assert cosine.min() > (0.98 if alfa_mini.dtype == torch.bfloat16 else 0.9999)


def _pixels(images: int, backbone: Backbone, seed: int = 7) -> Tensor:
    return torch.randn(images, 3, *backbone.image_size, generator=torch.Generator().manual_seed(seed))


def _tensors(features: ImageFeatures) -> Iterator[Tensor]:
    for field in dataclasses.fields(features):
        value = getattr(features, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Tensor):
                yield each


def _assert_close(ours: ImageFeatures, theirs: ImageFeatures, atol: float) -> None:
    pairs = list(zip(_tensors(ours), _tensors(theirs), strict=True))
    assert pairs
    for own, other in pairs:
        assert torch.allclose(own.cpu(), other.cpu(), atol=atol)
