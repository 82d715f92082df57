"""Pictures of parts that were judged good, out of the record's evidence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from alfa.errors import BadInput
from edge.messages import Result
from edge.results.reader import RecordReader


def good_pictures(record: Path, evidence: Path, line: str, most: int) -> list[Path]:
    """The newest pictures of a line's OK parts, newest first.

    Args:
        record: the results service's database.
        evidence: its directory of pictures.
        line: whose parts.
        most: so many at most.

    Raises:
        BadInput: there is no record, or no picture of an OK part; the line says what is kept.
        Fault: the record cannot be read.
    """
    with RecordReader.open(record) as reader:
        found = list(islice(_good(reader, evidence, line), most))
    if not found:
        others = len(_pictures(evidence, line))
        advice = (
            f"holds no picture of an OK part of line {line!r} ({others} of other parts); every n-th is kept "
            "(detector.map_every_ok), so wait for one, or give --images with a directory of good parts"
        )
        raise BadInput(evidence, "", None, advice)
    return found


def _good(reader: RecordReader, evidence: Path, line: str) -> Iterator[Path]:
    for path in _pictures(evidence, line):
        if reader.result(line, int(path.parent.name), int(path.stem)) is Result.OK:
            yield path


def _pictures(evidence: Path, line: str) -> list[Path]:
    """Of all parts of a line, newest first; names are as `edge.results.evidence` gives them."""
    found = [
        path
        for path in (evidence / line).glob("*/*.jpg")
        if path.stem.isdecimal() and path.parent.name.isdecimal()
    ]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.stem), reverse=True)
