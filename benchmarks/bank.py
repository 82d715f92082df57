"""The memory bank's search beside faiss and numpy on the same rows, and teaching thousands of parts."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alfa.distances import level_tokens
from alfa.features import ImageFeatures
from alfa.memory import MemoryBank
from alfa.teaching import Teaching
from alfa.windows import Grid
from benchmarks.peers_speed import peer_module, require_equal
from benchmarks.suite import Benchmark, Effort, Row, Unavailable
from benchmarks.timing import Timing, in_turn, times_faster, torch_threads

# Of alfa-mini: three blocks of 16 x 16 patches, 384 wide.
_GRID = Grid(16, 16)
_WIDTH = 384
_TAUGHT = (1, 16, 100, 1000, 4000)
_TAUGHT_QUICKLY = (1, 16, 24)
_AT_ONCE = 8
_ROUNDS = 15
# float32 sums in another order; a squared Euclidean distance of unit vectors is 2 - 2 cos.
_EQUAL = 5e-6


@dataclass(frozen=True, slots=True)
class AlfaMini:
    """The names that a bank records, as of alfa-mini; its features are made up here."""

    model_id: str = "made up"
    weights_hash: str = "0" * 16
    preprocess_hash: str = "0" * 16
    grid: Grid = _GRID
    patch_blocks: tuple[int, ...] = (6, 9, 12)


_SOURCE = AlfaMini()


@dataclass(frozen=True, slots=True)
class Lesson:
    """What teaching a bank took.

    Attributes:
        images: taught.
        seconds: without the model, whose features are made up.
        peak_mb: most memory the process had held by then, in 10^6 bytes.
        file: the bank; in memory, those of other lessons would count as this one's.
    """

    images: int
    seconds: float
    peak_mb: float
    file: Path


def made_up_features(images: int, seed: int) -> ImageFeatures:
    """Patch tokens of parts that look alike but for noise: a place's own direction, and some of another.

    Args:
        images: B.
        seed: of the noise.
    """
    places, noise = (torch.Generator().manual_seed(number) for number in (0, seed + 1))
    own = torch.randn(3, 1, _GRID.patches, _WIDTH, generator=places)
    tokens = own + 0.3 * torch.randn(3, images, _GRID.patches, _WIDTH, generator=noise)
    middle_early, middle_late, patches = functional.normalize(tokens, dim=-1)
    return ImageFeatures(
        grid=_GRID,
        image=torch.zeros(images, 1),
        windows=(),
        patches=patches,
        patch_joint=None,
        middle=(middle_early, middle_late),
    )


def teach(images: int, directory: Path) -> Lesson:
    """Teach so many made-up parts in batches, none of which is kept, and write the bank."""
    teaching = Teaching(_SOURCE.patch_blocks, _GRID, images)
    seconds = 0.0
    for start in range(0, images, _AT_ONCE):
        features = made_up_features(min(_AT_ONCE, images - start), seed=start)
        began = time.perf_counter()
        teaching.add(features)
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    bank = MemoryBank.of(teaching.outcome(), _SOURCE, ["0" * 16] * images)
    seconds += time.perf_counter() - began
    file = directory / f"{images}.safetensors"
    bank.save(file)
    return Lesson(images, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, file)


def _taught_apart(images: int, directory: Path) -> Lesson:
    """In a process of its own, whose peak is that of this lesson alone."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(teach, images, directory).result()


def numpy_search(rows: Sequence[NDArray[np.float32]], queries: Sequence[NDArray[np.float32]]) -> list[Tensor]:
    """Per level, cosine of each query to the nearest row."""
    return [torch.from_numpy((own @ kept.T).max(axis=1)) for own, kept in zip(queries, rows, strict=True)]


def faiss_indices(faiss: Any, kind: str, rows: Sequence[NDArray[np.float32]]) -> list[Any]:  # noqa: ANN401
    """Exact indices of faiss, one a level.

    Args:
        faiss: the module.
        kind: `IndexFlatIP` or `IndexFlatL2`.
        rows: of each level.
    """
    indices = []
    for kept in rows:
        index = getattr(faiss, kind)(kept.shape[1])
        index.add(kept)
        indices.append(index)
    return indices


def faiss_search(indices: Sequence[Any], queries: Sequence[NDArray[np.float32]]) -> list[Tensor]:
    """Per level, what the index gives for the nearest row: a cosine, or a squared distance."""
    found = [index.search(own, 1)[0][:, 0] for index, own in zip(indices, queries, strict=True)]
    return [torch.from_numpy(nearest) for nearest in found]


def run(effort: Effort) -> list[Row]:
    """Search of one image in banks of more and more taught parts, then what teaching them took."""
    sizes = _TAUGHT_QUICKLY if effort.quick else _TAUGHT
    rows = []
    with TemporaryDirectory() as directory:
        lessons = [_taught_apart(images, Path(directory)) for images in sizes]
        for threads in dict.fromkeys((1, torch.get_num_threads())):
            with torch_threads(threads):
                for lesson in lessons:
                    bank = MemoryBank.load(lesson.file)
                    rows += _search_rows(bank, lesson.images, threads, 1 if effort.quick else _ROUNDS)
    return [*rows, *_teaching_rows(lessons)]


def _search_rows(bank: MemoryBank, images: int, threads: int, rounds: int) -> list[Row]:
    features = made_up_features(1, seed=12345)
    tokens = level_tokens(features, _SOURCE.patch_blocks)
    queries = [tokens[level][0].numpy() for level in tokens]
    rows = [functional.normalize(bank.levels[level].float(), dim=1).numpy() for level in tokens]
    peers: dict[str, Callable[[], list[Tensor]]] = {"numpy": partial(numpy_search, rows, queries)}
    peers |= dict(_faiss_searches(rows, queries, threads))
    _require_same_neighbours({name: search() for name, search in peers.items()})
    timings = in_turn([partial(_distances, bank, features), *peers.values()], rounds)
    kept = len(rows[0])
    where = f"{images} taught, {threads} thread{'s' if threads > 1 else ''}"
    return list(_compared(where, kept, timings[0], dict(zip(peers, timings[1:], strict=True))))


@torch.inference_mode()
def _distances(bank: MemoryBank, features: ImageFeatures) -> Tensor:
    return bank.distances(features)


def _faiss_searches(
    rows: Sequence[NDArray[np.float32]], queries: Sequence[NDArray[np.float32]], threads: int
) -> Iterator[tuple[str, Callable[[], list[Tensor]]]]:
    """By name, where faiss is installed; its rows are missing from the table otherwise."""
    try:
        faiss = peer_module("faiss")
    except Unavailable:
        return
    faiss.omp_set_num_threads(threads)
    for kind in ("IndexFlatIP", "IndexFlatL2"):
        yield f"faiss {kind}", partial(faiss_search, faiss_indices(faiss, kind, rows), queries)


def _require_same_neighbours(found: dict[str, list[Tensor]]) -> None:
    """All name the same nearest row's cosine; ours is tested against brute force already."""
    cosines = {
        name: [1 - level / 2 for level in levels] if name.endswith("L2") else levels
        for name, levels in found.items()
    }
    for name, levels in cosines.items():
        require_equal(f"cosines of {name}", levels, cosines["numpy"], _EQUAL)


def _compared(where: str, kept: int, ours: Timing, peers: dict[str, Timing]) -> Iterator[Row]:
    for name, timing in peers.items():
        yield Row(f"{name}, {where}", 1000 * timing.median, "ms", note=f"search only; {timing.note()}")
    against = next((name for name in peers if name.startswith("faiss")), "")
    yield Row(
        f"ours, {where}",
        1000 * ours.median,
        "ms",
        ratio=times_faster(ours, peers[against]) if against else None,
        against=against,
        note=f"{kept} rows a level, levels joined; {ours.note()}",
    )
    if not against:
        note = "not run: faiss cannot be imported; install the `peers` extra"
        yield Row(f"faiss, {where}", float("nan"), "ms", note=note)


def _teaching_rows(lessons: Sequence[Lesson]) -> Iterator[Row]:
    for lesson in lessons:
        note = "selection of rows, what is typical, background; without the model's pass"
        yield Row(f"teaching {lesson.images} images", lesson.seconds, "s", note=note)
        grown = lesson.peak_mb - lessons[0].peak_mb
        note = "peak of a process that does nothing else, above that for the first of these"
        yield Row(f"memory for teaching {lesson.images} images", grown, "MB", note=note)


BENCHMARK = Benchmark("bank", "Memory bank: search of one image, three levels", run)
