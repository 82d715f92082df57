"""Rows through a tower: the same function as the library's own, and what is kept or left out on the way."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import timm
import torch
from torch import Tensor

from alfa.blocks import OpaqueBlock, PlainBlock, Run
from alfa.errors import BadInput
from alfa.passes import Tower, Traced, middle_blocks, read_out, trace
from alfa.towers import OpenClipTower, TimmTower

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


def _traced(tower: Tower, tokens: Tensor, value_blocks: tuple[int, ...] = ()) -> Traced:
    rows, packing = tokens.flatten(0, 1), [Run(*tokens.shape[:2])]
    (traced,) = trace(tower, rows, packing, tower.blocks[0].project(rows), value_blocks).unpacked(packing)
    return traced


def _through(blocks: list[Any], tokens: Tensor) -> Tensor:
    for block in blocks:
        tokens = block(tokens)
    return tokens


@torch.inference_mode()
def test_rows_go_through_as_through_the_librarys_own_blocks(tower: tuple[Tower, list[Any]]) -> None:
    """Step by step is the same function as block by block."""
    towers, blocks = tower
    tokens = _tokens(towers)
    traced = _traced(towers, tokens, (2, 4))
    expected = towers.norm(_through(blocks, tokens))
    torch.testing.assert_close(traced.hidden, expected, atol=1e-5, rtol=1e-5)
    assert [tuple(value.shape) for value in traced.values] == [tuple(tokens.shape)] * 2


@torch.inference_mode()
def test_sequences_of_two_lengths_do_not_see_each_other(tower: tuple[Tower, list[Any]]) -> None:
    """Packed behind each other, each gives what it gives alone."""
    towers, blocks = tower
    tokens = _tokens(towers)
    short, long = tokens[:, :3], tokens[:1, 3:9]
    rows = torch.cat([short.flatten(0, 1), long.flatten(0, 1)])
    packing = [Run(2, 3), Run(1, 6)]
    traced = trace(towers, rows, packing, towers.blocks[0].project(rows)).unpacked(packing)
    for found, alone in zip(traced, (short, long), strict=True):
        torch.testing.assert_close(found.hidden, towers.norm(_through(blocks, alone)), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_rows_that_are_read_out_equal_those_of_the_whole_pass(tower: tuple[Tower, list[Any]]) -> None:
    """What the last block leaves out is of no account for the rows that are asked for."""
    towers, _ = tower
    tokens = _tokens(towers)
    rows, packing, read = tokens.flatten(0, 1), [Run(*tokens.shape[:2])], torch.tensor([0, 5, 17])
    projected = towers.blocks[0].project(rows)
    whole = trace(towers, rows, packing, projected).hidden
    torch.testing.assert_close(
        read_out(towers, rows, packing, projected, read), whole[read], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(read_out(towers, rows, packing, projected, None), whole, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_towers_of_this_file_are_taken_apart(tower: tuple[Tower, list[Any]]) -> None:
    """A change in a library that hides its blocks from us would cost speed in silence."""
    assert all(isinstance(block, PlainBlock) for block in tower[0].blocks)


@torch.inference_mode()
def test_a_block_of_another_kind_is_run_as_it_is() -> None:
    """Norms inside the MLP are nothing that we take apart; the function stays the library's."""
    tower, blocks = _own_tower(scale_fc=True, scale_attn=True)
    assert all(isinstance(block, OpaqueBlock) for block in tower.blocks)
    tokens = _tokens(tower)
    torch.testing.assert_close(_traced(tower, tokens).hidden, _through(blocks, tokens), atol=1e-5, rtol=1e-5)
    rows, packing, read = tokens.flatten(0, 1), [Run(*tokens.shape[:2])], torch.tensor([17])
    found = read_out(tower, rows, packing, tower.blocks[0].project(rows), read)
    torch.testing.assert_close(found, _through(blocks, tokens)[1:, 0], atol=1e-5, rtol=1e-5)


def test_a_block_of_another_kind_has_no_value_vectors() -> None:
    """An aligner that reads them is refused in one line."""
    tower, _ = _own_tower(scale_fc=True)
    with pytest.raises(BadInput, match=r"aligner.*choose rank-one"):
        tower.blocks[0].values(torch.zeros(1, 32))


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
    found = iter(_traced(towers, tokens, (1, 3, 4)).values)
    for number, block in enumerate(blocks, start=1):
        if number in (1, 3, 4):
            expected = towers.norm(_alone(block, tokens))
            torch.testing.assert_close(next(found), expected, atol=1e-5, rtol=1e-5)
        tokens = block(tokens)
    assert next(found, None) is None


@torch.inference_mode()
def test_middle_tokens_are_those_after_half_and_three_quarters_of_the_blocks(
    tower: tuple[Tower, list[Any]],
) -> None:
    """Block by block by hand; on timm's towers through the final norm, as its own intermediate layers are."""
    towers, blocks = tower
    tokens = _tokens(towers)
    found = iter(_traced(towers, tokens).middle)
    for number, block in enumerate(blocks, start=1):
        tokens = block(tokens)
        if number in middle_blocks(len(blocks)):
            torch.testing.assert_close(next(found), towers.norm(tokens), atol=1e-5, rtol=1e-5)
    assert next(found, None) is None


@pytest.mark.parametrize(("depth", "middle"), [(1, ()), (2, (1,)), (3, (1, 2)), (12, (6, 9)), (24, (12, 18))])
def test_middle_blocks_lie_inside_the_tower(depth: int, middle: tuple[int, ...]) -> None:
    """Neither the first embedding nor the last block is a middle one."""
    assert middle_blocks(depth) == middle


def test_layer_scale_ends_up_in_the_projections() -> None:
    """Built from the same seed with and without taking apart, the library's blocks are the same function."""
    config = {"timm_model_name": "values_layerscale", "timm_pool": "token", "image_size": 48}
    torch.manual_seed(0)
    plain = open_clip.CustomTextCLIP(embed_dim=32, vision_cfg=config, text_cfg=_TEXT).visual.eval()
    torch.manual_seed(0)
    absorbed = open_clip.CustomTextCLIP(embed_dim=32, vision_cfg=config, text_cfg=_TEXT).visual.eval()
    TimmTower(absorbed)
    assert isinstance(absorbed.trunk.blocks[0].ls1, torch.nn.Identity)
    pixels = torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(absorbed(pixels), plain(pixels), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_values_do_not_depend_on_the_other_tokens_of_their_block() -> None:
    """Only attention looks at others: in the first block, other tokens change nothing."""
    tower, _ = _own_tower()
    tokens = _tokens(tower, 1)
    changed = tokens.clone()
    changed[:, 5] = changed[:, 5].flip(-1)
    before, after = (_traced(tower, each, (1,)).values[0] for each in (tokens, changed))
    others = [index for index in range(tokens.shape[1]) if index != 5]
    torch.testing.assert_close(before[:, others], after[:, others])
    assert not torch.allclose(before[:, 5], after[:, 5])
