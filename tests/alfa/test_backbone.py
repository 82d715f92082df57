"""The backbone against open_clip itself, on every kind of tower; and how loading fails."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import safetensors.torch
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alfa.backbone import Backbone
from alfa.device import dtype_for
from alfa.errors import BadInput, Fault
from alfa.features import ImageFeatures
from alfa.files import file_hash
from alfa.model_directory import open_directory
from alfa.settings import ModelSettings
from alfa.windows import Grid

_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_TRUNK = {"img_size": 48, "patch_size": 12, "embed_dim": 32, "depth": 2, "num_heads": 2}


def _trunk(name: str, arguments: dict[str, Any], **kind: Any) -> timm.models.VisionTransformer:
    chosen = _TRUNK | kind | arguments
    return timm.models.build_model_with_cfg(
        timm.models.VisionTransformer, name, **{"pretrained": False} | chosen
    )


def tiny_layerscale(**arguments: Any) -> timm.models.VisionTransformer:
    """A class token and LayerScale, as DINOv2 has them; 4 x 4 patches."""
    return _trunk("tiny_layerscale", arguments, init_values=0.5)


def tiny_native(**arguments: Any) -> timm.models.VisionTransformer:
    """The same with a native grid of 6 x 6: its positions must be resampled."""
    return _trunk("tiny_native", arguments, init_values=0.5, img_size=72)


def tiny_no_class(**arguments: Any) -> timm.models.VisionTransformer:
    """No prefix token and an attention pool, as SigLIP has them."""
    return _trunk("tiny_no_class", arguments, class_token=False, global_pool="map")


def tiny_registers(**arguments: Any) -> timm.models.VisionTransformer:
    """A class token and registers without positions, norm after an average pool."""
    return _trunk("tiny_registers", arguments, reg_tokens=2, no_embed_class=True, global_pool="avg")


for _builder in (tiny_layerscale, tiny_native, tiny_no_class, tiny_registers):
    timm.models.register_model(_builder)


def _timm(name: str, pool: str, proj: str) -> dict[str, Any]:
    return {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": 48}


_OWN = {"image_size": 48, "layers": 2, "width": 32, "head_width": 16, "patch_size": 12}
# 4 x 4 patches each, so that the one window of scale 4 holds all of them.
_TOWERS: dict[str, dict[str, Any]] = {
    "own": _OWN,
    "own-average-pool": _OWN | {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True},
    "timm-layerscale": _timm("tiny_layerscale", "token", "linear"),
    "timm-no-class": _timm("tiny_no_class", "map", "none"),
    "timm-registers": _timm("tiny_registers", "avg", "mlp"),
}


def _config(tower: dict[str, Any]) -> dict[str, Any]:
    # Without a projection, timm's own width is the joint space's.
    joint = 32 if tower.get("timm_proj") == "none" else 16
    return {"embed_dim": joint, "vision_cfg": tower, "text_cfg": _TEXT, "custom_text": "timm_pool" in tower}


def _randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Random everything: fresh models have zeros and ones in places, which would hide what is left out."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture(scope="module", params=list(_TOWERS))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Any]:
    """A backbone loaded from a file, and open_clip's own model with the same weights."""
    name = f"tiny-{request.param}"
    directory = tmp_path_factory.mktemp(name)
    config = directory / f"{name}.json"
    config.write_text(json.dumps(_config(_TOWERS[request.param])))
    open_clip.add_model_config(config)
    model = _randomised(open_clip.create_model(name))
    weights = directory / "weights.pt"
    torch.save(model.state_dict(), weights)
    settings = ModelSettings(
        name=name, pretrained=str(weights), scales=(2, 4), device="cpu", precision="fp32"
    )
    return Backbone.load(settings), model


def _pixels(count: int = 3, size: tuple[int, int] = (48, 48)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(2))


def _picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _all_rows(features: ImageFeatures) -> list[Tensor]:
    joint = [] if features.patch_joint is None else [features.patch_joint]
    return [features.image, *features.windows, features.patches, *joint]


@torch.inference_mode()
def test_a_window_of_all_patches_equals_encode_image(loaded: tuple[Backbone, Any]) -> None:
    """The window path and open_clip's own forward are the same function, to 1e-4, on every kind of tower."""
    backbone, clip = loaded
    expected = clip.encode_image(_pixels(), normalize=True)
    features = backbone.encode_images(_pixels())
    torch.testing.assert_close(features.windows[1][:, 0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(features.image, expected, atol=1e-4, rtol=0)


def test_a_window_sees_its_own_patches_only(loaded: tuple[Backbone, Any]) -> None:
    """New pixels in the last patch change the last 2x2 window and leave the other eight as they were."""
    backbone, _ = loaded
    before = _pixels(1)
    after = before.clone()
    after[:, :, 36:, 36:] += 1
    change = backbone.encode_images(after).windows[0] - backbone.encode_images(before).windows[0]
    per_window = change.abs().amax(dim=2)[0]
    assert per_window.shape == (9,)
    assert per_window[:8].max() < 1e-5
    assert per_window[8] > 1e-3


def test_a_window_keeps_the_positions_of_its_patches(loaded: tuple[Backbone, Any]) -> None:
    """On an image of one colour only the positions tell the windows apart, and they do."""
    backbone, _ = loaded
    windows = backbone.encode_images(torch.ones(1, 3, 48, 48)).windows[0][0]
    assert torch.pdist(windows).min() > 1e-4


def test_all_embeddings_are_unit_float32(loaded: tuple[Backbone, Any]) -> None:
    """Whatever the tower gives, cosines are dot products."""
    backbone, _ = loaded
    for rows in _all_rows(backbone.encode_images(_pixels())):
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:-1]))


@torch.inference_mode()
def test_patch_tokens_are_the_towers_final_ones(loaded: tuple[Backbone, Any]) -> None:
    """They are what open_clip gives as the normalised output of the last block."""
    backbone, clip = loaded
    outputs = clip.visual.forward_intermediates(
        _pixels(), indices=1, normalize_intermediates=True, output_fmt="NLC", intermediates_only=True
    )
    # timm's `norm` is the identity where the norm comes after the pool; ours then takes that norm.
    late_norm = getattr(getattr(clip.visual, "trunk", None), "fc_norm", torch.nn.Identity())
    expected = functional.normalize(late_norm(outputs["image_intermediates"][-1]), dim=-1)
    torch.testing.assert_close(backbone.encode_images(_pixels()).patches, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("at_once", [1, 5, 7])
def test_how_windows_are_split_over_passes_changes_nothing(
    tiny_backbone: Backbone, tiny_settings: ModelSettings, at_once: int
) -> None:
    """Passes that end within an image, or hold parts of two, give the same embeddings."""
    split = Backbone.load(tiny_settings.model_copy(update={"tokens_at_once": at_once}))
    pixels = _pixels(2, tiny_backbone.image_size)
    ours, theirs = split.encode_images(pixels).windows, tiny_backbone.encode_images(pixels).windows
    for level, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(level, expected, atol=1e-5, rtol=0)


def test_the_fast_mode_encodes_some_of_the_same_windows(
    tiny_backbone: Backbone, tiny_settings: ModelSettings
) -> None:
    """Windows side by side have the embeddings that they have among all windows."""
    fast = Backbone.load(tiny_settings.model_copy(update={"mode": "fast"}))
    pixels = _pixels(2, tiny_backbone.image_size)
    some, every = fast.encode_images(pixels), tiny_backbone.encode_images(pixels)
    assert some.windows[0].shape[1] < every.windows[0].shape[1]
    for level, (few, many) in enumerate(zip(some.layouts, every.layouts, strict=True)):
        at = [many.indices.tolist().index(window) for window in few.indices.tolist()]
        assert few.windows <= many.windows
        torch.testing.assert_close(some.windows[level], every.windows[level][:, at], atol=1e-5, rtol=0)


def test_an_image_is_judged_alike_alone_and_in_a_batch(tiny_backbone: Backbone) -> None:
    """Batching across lines must not change a verdict."""
    pixels = _pixels(3, tiny_backbone.image_size)
    batch = tiny_backbone.encode_images(pixels).select([1])
    alone = tiny_backbone.encode_images(pixels[1:2])
    for together, single in zip(_all_rows(batch), _all_rows(alone), strict=True):
        torch.testing.assert_close(together, single, atol=1e-5, rtol=0)


def test_a_grid_that_is_not_square_has_all_its_windows(tiny_backbone: Backbone) -> None:
    """4 x 3 patches: 12 tokens, 3 x 2 windows of scale 2, 2 x 1 of scale 3."""
    features = tiny_backbone.encode_images(_pixels(2, tiny_backbone.image_size))
    assert (tiny_backbone.grid.rows, tiny_backbone.grid.cols) == (4, 3)
    assert [tuple(level.shape) for level in features.windows] == [(2, 6, 16), (2, 2, 16)]
    assert features.patches.shape == (2, 12, tiny_backbone.patch_dim)
    assert features.image.shape == (2, tiny_backbone.embed_dim)


def test_select_takes_the_same_images_out_of_every_level(tiny_backbone: Backbone) -> None:
    """Positions, mask and slice name the same images."""
    features = tiny_backbone.encode_images(_pixels(3, tiny_backbone.image_size))
    by_mask = features.select(torch.tensor([True, False, True]))
    for selected, rows in zip(_all_rows(features.select([0, 2])), _all_rows(features), strict=True):
        assert torch.equal(selected, rows[[0, 2]])
    for selected, rows in zip(_all_rows(by_mask), _all_rows(features.select(slice(0, 3, 2))), strict=True):
        assert torch.equal(selected, rows)


def test_bfloat16_gives_nearly_the_same_directions(tiny_settings: ModelSettings) -> None:
    """Half the bits in the tower, float32 outside: cosines to the float32 embeddings stay above 0.99."""
    exact = Backbone.load(tiny_settings)
    rough = Backbone.load(tiny_settings.model_copy(update={"precision": "bf16"}))
    pictures = [_picture(60, 60)]
    pairs = zip(
        _all_rows(exact.encode(pictures)[0][1]),
        _all_rows(rough.encode(pictures)[0][1]),
        strict=True,
    )
    for ours, theirs in pairs:
        assert theirs.dtype == torch.float32
        assert functional.cosine_similarity(ours, theirs, dim=-1).min() > 0.99


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_gpu_takes_the_models_own_half_format_unless_told_otherwise(half: torch.dtype) -> None:
    """`auto` leaves it to the model, and a format that is named is that format."""
    gpu = torch.device("cuda")
    assert dtype_for("auto", gpu, half) == half
    assert dtype_for("fp32", gpu, half) == torch.float32
    assert dtype_for("bf16", gpu, half) == torch.bfloat16


def test_a_processor_never_takes_float16_by_itself() -> None:
    """Whatever the model is stored in; without instructions for it, it is slower than float32."""
    assert dtype_for("auto", torch.device("cpu"), torch.float16) in (torch.bfloat16, torch.float32)


@torch.inference_mode()
def test_other_sizes_interpolate_the_positions(loaded: tuple[Backbone, Any]) -> None:
    """Twice the side gives four times the patches; each position is a mean of the tower's own near it."""
    backbone, _ = loaded
    features = backbone.encode_images(_pixels(1, (96, 60)))
    assert (features.grid, features.patches.shape[1]) == (Grid(8, 5), 40)
    assert features.windows[0].shape[1] == 7 * 4
    assert all(torch.isfinite(rows).all() for rows in _all_rows(features))


def test_a_resolution_that_is_no_multiple_of_the_patch_is_refused(tiny_settings: ModelSettings) -> None:
    """One line that names the nearest one."""
    with pytest.raises(BadInput, match=r"model: resolution = 100: .*use 96"):
        Backbone.load(tiny_settings.model_copy(update={"resolution": 100}))


def test_a_resolution_above_the_models_own_gives_a_finer_grid(tiny_settings: ModelSettings) -> None:
    """96 pixels in patches of 12 are 8 x 8."""
    backbone = Backbone.load(tiny_settings.model_copy(update={"resolution": 96}))
    assert backbone.grid == Grid(8, 8)
    assert backbone.preprocessor.prepare([_picture(50, 50)])[0].pixels.shape == (1, 3, 96, 96)


@torch.inference_mode()
def test_text_embeddings_are_open_clips_at_unit_length(loaded: tuple[Backbone, Any]) -> None:
    """More prompts than one pass takes, in the order given."""
    backbone, clip = loaded
    prompts = [f"a photo of part number {number}" for number in range(300)]
    expected = clip.encode_text(open_clip.tokenize(prompts), normalize=True)
    torch.testing.assert_close(backbone.encode_text(prompts), expected, atol=1e-5, rtol=0)


def test_token_counts_include_start_and_end_and_are_not_cut(tiny_backbone: Backbone) -> None:
    """An empty prompt has the two marks; a hundred words have a hundred and two tokens."""
    assert tiny_backbone.token_counts(["", "bottle", " ".join(["a"] * 100)]) == [2, 3, 102]
    assert tiny_backbone.context_length == 77


def test_a_backbone_names_its_weights(tiny_backbone: Backbone, tiny_settings: ModelSettings) -> None:
    """The hash is the file's, so that anyone can check it with sha256sum; the id names model and file."""
    assert tiny_backbone.weights_hash == file_hash(Path(tiny_settings.pretrained))
    assert tiny_backbone.model_id == f"{tiny_settings.name}/{Path(tiny_settings.pretrained).name}"


def test_random_weights_are_warned_of_and_never_pass_for_others(
    tiny_settings: ModelSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Without weights a model loads, says so, and has another hash each time."""
    settings = tiny_settings.model_copy(update={"pretrained": ""})
    with caplog.at_level(logging.WARNING, logger="alfa"):
        hashes = {Backbone.load(settings).weights_hash for _ in range(2)}
    assert len(hashes) == 2
    assert "random weights" in caplog.text


def test_weights_load_alike_from_pt_and_safetensors(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    """The container does not matter to the result; the hash names the file."""
    copied = tmp_path / "same.pt"
    torch.save(safetensors.torch.load_file(tiny_settings.pretrained), copied)
    first = Backbone.load(tiny_settings)
    second = Backbone.load(tiny_settings.model_copy(update={"pretrained": str(copied)}))
    assert torch.equal(first.encode_text(["bottle"]), second.encode_text(["bottle"]))
    assert first.weights_hash != second.weights_hash


def _one_line(settings: ModelSettings, expected: str) -> None:
    with pytest.raises(BadInput, match=expected) as caught:
        Backbone.load(settings)
    assert "\n" not in str(caught.value)


def test_an_unknown_model_name_is_refused_with_near_ones() -> None:
    """The nearest names help against a slip of the finger."""
    _one_line(ModelSettings(name="ViT-B-16-plus-24"), r"model: name = 'ViT-B-16-plus-24'.*ViT-B-16-plus-240")


def test_an_unknown_tag_is_refused_with_the_known_ones() -> None:
    """It is neither a tag nor a file."""
    settings = ModelSettings(name="ViT-B-16-plus-240", pretrained="laion400m_e99")
    _one_line(settings, r"model: pretrained = 'laion400m_e99'.*laion400m_e32")


def test_a_tower_without_tokens_is_refused(tmp_path: Path) -> None:
    """A ResNet has no patch tokens to drop."""
    tower = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    config = tmp_path / "tiny-resnet.json"
    config.write_text(json.dumps({"embed_dim": 16, "vision_cfg": tower, "text_cfg": _TEXT}))
    open_clip.add_model_config(config)
    _one_line(ModelSettings(name="tiny-resnet"), "no vision transformer")


def test_a_scale_that_does_not_fit_the_grid_is_refused(tiny_settings: ModelSettings) -> None:
    """3 columns hold no window of 4."""
    _one_line(tiny_settings.model_copy(update={"scales": (2, 4)}), "scales = 4")


def test_a_cuda_device_that_is_not_there_is_refused(tiny_settings: ModelSettings) -> None:
    """No machine has a hundredth GPU."""
    _one_line(tiny_settings.model_copy(update={"device": "cuda:99"}), r"model: device = 'cuda:99'")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_weights_file_cut_short_is_refused(
    tiny_settings: ModelSettings, tmp_path: Path, suffix: str, part: float
) -> None:
    """Wherever the copy stopped."""
    whole = tmp_path / f"whole{suffix}"
    tensors = safetensors.torch.load_file(tiny_settings.pretrained)
    torch.save(tensors, whole) if suffix == ".pt" else safetensors.torch.save_file(tensors, whole)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    _one_line(tiny_settings.model_copy(update={"pretrained": str(cut)}), f"cut{suffix}: is cut short")


def test_a_file_of_another_model_is_refused(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    """Missing tensors are named."""
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, other)
    _one_line(tiny_settings.model_copy(update={"pretrained": str(other)}), "weights of another model")


class _Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("executed",))


def test_a_pickle_that_would_run_code_is_refused(
    tiny_settings: ModelSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights are data; what a file asks to be called is not called."""
    evil = tmp_path / "evil.pt"
    torch.save({"state_dict": _Payload()}, evil)
    _one_line(tiny_settings.model_copy(update={"pretrained": str(evil)}), r"evil\.pt")
    assert "executed" not in capsys.readouterr().out


def test_a_file_that_is_no_weights_file_by_name_is_refused(
    tiny_settings: ModelSettings, tmp_path: Path
) -> None:
    """open_clip would guess; we do not."""
    path = tmp_path / "weights.zip"
    path.touch()
    _one_line(tiny_settings.model_copy(update={"pretrained": str(path)}), "no weights file by its name")


@pytest.fixture
def hub_without_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, and a hub address at which nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.timeout(20)
@pytest.mark.usefixtures("hub_without_answer")
def test_weights_that_cannot_be_downloaded_are_a_fault_at_once() -> None:
    """The name is right and the network is not: exit 3, one line, no minute of retries."""
    settings = ModelSettings(name="ViT-B-16-plus-240", pretrained="laion400m_e32")
    with pytest.raises(Fault, match="ViT-B-16-plus-240/laion400m_e32 cannot be downloaded") as caught:
        Backbone.load(settings)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.usefixtures("hub_without_answer")
def test_weights_in_the_cache_need_no_network(tmp_path: Path) -> None:
    """A file downloaded once is found without asking the hub; here it is damaged, and named as such."""
    repository = tmp_path / "models--timm--vit_base_patch32_clip_224.openai"
    snapshot = repository / "snapshots" / "0" / "open_clip_model.safetensors"
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(b"")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    _one_line(ModelSettings(name="ViT-B-32", pretrained="openai"), r"open_clip_model\.safetensors")


_SHARPNESS = 3.0


def _directory_config(size: int = 48) -> dict[str, Any]:
    tower = _timm("tiny_native", "token", "linear") | {"image_size": size}
    return {
        "model_cfg": _config(tower),
        "preprocess_cfg": {"mean": _MEAN, "std": _STD},
        "patch_head": {"blocks": [1, 2], "sharpness": _SHARPNESS},
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model of the embedded kind: config, frozen image tower, text side with a patch head; fp16."""
    path = tmp_path / "own-mini"
    path.mkdir()
    config = _directory_config()
    (path / "open_clip_config.json").write_text(json.dumps(config))
    arguments = {key: value for key, value in config["model_cfg"].items() if key != "custom_text"}
    tensors = {
        key: value.half()
        for key, value in _randomised(open_clip.CustomTextCLIP(**arguments)).state_dict().items()
    }
    trunk = {key: value for key, value in tensors.items() if key.startswith("visual.trunk.")}
    text = {key: value for key, value in tensors.items() if key not in trunk}
    generator = torch.Generator().manual_seed(3)
    text["patch_head.projection.weight"] = torch.randn(15, 64, generator=generator).half()
    text["patch_head.query"] = functional.normalize(torch.randn(15, generator=generator), dim=0).half()
    _save(
        {key.removeprefix("visual.trunk."): value for key, value in trunk.items()},
        path / "image_tower.safetensors",
    )
    _save(text, path / "text_tower.safetensors")
    return path


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    safetensors.torch.save_file({key: value.contiguous() for key, value in tensors.items()}, path)


@pytest.fixture
def headless(directory: Path) -> Path:
    """The same without a patch head."""
    config = {key: value for key, value in _directory_config().items() if key != "patch_head"}
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    text = safetensors.torch.load_file(directory / "text_tower.safetensors")
    kept = {key: value for key, value in text.items() if not key.startswith("patch_head.")}
    _save(kept, directory / "text_tower.safetensors")
    return directory


@torch.inference_mode()
def test_a_model_directory_gives_the_tower_at_the_configured_size(headless: Path) -> None:
    """6 x 6 native positions become 4 x 4, resampled without smoothing; all else is open_clip's model."""
    directory = headless
    backbone = Backbone.load_directory(directory, ModelSettings(scales=(4,), device="cpu", precision="fp32"))
    assert (backbone.grid.rows, backbone.grid.cols, backbone.image_size) == (4, 4, (48, 48))
    arguments = {k: v for k, v in _directory_config()["model_cfg"].items() if k != "custom_text"}
    clip = open_clip.CustomTextCLIP(**arguments).eval()
    trunk = safetensors.torch.load_file(directory / "image_tower.safetensors")
    clip.visual.trunk.load_state_dict(trunk)
    clip.visual.set_input_size(48)
    native = trunk["pos_embed"].float()
    patches = native[:, 1:].unflatten(1, (6, 6)).permute(0, 3, 1, 2)
    patches = functional.interpolate(patches, size=(4, 4), mode="bicubic", antialias=False)
    clip.visual.trunk.pos_embed.copy_(torch.cat([native[:, :1], patches.flatten(2).mT], dim=1))
    text = safetensors.torch.load_file(directory / "text_tower.safetensors")
    clip.visual.head.proj.weight.copy_(text["visual.head.proj.weight"])
    clip.text.load_state_dict({k.removeprefix("text."): v for k, v in text.items() if k.startswith("text.")})

    features = backbone.encode_images(_pixels())
    expected = clip.encode_image(_pixels(), normalize=True)
    torch.testing.assert_close(features.image, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(features.windows[0][:, 0], expected, atol=1e-4, rtol=0)
    tokens = open_clip.tokenize(["a dented bottle"])
    torch.testing.assert_close(
        backbone.encode_text(["a dented bottle"]), clip.encode_text(tokens, normalize=True)
    )


@torch.inference_mode()
def test_the_patch_head_projects_the_tokens_of_its_blocks_side_by_side(directory: Path) -> None:
    """Both blocks' unit tokens, projected, at unit length; the image is their weighted mean."""
    features = Backbone.load_directory(
        directory, ModelSettings(device="cpu", precision="fp32")
    ).encode_images(_pixels())
    text = safetensors.torch.load_file(directory / "text_tower.safetensors")
    weight, query = (text[f"patch_head.{name}"].float() for name in ("projection.weight", "query"))
    both = torch.cat([*features.middle, features.patches], dim=-1)
    expected = functional.normalize(both @ weight.T, dim=-1)
    assert features.patch_joint is not None
    torch.testing.assert_close(features.patch_joint[..., :-1], 0.75**0.5 * expected, atol=1e-5, rtol=0)
    assert torch.equal(features.patch_joint[..., -1], torch.full((3, 16), 0.5))
    for image, patches in zip(features.image, expected, strict=True):
        weights = torch.exp(_SHARPNESS * (patches @ query))
        pooled = (weights[:, None] * patches).sum(0)
        torch.testing.assert_close(image[:-1], 0.75**0.5 * pooled / pooled.norm(), atol=1e-5, rtol=0)
        assert image[-1] == 0.5


@torch.inference_mode()
def test_a_window_of_all_patches_is_pooled_as_the_image_is(directory: Path) -> None:
    """With a patch head, too, the window path and the image path are the same function."""
    settings = ModelSettings(scales=(4,), local="both", device="cpu", precision="fp32")
    features = Backbone.load_directory(directory, settings).encode_images(_pixels())
    torch.testing.assert_close(features.windows[0][:, 0], features.image, atol=1e-5, rtol=0)


def test_what_the_map_is_made_of_decides_what_is_encoded(directory: Path) -> None:
    """Windows cost most of the time: beside aligned patch tokens they are encoded only where asked for."""
    scales = {
        local: Backbone.load_directory(
            directory, ModelSettings(local=local, device="cpu", precision="fp32")
        ).scales
        for local in ("auto", "patches", "windows", "both")
    }
    assert scales == {"auto": (), "patches": (), "windows": (2, 3), "both": (2, 3)}


def test_without_a_patch_head_the_map_is_made_of_windows(headless: Path) -> None:
    """Automatically; asked for patch tokens that do not exist, the model is refused."""
    backbone = Backbone.load_directory(headless, ModelSettings(device="cpu", precision="fp32"))
    assert backbone.scales == (2, 3)
    assert backbone.encode_images(_pixels()).patch_joint is None
    with pytest.raises(BadInput, match="own-mini has no text-aligned patch tokens"):
        Backbone.load_directory(headless, ModelSettings(local="patches", device="cpu", precision="fp32"))


def test_a_directorys_hash_names_both_files(directory: Path) -> None:
    """Retraining the text side gives another hash, under the directory's name."""
    first = Backbone.load_directory(directory, ModelSettings(device="cpu", precision="fp32"))
    _change(directory / "text_tower.safetensors", {"logit_scale": torch.tensor(1.0)})
    second = Backbone.load_directory(directory, ModelSettings(device="cpu", precision="fp32"))
    assert first.model_id == "own-mini"
    assert first.weights_hash != second.weights_hash
    assert second.weights_hash == file_hash(
        directory / "image_tower.safetensors", directory / "text_tower.safetensors"
    )


def test_a_towers_half_format_is_the_one_that_it_is_stored_in(directory: Path) -> None:
    """One tensor beyond it, and nothing is known of float16's range: bfloat16 then."""
    assert open_directory(directory).half == torch.float16
    _change(directory / "image_tower.safetensors", {"norm.weight": torch.ones(32)})
    assert open_directory(directory).half == torch.bfloat16


def test_the_preprocessing_hash_follows_size_and_statistics(directory: Path) -> None:
    """A bank taught at another size or normalisation must not fit."""
    hashes = set()
    for config in (
        _directory_config(),
        _directory_config(60),
        _directory_config() | {"preprocess_cfg": {"mean": _STD, "std": _STD}},
    ):
        (directory / "open_clip_config.json").write_text(json.dumps(config))
        hashes.add(
            Backbone.load_directory(directory, ModelSettings(device="cpu", precision="fp32")).preprocess_hash
        )
    assert len(hashes) == 3


@pytest.mark.parametrize(
    "name", ["open_clip_config.json", "image_tower.safetensors", "text_tower.safetensors"]
)
def test_a_directory_with_a_file_missing_or_cut_short_is_refused(directory: Path, name: str) -> None:
    """The line names the file."""
    path = directory / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match=name):
        Backbone.load_directory(directory, ModelSettings(device="cpu", precision="fp32"))
    path.unlink()
    with pytest.raises(BadInput, match=f"{name}: is missing"):
        Backbone.load_directory(directory, ModelSettings(device="cpu", precision="fp32"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("image_tower.safetensors", {"norm.weight": None}),
        ("text_tower.safetensors", {"visual.head.proj.weight": None}),
        ("text_tower.safetensors", {"unknown.weight": torch.zeros(1)}),
        ("text_tower.safetensors", {"patch_head.projection.weight": torch.zeros(16, 31)}),
    ],
)
def test_a_directory_whose_tensors_do_not_fit_is_refused(
    directory: Path, name: str, change: dict[str, Tensor | None]
) -> None:
    """Strictly: nothing missing, nothing more, no other shape."""
    _change(directory / name, change)
    with pytest.raises(BadInput, match=name) as caught:
        Backbone.load_directory(directory, ModelSettings(device="cpu", precision="fp32"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("described", [{"blocks": [1, 2]}, {"blocks": 2, "sharpness": 1.0}, "none"])
def test_a_patch_head_that_is_not_described_is_refused(directory: Path, described: object) -> None:
    """The line names the config, which says what the head is made of."""
    config = _directory_config() | {"patch_head": described}
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=r"open_clip_config\.json: patch_head"):
        Backbone.load_directory(directory, ModelSettings(device="cpu", precision="fp32"))


def _change(path: Path, change: dict[str, Tensor | None]) -> None:
    changed: dict[str, Tensor | None] = {**safetensors.torch.load_file(path), **change}
    _save({key: value for key, value in changed.items() if value is not None}, path)


def test_the_embedded_model_takes_no_other_weights() -> None:
    """A path beside `alfa-mini` is a mistake, not something to ignore."""
    _one_line(ModelSettings(pretrained="other.pt"), "is no directory; alfa-mini brings its own weights")


@torch.inference_mode()
def test_the_papers_backbone_loads_from_a_local_file(tmp_path: Path) -> None:
    """ViT-B-16-plus-240: hash, 15 x 15 grid, and a window of all patches equal to encode_image."""
    clip = open_clip.create_model("ViT-B-16-plus-240").eval()
    # Half precision halves the writing; the values compared are those of the file.
    tensors = {key: value.half() for key, value in clip.state_dict().items()}
    weights = tmp_path / "vit_b_16_plus_240.safetensors"
    _save(tensors, weights)
    clip.load_state_dict(tensors)
    settings = ModelSettings(
        name="ViT-B-16-plus-240", pretrained=str(weights), device="cpu", precision="fp32"
    )

    # 15 is no scale for users; it makes the one window that holds all patches.
    backbone = Backbone.load(settings.model_copy(update={"scales": (15,)}))

    assert backbone.weights_hash == file_hash(weights)
    assert (backbone.grid.rows, backbone.grid.cols, backbone.embed_dim, backbone.patch_dim) == (
        15,
        15,
        640,
        896,
    )
    pixels = _pixels(1, backbone.image_size)
    features = backbone.encode_images(pixels)
    expected = clip.encode_image(pixels, normalize=True)
    torch.testing.assert_close(features.windows[0][:, 0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(features.image, expected, atol=1e-4, rtol=0)
