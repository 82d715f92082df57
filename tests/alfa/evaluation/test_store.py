"""Results in a real file: what is kept, what is still to do, and what is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from alfa.errors import BadInput, Fault
from alfa.evaluation.datasets import Dataset, LabelledImage, read_dataset
from alfa.evaluation.store import FILE_NAME, Judged, JudgedImage, ResultStore

MAP = np.linspace(-1, 1, 12).reshape(3, 4).astype(np.float16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the fixture `store` has its file."""
    return tmp_path / "out" / FILE_NAME


def _judged(image: LabelledImage, *variants: str) -> JudgedImage:
    return JudgedImage(image, (48, 36), {name: Judged(0.25, MAP, 0.5, None) for name in variants})


def test_what_was_added_is_read_by_the_next_run(store: ResultStore, path: Path, dataset: Dataset) -> None:
    """Scores to the last bit, maps value by value, through another connection."""
    store.add(dataset, [_judged(dataset.test[0], "a", "b")])
    store.close()
    with closing(ResultStore(path)) as again:
        known = again.read(dataset, dataset.test[0])
    assert known.size == (48, 36)
    assert set(known.by) == {"a", "b"}
    one = known.by["a"]
    assert (one.score, one.s_global, one.s_local_max) == (0.25, 0.5, None)
    assert np.array_equal(one.patch_map, MAP)
    assert one.patch_map.dtype == np.float16


def test_an_image_is_pending_until_every_variant_is_there(store: ResultStore, dataset: Dataset) -> None:
    """One with a single variant is still to do, one with both is not."""
    first, second, *others = dataset.test
    store.add(dataset, [_judged(first, "a"), _judged(second, "a", "b")])
    assert store.pending(dataset, ["a", "b"]) == [first, *others]
    assert store.pending(dataset, ["a"]) == others


def test_an_image_that_became_another_file_is_judged_again(store: ResultStore, dataset: Dataset) -> None:
    """Its size on disk changed."""
    store.add(dataset, [_judged(image, "a") for image in dataset.test])
    changed = dataset.test[3]
    changed.path.write_bytes(changed.path.read_bytes() + b"\0")
    assert store.pending(dataset, ["a"]) == [changed]


def test_a_moved_data_set_is_still_the_same(store: ResultStore, dataset: Dataset, tmp_path: Path) -> None:
    """Images are known by their place within their class."""
    store.add(dataset, [_judged(image, "a") for image in dataset.test])
    (tmp_path / "elsewhere").mkdir()
    moved = dataset.directory.rename(tmp_path / "elsewhere" / "plate")
    assert store.pending(read_dataset(moved), ["a"]) == []


def test_another_identity_is_refused(store: ResultStore, dataset: Dataset) -> None:
    """Scores of two models are never mixed; the line names variant and remedy."""
    store.claim(dataset, {"a": "model 1"})
    store.claim(dataset, {"a": "model 1", "b": "model 1"})
    with pytest.raises(BadInput, match=r"results\.sqlite: plate = 'a': .*--restart"):
        store.claim(dataset, {"a": "model 2"})


def test_a_restart_forgets(store: ResultStore, path: Path, dataset: Dataset) -> None:
    """Results and identities both."""
    store.claim(dataset, {"a": "model 1"})
    store.add(dataset, [_judged(dataset.test[0], "a")])
    store.close()
    with closing(ResultStore(path, restart=True)) as fresh:
        fresh.claim(dataset, {"a": "model 2"})
        assert fresh.pending(dataset, ["a"]) == list(dataset.test)


def test_a_file_of_another_kind_is_refused_and_kept(path: Path) -> None:
    """It may be somebody's."""
    path.parent.mkdir()
    path.write_text("a diary, long enough not to be taken for an empty data base" * 20)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="holds no results of this program"):
        ResultStore(path)
    assert path.read_bytes() == before


def test_another_version_is_refused(store: ResultStore, path: Path) -> None:
    """Naming the version that is read."""
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(BadInput, match="version = 7: this release reads version 1"):
        ResultStore(path)


def test_a_file_that_cannot_be_written_is_a_fault(store: ResultStore, path: Path, dataset: Dataset) -> None:
    """Somebody else holds it for writing; nothing of the batch is kept."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Fault, match="not_written"):
            store.add(dataset, [_judged(dataset.test[0], "a")])
        other.execute("ROLLBACK")
    assert store.pending(dataset, ["a"]) == list(dataset.test)
