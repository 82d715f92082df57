"""Value vectors of a tower's last blocks: the pass that gives them, and what they are."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import timm
import torch
from torch import Tensor

from alfa.towers import OpenClipTower, TimmTower, Tower, middle_blocks

_TRUNK = {"img_size": 48, "patch_size": 12, "embed_dim": 32, "depth": 4, "num_heads": 2}
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


def _trunk(name: str, arguments: dict[str, Any], **kind: Any) -> timm.models.VisionTransformer:
    chosen = _TRUNK | kind | arguments
    return timm.models.build_model_with_cfg(
        timm.models.VisionTransformer, name, **{"pretrained": False} | chosen
    )


def values_layerscale(**arguments: Any) -> timm.models.VisionTransformer:
    """A class token, LayerScale and a norm before the projection."""
    return _trunk("values_layerscale", arguments, init_values=0.5, scale_attn_norm=True)


def values_no_bias(**arguments: Any) -> timm.models.VisionTransformer:
    """No prefix token, no bias in the attention, an attention pool."""
    return _trunk("values_no_bias", arguments, class_token=False, global_pool="map", qkv_bias=False)


for _builder in (values_layerscale, values_no_bias):
    timm.models.register_model(_builder)


def _randomised(module: torch.nn.Module) -> Any:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


def _timm_tower(name: str, pool: str) -> tuple[Tower, list[Any]]:
    config = {"timm_model_name": name, "timm_pool": pool, "timm_proj": "linear", "image_size": 48}
    visual = _randomised(open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=config, text_cfg=_TEXT).visual)
    return TimmTower(visual), list(visual.trunk.blocks)


def _own_tower(**changes: Any) -> tuple[Tower, list[Any]]:
    config = {"image_size": 48, "layers": 4, "width": 32, "head_width": 16, "patch_size": 12} | changes
    visual = _randomised(open_clip.CLIP(embed_dim=16, vision_cfg=config, text_cfg=_TEXT).visual)
    return OpenClipTower(visual), list(visual.transformer.resblocks)


_TOWERS = {
    "own": lambda: _own_tower(),
    "own-layerscale": lambda: _own_tower(ls_init_value=0.5),
    "timm-layerscale": lambda: _timm_tower("values_layerscale", "token"),
    "timm-no-bias": lambda: _timm_tower("values_no_bias", "map"),
}


@pytest.fixture(scope="module", params=list(_TOWERS))
def tower(request: pytest.FixtureRequest) -> tuple[Tower, list[Any]]:
    """A tower and its blocks."""
    return _TOWERS[request.param]()


def _tokens(tower: Tower, count: int = 2) -> Tensor:
    pixels = torch.randn(count, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    return tower.embed(pixels)


@torch.inference_mode()
def test_the_pass_that_gives_values_equals_the_whole_one(tower: tuple[Tower, list[Any]]) -> None:
    """Block by block is the same function as the tower's own forward."""
    tokens = _tokens(tower[0])
    hidden, _, values = tower[0].trace(tokens, (2, 4))
    torch.testing.assert_close(hidden, tower[0].transform(tokens), atol=1e-5, rtol=1e-5)
    assert [tuple(value.shape) for value in values] == [tuple(tokens.shape)] * 2


def _alone(block: Any, tokens: Tensor) -> Tensor:
    """What the attention of a block adds to each token where every token is a sequence of its own."""
    single = tokens.flatten(0, 1)[:, None]
    if hasattr(block, "ln_1"):
        added = block.ls_1(block.attention(block.ln_1(single)))
    else:
        added = block.ls1(block.attn(block.norm1(single)))
    return added.view_as(tokens)  # type: ignore[no-any-return]


@torch.inference_mode()
def test_a_value_is_what_attention_gives_a_token_that_is_alone(tower: tuple[Tower, list[Any]]) -> None:
    """A softmax over one key is 1: attention then returns the token's value through the projection."""
    towers, blocks = tower
    tokens = _tokens(towers)
    found = iter(towers.trace(tokens, (1, 3, 4)).values)
    # `pool` of the open_clip tower holds the final norm, timm's `transform` applies it.
    norm = torch.nn.Identity() if isinstance(towers, OpenClipTower) else _final_norm(towers)
    for number, block in enumerate(blocks, start=1):
        if number in (1, 3, 4):
            torch.testing.assert_close(next(found), norm(_alone(block, tokens)), atol=1e-5, rtol=1e-5)
        tokens = block(tokens)
    assert next(found, None) is None


@torch.inference_mode()
def test_middle_tokens_are_those_after_half_and_three_quarters_of_the_blocks(
    tower: tuple[Tower, list[Any]],
) -> None:
    """Block by block by hand; on timm's towers through the final norm, as its own intermediate layers are."""
    towers, blocks = tower
    tokens = _tokens(towers)
    middle = towers.trace(tokens).middle
    norm = torch.nn.Identity() if isinstance(towers, OpenClipTower) else _final_norm(towers)
    found = iter(middle)
    for number, block in enumerate(blocks, start=1):
        tokens = block(tokens)
        if number in middle_blocks(len(blocks)):
            torch.testing.assert_close(next(found), norm(tokens), atol=1e-5, rtol=1e-5)
    assert next(found, None) is None


@pytest.mark.parametrize(("depth", "middle"), [(1, ()), (2, (1,)), (3, (1, 2)), (12, (6, 9)), (24, (12, 18))])
def test_middle_blocks_lie_inside_the_tower(depth: int, middle: tuple[int, ...]) -> None:
    """Neither the first embedding nor the last block is a middle one."""
    assert middle_blocks(depth) == middle


def _final_norm(tower: Tower) -> Any:
    return tower._trunk.norm  # type: ignore[attr-defined]


@torch.inference_mode()
def test_values_do_not_depend_on_the_other_tokens_of_their_block() -> None:
    """Only attention looks at others: in the first block, other tokens change nothing."""
    tower, _ = _own_tower()
    tokens = _tokens(tower, 1)
    changed = tokens.clone()
    changed[:, 5] = changed[:, 5].flip(-1)
    before, after = (tower.trace(each, (1,)).values[0] for each in (tokens, changed))
    others = [index for index in range(tokens.shape[1]) if index != 5]
    torch.testing.assert_close(before[:, others], after[:, others])
    assert not torch.allclose(before[:, 5], after[:, 5])
