"""Every captured seq is accounted for once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.detector.accounting import SequenceTracker, Sighting
from edge.messages import MOST_LOST_AT_ONCE


def test_the_first_epoch_starts_where_it_is_seen() -> None:
    """What was captured before the detector started is not the detector's to tell."""
    sighting = SequenceTracker().see(epoch=1, seq=41)
    assert sighting.fresh
    assert not sighting.missing


def test_a_jump_proves_the_parts_between_lost() -> None:
    """3 after 0 means that 1 and 2 were captured and did not arrive."""
    tracker = SequenceTracker()
    tracker.see(1, 0)
    assert list(tracker.see(1, 3).missing) == [1, 2]


def test_a_restarted_camera_counts_from_0() -> None:
    """A second epoch that is first seen at 2 lost its 0 and 1."""
    tracker = SequenceTracker()
    tracker.see(1, 7)
    assert list(tracker.see(2, 2).missing) == [0, 1]


def test_a_repeated_frame_is_not_fresh() -> None:
    """A second copy gets no second verdict."""
    tracker = SequenceTracker()
    tracker.see(1, 5)
    assert not tracker.see(1, 5).fresh


def test_a_frame_told_lost_is_not_fresh_when_it_comes_late() -> None:
    """It has its verdict already."""
    tracker = SequenceTracker()
    tracker.see(1, 0)
    tracker.see(1, 2)
    assert not tracker.see(1, 1).fresh


def test_a_late_frame_of_the_epoch_before_is_not_a_restart() -> None:
    """An old epoch goes on where it was, so that its parts are not told lost again."""
    tracker = SequenceTracker()
    tracker.see(1, 5)
    tracker.see(2, 0)
    assert not tracker.see(1, 5).fresh
    assert list(tracker.see(1, 7).missing) == [6]


def test_the_largest_gap_is_believed() -> None:
    """Every part of it is told lost."""
    tracker = SequenceTracker()
    tracker.see(1, 0)
    assert len(tracker.see(1, MOST_LOST_AT_ONCE + 1).missing) == MOST_LOST_AT_ONCE


def test_an_implausible_jump_changes_nothing() -> None:
    """A broken header proves no part lost, and the next true frame is taken as if it had not been."""
    tracker = SequenceTracker()
    tracker.see(1, 0)
    assert tracker.see(1, 2**62) == Sighting(fresh=False, missing=range(0), implausible=True)
    assert tracker.see(1, 1) == Sighting(fresh=True, missing=range(1, 1))


def test_a_jump_that_frames_continue_is_true() -> None:
    """A line whose detector was cut off for long is judged again; what it missed is not told one by one."""
    tracker = SequenceTracker()
    tracker.see(1, 0)
    sightings = [tracker.see(1, 2**40 + number) for number in range(9)]
    assert [sighting.fresh for sighting in sightings] == [False] * 7 + [True] * 2
    assert not any(sighting.missing for sighting in sightings)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    start=st.integers(0, 20),
    data=st.data(),
)
def test_each_seq_is_fresh_or_missing_exactly_once(
    lengths: list[int], start: int, data: st.DataObject
) -> None:
    """Whatever is dropped and repeated, seqs up to the last one seen of each epoch are told once."""
    tracker = SequenceTracker()
    told: list[tuple[int, int]] = []
    expected: list[tuple[int, int]] = []
    seen_any = False
    for epoch, length in enumerate(lengths):
        captured = range(start if epoch == 0 else 0, (start if epoch == 0 else 0) + length)
        arrived = [seq for seq in captured if data.draw(st.booleans())]
        for seq in arrived:
            for _ in range(data.draw(st.integers(1, 2))):
                sighting = tracker.see(epoch, seq)
                told += [(epoch, missing) for missing in sighting.missing]
                told += [(epoch, seq)] * sighting.fresh
        if arrived:
            first = 0 if seen_any else arrived[0]
            expected += [(epoch, seq) for seq in range(first, arrived[-1] + 1)]
            seen_any = True
    assert sorted(told) == expected
