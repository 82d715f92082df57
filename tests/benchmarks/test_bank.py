"""The bank's benchmark: the same neighbours on all sides, and a row for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.bank import faiss_indices, faiss_search, made_up_features, numpy_search, run, teach
from benchmarks.suite import Effort

_ROWS = [np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)]
_QUERIES = [np.array([[0.8, 0.6], [0.0, -1.0]], np.float32)]


def test_numpys_neighbours_by_hand() -> None:
    """0.8 0.6 + 0.6 0.8 = 0.96 to the second row; 0 to the first, which is less far than -0.8."""
    (found,) = numpy_search(_ROWS, _QUERIES)
    torch.testing.assert_close(found, torch.tensor([0.96, 0.0]))


@pytest.mark.parametrize(("kind", "expected"), [("IndexFlatIP", [0.96, 0.0]), ("IndexFlatL2", [0.08, 2.0])])
def test_faiss_neighbours_by_hand(kind: str, expected: list[float]) -> None:
    """Cosines, or 2 - 2 cos."""
    faiss = pytest.importorskip("faiss", reason="faiss is not installed (the `peers` extra)")
    (found,) = faiss_search(faiss_indices(faiss, kind, _ROWS), _QUERIES)
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_lesson_is_written_and_its_features_are_the_same_in_every_run(tmp_path: Path) -> None:
    """One part of 256 patches in three levels."""
    lesson = teach(1, tmp_path)
    assert lesson.file.exists()
    assert lesson.seconds > 0
    assert torch.equal(made_up_features(1, seed=3).patches, made_up_features(1, seed=3).patches)


def test_every_size_has_rows_of_ours_of_the_peers_and_of_teaching() -> None:
    """Quick: one part, sixteen, and more than a bank keeps; faiss says so where it is missing."""
    rows = run(Effort(quick=True))
    for images in (1, 16, 24):
        names = {row.what.split(",")[0].split(" ")[0] for row in rows if f" {images} taught" in row.what}
        assert names == {"ours", "numpy", "faiss"}
        assert {f"teaching {images} images", f"memory for teaching {images} images"} <= {
            row.what for row in rows
        }
