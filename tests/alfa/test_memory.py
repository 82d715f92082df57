"""The memory bank against brute force, its coreset, and files that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from alfa.errors import BadInput
from alfa.features import ImageFeatures
from alfa.memory import MemoryBank
from alfa.windows import Grid

_GRID = Grid(3, 4)


@dataclass(frozen=True, slots=True)
class Source:
    """The names of a model, as a bank records them."""

    model_id: str = "tiny"
    weights_hash: str = "a" * 16
    preprocess_hash: str = "b" * 16
    grid: Grid = _GRID
    patch_blocks: tuple[int, ...] = (1, 2)


SOURCE = Source()


def _unit(*shape: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def _features(batch: int, seed: int, grid: Grid = _GRID) -> ImageFeatures:
    return ImageFeatures(
        grid=grid,
        image=_unit(batch, 6, seed=seed),
        windows=(),
        patches=_unit(batch, grid.patches, 8, seed=seed + 1),
        patch_joint=None,
        middle=(_unit(batch, grid.patches, 8, seed=seed + 2),),
    )


def _bank(batch: int = 2, seed: int = 50) -> MemoryBank:
    return MemoryBank.build([_features(batch, seed)], SOURCE, [f"{index:016x}" for index in range(batch)])


def _brute_force(tokens: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
    """(1 - cos to the nearest row) / 2 of a middle block, d, and of the last, e: (d^2 e)^(1/3)."""
    d, e = (
        ((1 - functional.cosine_similarity(own[..., None, :], theirs, dim=-1).amax(dim=-1)) / 2).clamp_min(
            1e-5
        )
        for own, theirs in zip(tokens, rows, strict=True)
    )
    return (d * d * e) ** (1 / 3)


@given(st.integers(1, 3), st.integers(0, 200))
def test_the_map_is_the_geometric_mean_of_the_levels_in_typical_distances(batch: int, seed: int) -> None:
    """Against brute force over the bank's own rows."""
    bank, features = _bank(), _features(batch, seed)
    rows = [bank.levels[level].float() for level in ("block-1", "block-2")]
    expected = _brute_force([*features.middle, features.patches], rows) / bank.info.typical
    torch.testing.assert_close(bank.distances(features), expected, rtol=1e-3, atol=1e-3)


@given(st.integers(2, 4), st.integers(0, 200))
def test_the_typical_distance_is_that_of_each_good_part_to_the_others(images: int, seed: int) -> None:
    """Leave one out by hand; it does not matter that the parts came in two batches of other shapes."""
    batches = [_features(1, seed), _features(images - 1, seed + 10, Grid(2, 5))]
    bank = MemoryBank.build(batches, SOURCE, ["x"] * images)
    parts = [
        [level[index] for level in (*batch.middle, batch.patches)]
        for batch in batches
        for index in range(len(batch.image))
    ]
    left_out = []
    for number, part in enumerate(parts):
        others = [torch.cat(level) for level in zip(*(parts[:number] + parts[number + 1 :]), strict=True)]
        left_out.append(_brute_force(part, others))
    assert bank.info.typical == pytest.approx(float(torch.cat(left_out).mean()), rel=1e-3)


def test_one_part_tells_what_is_typical_by_its_patches_that_are_no_neighbours() -> None:
    """Four patches in a row, as directions in a plane: 0 and 2 and 1 and 3 are two apart, 0 and 3 three."""
    degrees = torch.tensor([0.0, 10.0, 60.0, 40.0])
    directions = torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)[None]
    part = replace(_features(1, 0, Grid(1, 4)), patches=directions, middle=(directions,))
    bank = MemoryBank.build([part], SOURCE, ["x"])
    nearest = torch.tensor([40.0, 30.0, 60.0, 30.0])
    assert bank.info.typical == pytest.approx(float(((1 - nearest.deg2rad().cos()) / 2).mean()), rel=1e-4)


def test_the_same_part_taught_twice_leaves_distances_finite() -> None:
    """Its distance to itself is nothing; a smallest unit stands in."""
    features = _features(1, seed=9)
    bank = MemoryBank.build([features, features], SOURCE, ["x", "x"])
    distances = bank.distances(_features(2, seed=1))
    assert bank.info.typical == pytest.approx(1e-3)
    assert torch.isfinite(distances).all()


def test_many_taught_parts_are_sampled_for_the_typical_distance() -> None:
    """Forty parts: every third one is left out, which is what these fourteen give by hand."""
    features = _features(40, seed=2, grid=Grid(1, 2))
    bank = MemoryBank.build([features], SOURCE, ["x"] * 40)
    left_out = []
    for number in range(0, 40, 3):
        others = [index for index in range(40) if index != number]
        tokens = (*features.middle, features.patches)
        rows = [level[others].flatten(0, 1) for level in tokens]
        left_out.append(_brute_force([level[number] for level in tokens], rows))
    assert bank.info.typical == pytest.approx(float(torch.cat(left_out).mean()), rel=1e-3)


def test_a_taught_image_is_at_distance_zero() -> None:
    """Up to the floor that the geometric mean needs."""
    features = _features(2, seed=9)
    bank = MemoryBank.build([features], SOURCE, ["x", "y"])
    assert bank.distances(features).max() * bank.info.typical < 1.1e-5


def test_parts_taught_in_other_orientations_are_near_as_well() -> None:
    """Their rows are in the bank; what is typical is still told by the upright ones."""
    upright, turned = _features(2, seed=9), _features(2, seed=30)
    plain = MemoryBank.build([upright], SOURCE, ["x", "y"])
    bank = MemoryBank.build([upright], SOURCE, ["x", "y"], turned=[turned], turns=4)
    assert bank.distances(turned).max() * bank.info.typical < 1.1e-5
    assert plain.distances(turned).min() > 0.01
    assert bank.info.typical == plain.info.typical
    assert (bank.images, bank.info.turns) == (2, 4)


def test_a_batch_equals_its_images_one_by_one() -> None:
    """No image's distances depend on its neighbours."""
    bank, features = _bank(), _features(4, seed=3)
    single = torch.cat([bank.distances(features.select([index])) for index in range(4)])
    torch.testing.assert_close(bank.distances(features), single)


def test_batches_and_images_taught_together_give_the_same_bank() -> None:
    """How the teaching was cut into batches leaves no trace."""
    features = _features(3, seed=4)
    whole = MemoryBank.build([features], SOURCE, ["x", "y", "z"])
    parts = MemoryBank.build([features.select([0]), features.select([1, 2])], SOURCE, ["x", "y", "z"])
    assert whole.content_hash == parts.content_hash


def test_an_empty_bank_is_refused() -> None:
    """No images, no bank."""
    with pytest.raises(BadInput, match="at least one good image"):
        MemoryBank.build([], SOURCE, [])


def test_the_cap_bounds_every_level() -> None:
    """Three images have 36 patches a level; the cap of 5 holds each."""
    bank = MemoryBank.build([_features(3, seed=4)], SOURCE, ["x", "y", "z"], cap=5)
    assert {level: len(rows) for level, rows in bank.levels.items()} == {"block-1": 5, "block-2": 5}


def test_a_saved_bank_comes_back_the_same(tmp_path: Path) -> None:
    """Rows, information and hash survive the file."""
    bank = _bank()
    bank.save(tmp_path / "bank.safetensors")
    loaded = MemoryBank.load(tmp_path / "bank.safetensors")
    assert loaded.info == bank.info
    assert loaded.content_hash == bank.content_hash
    assert all(torch.equal(loaded.levels[level], rows) for level, rows in bank.levels.items())
    assert {rows.dtype for rows in loaded.levels.values()} == {torch.float16}


def test_other_parts_give_another_hash() -> None:
    """The hash in a verdict tells banks apart."""
    assert _bank(seed=1).content_hash != _bank(seed=2).content_hash


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("model_id", Source(model_id="other")),
        ("weights_hash", Source(weights_hash="c" * 16)),
        ("grid", Source(grid=Grid(4, 3))),
        ("blocks", Source(patch_blocks=(2,))),
        ("preprocess_hash", Source(preprocess_hash="d" * 16)),
    ],
)
def test_a_bank_of_another_model_is_refused_by_field(field: str, other: Source) -> None:
    """The line names what differs and what to do."""
    with pytest.raises(BadInput, match=rf"bank\.safetensors: {field} = .*teach it again"):
        _bank().require_match(other, "bank.safetensors")


def test_a_bank_of_the_same_model_is_accepted() -> None:
    """Nothing to refuse."""
    _bank().require_match(replace(SOURCE), "bank.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 200, -10])
def test_a_bank_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    """Wherever the copy stopped."""
    path = tmp_path / "bank.safetensors"
    _bank().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match="teach it again"):
        MemoryBank.load(path)


def test_changed_rows_are_refused(tmp_path: Path) -> None:
    """A flipped bit in the rows does not go unseen."""
    path = tmp_path / "bank.safetensors"
    _bank().save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match="content_hash"):
        MemoryBank.load(path)


def test_a_bank_of_another_version_is_refused(tmp_path: Path) -> None:
    """The schema version is read before anything else."""
    path = tmp_path / "bank.safetensors"
    bank = _bank()
    metadata = {"schema_version": "9", "bank": bank.info.model_dump_json(), "content_hash": bank.content_hash}
    safetensors.torch.save_file(bank.levels, path, metadata)
    with pytest.raises(BadInput, match="schema_version = '9'"):
        MemoryBank.load(path)


def test_a_file_of_weights_is_no_bank(tmp_path: Path) -> None:
    """A safetensors file without a bank's description."""
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(BadInput, match="no memory bank"):
        MemoryBank.load(path)


def test_a_missing_bank_is_refused(tmp_path: Path) -> None:
    """And the line says how to make one."""
    with pytest.raises(BadInput, match="alfa-bank teach"):
        MemoryBank.load(tmp_path / "none.safetensors")


def _part_on_background(batch: int, seed: int) -> ImageFeatures:
    """6 x 6 patches; the inner 4 x 4 look one way, the ring around them another, both with a little noise."""
    grid = Grid(6, 6)
    inside = torch.zeros(6, 6, dtype=torch.bool)
    inside[1:-1, 1:-1] = True
    axis = torch.where(inside.flatten(), 1.0, -1.0)[None, :, None] * torch.eye(8)[0]
    noise = 0.1 * torch.randn(batch, grid.patches, 8, generator=torch.Generator().manual_seed(seed))
    tokens = functional.normalize(axis + torch.eye(8)[1] + noise, dim=-1)
    return replace(_features(batch, seed, grid), patches=tokens, middle=(tokens,))


def test_the_background_of_a_part_is_at_distance_zero_where_asked() -> None:
    """The corner is background and more than one patch from the part; the part is as far as ever."""
    taught = _part_on_background(3, seed=1)
    bank = MemoryBank.build([taught], replace(SOURCE, grid=taught.grid), ["x", "y", "z"])
    far, shown = Grid(8, 8), torch.zeros(8, 8)
    shown[3:5, 3:5] = 1
    axis = (2 * shown.flatten() - 1)[None, :, None] * torch.eye(8)[0] + 0.9 * torch.eye(8)[1:3].sum(dim=0)
    tokens = functional.normalize(axis, dim=-1)
    features = replace(_features(1, 5, far), patches=tokens, middle=(tokens,))
    masked, whole = bank.distances(features)[0], bank.distances(features, foreground=False)[0]
    assert masked[0] == 0
    assert whole[0] > 0
    assert masked[3 * 8 + 3] == whole[3 * 8 + 3]


def test_a_saved_foreground_comes_back_the_same(tmp_path: Path) -> None:
    """And belongs to the hash."""
    taught = _part_on_background(3, seed=1)
    bank = MemoryBank.build([taught], replace(SOURCE, grid=taught.grid), ["x", "y", "z"])
    bank.save(tmp_path / "bank.safetensors")
    loaded = MemoryBank.load(tmp_path / "bank.safetensors")
    assert loaded.foreground is not None
    assert bank.foreground is not None
    for name, tensor in bank.foreground.tensors().items():
        assert torch.equal(loaded.foreground.tensors()[name], tensor)
    query = _part_on_background(2, seed=7)
    torch.testing.assert_close(loaded.distances(query), bank.distances(query))
    changed = replace(bank, foreground=replace(bank.foreground, usual=1 - bank.foreground.usual))
    changed.save(tmp_path / "changed.safetensors")
    with pytest.raises(BadInput, match="content_hash"):
        MemoryBank.load(tmp_path / "changed.safetensors")
