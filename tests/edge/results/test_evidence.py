"""Evidence as files: what is written, what gives way, and a disk that refuses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import AnomalyMap, FaultCode, MapHeader, Result
from edge.results.alarm import AlarmEvent, AlarmKind
from edge.results.evidence import EvidenceStore, EvidenceWriter, evidence_path
from edge.results.record import Record, alarm_is_open
from tests.edge.results.conftest import MakeVerdict

DAY_S = 86_400.0


def picture(seq: int, jpeg: bytes = b"", height: int = 0) -> AnomalyMap:
    header = MapHeader(
        "line1",
        7,
        seq,
        Result.NG,
        height,
        height,
        median=0.1,
        threshold=0.75,
        captured_height=300,
        captured_width=400,
    )
    return AnomalyMap(header, np.full((height, height), seq, np.float16), jpeg)


def seqs(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("line1/7/*.jpg"))


def test_image_and_map_are_kept(tmp_path: Path) -> None:
    """The JPEG as it came; the map with its scale and the size that regions are told in, without pickle."""
    EvidenceStore(tmp_path, 10_000, DAY_S).keep(picture(3, b"jpeg", height=2), now_s=0.0)
    assert evidence_path(tmp_path, "line1", 7, 3, "jpg").read_bytes() == b"jpeg"
    with np.load(evidence_path(tmp_path, "line1", 7, 3, "npz"), allow_pickle=False) as kept:
        assert kept["values"].dtype == np.float16
        assert kept["values"].tolist() == [[3, 3], [3, 3]]
        assert (float(kept["median"]), float(kept["threshold"])) == (0.1, 0.75)
        assert kept["captured"].tolist() == [300, 400]


def test_nothing_makes_no_file(tmp_path: Path) -> None:
    """A map message without image and values leaves no empty files."""
    EvidenceStore(tmp_path, 10_000, DAY_S).keep(picture(3), now_s=0.0)
    assert list(tmp_path.rglob("*.*")) == []


@given(sizes=st.lists(st.integers(1, 120), min_size=1, max_size=12))
def test_oldest_give_way_to_size(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """No more go than must, the oldest first, and the newest stays whatever its size."""
    directory = tmp_path_factory.mktemp("evidence")
    store = EvidenceStore(directory, 100, DAY_S)
    expected: list[int] = []
    for seq, size in enumerate(sizes):
        store.keep(picture(seq, b"x" * size), now_s=float(seq))
        expected.append(seq)
        while sum(sizes[kept] for kept in expected) > 100 and len(expected) > 1:
            expected.pop(0)
        assert seqs(directory) == expected


def test_old_pictures_go(tmp_path: Path) -> None:
    """A picture older than the limit goes with the next one that comes."""
    store = EvidenceStore(tmp_path, 10_000, DAY_S)
    for seq, now_s in enumerate((0.0, 0.5 * DAY_S, 1.25 * DAY_S)):
        store.keep(picture(seq, b"x"), now_s)
    assert seqs(tmp_path) == [1, 2]


def test_age_spares_open_alarms(tmp_path: Path) -> None:
    """Until somebody has acknowledged them; then they go with the pictures that come."""
    open_seqs = {0, 2}
    store = EvidenceStore(tmp_path, 10_000, DAY_S, lambda line, epoch, seq: seq in open_seqs)
    for seq in range(4):
        store.keep(picture(seq, b"x"), now_s=0.0)
    store.prune(2 * DAY_S)
    assert seqs(tmp_path) == [0, 2]
    open_seqs.remove(2)
    for _ in range(2):
        store.prune(2 * DAY_S)
    assert (seqs(tmp_path), store.gave_way) == ([0], 0)


def test_size_spares_open_alarms_as_long_as_others_are_left(tmp_path: Path) -> None:
    """Then the oldest of them goes, and is counted: a full disk would stop the record."""
    store = EvidenceStore(tmp_path, 100, DAY_S, lambda line, epoch, seq: seq < 3)
    for seq in range(5):
        store.keep(picture(seq, b"x" * 30), now_s=float(seq))
    assert (seqs(tmp_path), store.gave_way) == ([1, 2, 4], 1)


def test_open_alarms_are_asked_of_the_record(
    record: Record, tmp_path: Path, make_verdict: MakeVerdict
) -> None:
    """By another connection than the writer's; a record that cannot be read spares all."""
    database = tmp_path / "results.sqlite"
    record.append([make_verdict(5, Result.NG)], [AlarmEvent("line1", AlarmKind.NG, FaultCode.NONE, 0, 7, 5)])
    assert alarm_is_open(database, "line1", 7, 5)
    assert not alarm_is_open(database, "line1", 7, 6)
    record.acknowledge("line1", {AlarmKind.NG: 1})
    assert not alarm_is_open(database, "line1", 7, 5)
    assert alarm_is_open(tmp_path / "none.sqlite", "line1", 7, 6)


def test_limits_hold_across_restarts(tmp_path: Path) -> None:
    """Files of an earlier run count, oldest first; unfinished ones are removed, others' are left alone."""
    for seq, age_s in ((0, 100), (1, 300), (2, 200)):
        path = evidence_path(tmp_path, "line1", 7, seq, "jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 40)
        os.utime(path, (10_000 - age_s, 10_000 - age_s))
    (path.parent / ".000000009.jpg.abc").write_bytes(b"x")
    (path.parent / "000000010.jpg").write_bytes(b"")
    (path.parent / "notes.txt").write_bytes(b"x" * 1000)
    EvidenceStore(tmp_path, 100, DAY_S).keep(picture(3, b"x" * 40), now_s=10_000.0)
    assert seqs(tmp_path) == [0, 3]
    assert sorted(path.name for path in path.parent.iterdir() if path.suffix != ".jpg") == ["notes.txt"]


def test_writer_keeps_what_waits_when_stopped(tmp_path: Path) -> None:
    """Stopping loses no picture that was taken."""
    writer = EvidenceWriter(EvidenceStore(tmp_path, 10_000, DAY_S), structlog.stdlib.get_logger())
    for seq in range(20):
        writer.put(picture(seq, b"x"))
    writer.stop()
    assert seqs(tmp_path) == list(range(20))
    kept = {"evidence": 20, "evidence_dropped": 0, "evidence_failed": 0, "evidence_gave_way": 0}
    assert writer.counters == kept


def test_refusing_disk_costs_pictures_only(tmp_path: Path) -> None:
    """A failure is counted, and the next picture is tried again."""
    (tmp_path / "line1").write_text("in the way")
    writer = EvidenceWriter(EvidenceStore(tmp_path, 10_000, DAY_S), structlog.stdlib.get_logger())
    writer.put(picture(0, b"x"))
    writer.put(picture(1, b"x"))
    writer.stop()
    assert writer.counters["evidence_failed"] == 2
