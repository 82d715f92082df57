"""The memory bank against brute force, its coreset, and files that do not fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from alfa.backbone import ImageFeatures
from alfa.errors import BadInput
from alfa.memory import MemoryBank, greedy_coreset, nearest_distance
from alfa.windows import Grid, harmonic_aggregate, window_layout

_GRID = Grid(3, 4)


@dataclass(frozen=True, slots=True)
class Source:
    """The names of a model, as a bank records them."""

    model_id: str = "tiny"
    weights_hash: str = "a" * 16
    preprocess_hash: str = "b" * 16
    grid: Grid = _GRID
    scales: tuple[int, ...] = (2, 3)


SOURCE = Source()


def _unit(*shape: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def _features(batch: int, seed: int) -> ImageFeatures:
    return ImageFeatures(
        grid=SOURCE.grid,
        image=_unit(batch, 6, seed=seed),
        windows=(_unit(batch, 6, 6, seed=seed + 1), _unit(batch, 2, 6, seed=seed + 2)),
        patches=_unit(batch, 12, 8, seed=seed + 3),
        patch_joint=None,
    )


def _bank(batch: int = 2, seed: int = 50) -> MemoryBank:
    return MemoryBank.build([_features(batch, seed)], SOURCE, [f"{index:016x}" for index in range(batch)])


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.integers(0, 500))
def test_nearest_distance_equals_brute_force(batch: int, queries: int, rows: int, seed: int) -> None:
    """(1 - cos) / 2 to every row, then the smallest."""
    q, r = _unit(batch, queries, 5, seed=seed), _unit(rows, 5, seed=seed + 1)
    expected = ((1 - functional.cosine_similarity(q[:, :, None], r, dim=-1)) / 2).amin(dim=2)
    torch.testing.assert_close(nearest_distance(q, r), expected, rtol=1e-4, atol=1e-6)


def test_many_rows_are_searched_in_chunks_with_the_same_result() -> None:
    """4000 queries against 6000 rows exceed one chunk."""
    q, r = _unit(1, 4000, 4, seed=1), _unit(6000, 4, seed=2)
    expected = (1 - (q[0] @ r.T).amax(dim=1)) / 2
    torch.testing.assert_close(nearest_distance(q, r)[0], expected.clamp(0, 1), rtol=1e-4, atol=1e-6)


def test_distances_by_hand() -> None:
    """The same direction is 0 apart, a right angle 1/2, the opposite 1."""
    queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
    assert nearest_distance(queries, torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 0.5, 1.0]]


@given(st.integers(1, 3), st.integers(0, 200))
def test_the_map_is_the_mean_of_the_levels_brute_force_distances(batch: int, seed: int) -> None:
    """Windows spread to patches harmonically, patches as they are, then the arithmetic mean of the levels."""
    bank, features = _bank(), _features(batch, seed)
    maps = []
    for level, queries in (("window-2", features.windows[0]), ("window-3", features.windows[1])):
        similarities = functional.cosine_similarity(queries[:, :, None], bank.levels[level].float(), dim=-1)
        layout = window_layout(SOURCE.grid, int(level[-1]))
        maps.append(harmonic_aggregate((1 - similarities.amax(dim=2)) / 2, layout))
    similarities = functional.cosine_similarity(
        features.patches[:, :, None], bank.levels["patch"].float(), dim=-1
    )
    maps.append((1 - similarities.amax(dim=2)) / 2)
    torch.testing.assert_close(bank.distances(features), torch.stack(maps).mean(dim=0), rtol=1e-4, atol=1e-5)


def test_a_taught_image_is_at_distance_zero() -> None:
    """Up to the rounding of float16 rows."""
    features = _features(2, seed=9)
    bank = MemoryBank.build([features], SOURCE, ["x", "y"])
    assert bank.distances(features).max() < 1e-5


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
    """Three images have 36 patches and 18 + 6 windows; the cap of 5 holds each level."""
    bank = MemoryBank.build([_features(3, seed=4)], SOURCE, ["x", "y", "z"], cap=5)
    assert {level: len(rows) for level, rows in bank.levels.items()} == {
        "window-2": 5,
        "window-3": 5,
        "patch": 5,
    }


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 200))
def test_a_coreset_holds_rows_of_the_bank_each_once(rows: int, cap: int, seed: int) -> None:
    """min(rows, cap) different rows, none invented."""
    all_rows = _unit(rows, 4, seed=seed)
    coreset = greedy_coreset(all_rows, cap)
    places = torch.cdist(coreset, all_rows).argmin(dim=1)
    assert torch.equal(all_rows[places], coreset)
    assert len(set(places.tolist())) == min(rows, cap)


def test_the_coreset_covers_a_rare_cluster() -> None:
    """Ninety-nine rows in one place and one in another: a coreset of two has both."""
    common = functional.normalize(torch.tensor([1.0, 0.0, 0.0]) + 0.01 * _unit(99, 3, seed=1), dim=1)
    rare = torch.tensor([[0.0, 1.0, 0.0]])
    coreset = greedy_coreset(torch.cat([common, rare]), cap=2)
    assert (coreset @ rare[0]).max() == 1


def test_a_coreset_of_wide_rows_is_chosen_in_a_projection_and_reproducible() -> None:
    """Wider than the projection: same seed, same choice; still as many rows as asked."""
    rows = _unit(50, 200, seed=3)
    first = greedy_coreset(rows, cap=10, seed=1)
    assert torch.equal(first, greedy_coreset(rows, cap=10, seed=1))
    assert first.shape == (10, 200)


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
        ("scales", Source(scales=(2,))),
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
