"""Results image by image in one SQLite file, so that an evaluation can be cut off and goes on."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alfa.errors import BadInput, Fault, cause
from alfa.evaluation.datasets import Dataset, LabelledImage

FILE_NAME = "results.sqlite"

_SCHEMA_VERSION = 1
# Another run on the same file is a mistake; waiting longer would only hide it.
_WAIT_S = 1.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS variant (
    class TEXT, variant TEXT, identity TEXT, PRIMARY KEY (class, variant));
CREATE TABLE IF NOT EXISTS image (
    class TEXT, image TEXT, bytes INTEGER, height INTEGER, width INTEGER, PRIMARY KEY (class, image));
CREATE TABLE IF NOT EXISTS judged (
    class TEXT, image TEXT, variant TEXT, score REAL, s_global REAL, s_local_max REAL,
    rows INTEGER, cols INTEGER, map BLOB, PRIMARY KEY (class, image, variant));
"""
_COLUMNS = "score, s_global, s_local_max, rows, cols, map"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What one variant says of one image.

    Attributes:
        score: of the image.
        patch_map: (rows, cols) on the image's grid.
        s_global: S_G, where the variant has the two halves of the paper's score.
        s_local_max: max S_L, likewise.
    """

    score: float
    patch_map: NDArray[np.float16]
    s_global: float | None = None
    s_local_max: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class JudgedImage:
    """One image with what all variants say of it.

    Attributes:
        image: which.
        size: (height, width) as captured.
        by: variant -> its judgement.
    """

    image: LabelledImage
    size: tuple[int, int]
    by: Mapping[str, Judged]


class ResultStore:
    """Results of one or several classes. Not for several processes at once."""

    def __init__(self, path: Path, *, restart: bool = False) -> None:
        """Open or make the file.

        Args:
            path: of the file; its directory is made.
            restart: forget what is in it.

        Raises:
            BadInput: it is no such file, of another version, or cannot be written.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if restart:
                path.unlink(missing_ok=True)
            self._connection = sqlite3.connect(path, timeout=_WAIT_S)
            self._require_version()
            self._connection.executescript(_SCHEMA)
        except OSError as error:
            raise BadInput(path, "", None, f"cannot be written: {error.strerror}") from error
        except sqlite3.Error as error:
            advice = f"holds no results of this program ({cause(error)}); choose another directory"
            raise BadInput(path, "", None, advice) from error

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def claim(self, dataset: Dataset, identities: Mapping[str, str]) -> None:
        """Say what each variant is, before its results are used or added.

        Args:
            dataset: the class.
            identities: variant -> hash of all that its results depend on.

        Raises:
            BadInput: the file holds results of a variant of that name and another identity.
        """
        for variant, identity in identities.items():
            key = (dataset.name, variant)
            query = "SELECT identity FROM variant WHERE class = ? AND variant = ?"
            stored = self._connection.execute(query, key).fetchone()
            if stored is not None and stored[0] != identity:
                advice = (
                    "is of another model, prompts, settings or taught images; use --restart or another --out"
                )
                raise BadInput(self._path, dataset.name, variant, advice)
        rows = [(dataset.name, variant, identity) for variant, identity in identities.items()]
        with self._writing():
            self._connection.executemany("INSERT OR REPLACE INTO variant VALUES (?, ?, ?)", rows)

    def pending(self, dataset: Dataset, variants: Sequence[str]) -> list[LabelledImage]:
        """The test images that lack a variant, or were another file when they were judged."""
        query = """
            SELECT image, bytes, count(*) FROM image JOIN judged USING (class, image)
            WHERE class = ? AND variant IN (SELECT value FROM json_each(?)) GROUP BY image"""
        rows = self._connection.execute(query, (dataset.name, json.dumps(list(variants))))
        done = {name: size for name, size, count in rows if count == len(variants)}
        return [
            image for image in dataset.test if done.get(_key(dataset, image), -1) != image.path.stat().st_size
        ]

    def add(self, dataset: Dataset, judged: Sequence[JudgedImage]) -> None:
        """Keep a batch: all of it or, if the machine stops, nothing.

        Raises:
            Fault: the file cannot be written.
        """
        keys = [_key(dataset, each.image) for each in judged]
        images = [
            (dataset.name, key, each.image.path.stat().st_size, *each.size)
            for key, each in zip(keys, judged, strict=True)
        ]
        rows = [
            (dataset.name, key, variant, *_packed(one))
            for key, each in zip(keys, judged, strict=True)
            for variant, one in each.by.items()
        ]
        with self._writing():
            self._connection.executemany("INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?)", images)
            self._connection.executemany(
                "INSERT OR REPLACE INTO judged VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

    def read(self, dataset: Dataset, image: LabelledImage) -> JudgedImage:
        """All that is known of one image that was judged."""
        key = (dataset.name, _key(dataset, image))
        query = "SELECT height, width FROM image WHERE class = ? AND image = ?"
        size = self._connection.execute(query, key).fetchone()
        query = f"SELECT variant, {_COLUMNS} FROM judged WHERE class = ? AND image = ?"  # noqa: S608
        by = {variant: _unpacked(*row) for variant, *row in self._connection.execute(query, key)}
        return JudgedImage(image, size, by)

    def _require_version(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version != _SCHEMA_VERSION and tables:
            advice = f"this release reads version {_SCHEMA_VERSION}; use --restart or another --out"
            raise BadInput(self._path, "version", version, advice)
        self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            raise Fault("not_written", f"{self._path}: {cause(error)}") from error


def _key(dataset: Dataset, image: LabelledImage) -> str:
    """The image's name within its class, so that a moved data set is still the same."""
    return Path(os.path.relpath(image.path, dataset.directory)).as_posix()


def _packed(judged: Judged) -> tuple[float, float | None, float | None, int, int, bytes]:
    rows, cols = judged.patch_map.shape
    halves = np.ascontiguousarray(judged.patch_map, np.float16)
    return judged.score, judged.s_global, judged.s_local_max, rows, cols, halves.tobytes()


def _unpacked(
    score: float, s_global: float | None, s_local_max: float | None, rows: int, cols: int, packed: bytes
) -> Judged:
    return Judged(score, np.frombuffer(packed, np.float16).reshape(rows, cols), s_global, s_local_max)
