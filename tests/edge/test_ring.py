"""Shared memory for large frames: what is read is what was written, or it is an error with a name."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.messages import SlotLost, SlotRef
from edge.ring import DEAF_AFTER_S, SMALLEST_SHARED_BYTES, FrameRing, RingReader, ring_stem

SIDE = 1024  # squared it is the smallest frame that is shared
TWO_FRAMES = 2 * SMALLEST_SHARED_BYTES


def frame(value: int, rows: int = SIDE) -> npt.NDArray[np.uint8]:
    return np.full((rows, SIDE, 1), value, np.uint8)


def pair(directory: Path, budget: int = TWO_FRAMES) -> tuple[FrameRing, RingReader]:
    """A ring and its holder, who has told the camera that it is there."""
    stem = ring_stem(directory, "ipc://camera")
    ring, reader = FrameRing(stem, budget), RingReader("line1", stem)
    tell(reader, ring)
    return ring, reader


def tell(reader: RingReader, ring: FrameRing) -> None:
    lease = reader.lease()
    if lease is not None:
        ring.follow(lease)


def placed(ring: FrameRing, value: int, rows: int = SIDE) -> SlotRef:
    slot = ring.place(frame(value, rows))
    assert slot is not None
    return slot


def viewed(reader: RingReader, slot: SlotRef) -> memoryview:
    return reader.pixels(slot).view


def test_reader_sees_what_was_placed(tmp_path: Path) -> None:
    """Two frames of different content, each whole, at the same time."""
    ring, reader = pair(tmp_path)
    views = [viewed(reader, placed(ring, value)) for value in (3, 4)]
    assert [set(bytes(view)) for view in views] == [{3}, {4}]
    assert [len(view) for view in views] == [SMALLEST_SHARED_BYTES] * 2


def test_reader_cannot_write(tmp_path: Path) -> None:
    """The detector's memory is mapped read-only."""
    ring, reader = pair(tmp_path)
    assert viewed(reader, placed(ring, 1)).readonly


def test_nothing_is_placed_before_a_reader_is_there(tmp_path: Path) -> None:
    """A detector that knows nothing of rings gets its pixels through the socket."""
    assert FrameRing(tmp_path / "alfa", TWO_FRAMES).place(frame(1)) is None


def test_small_frames_are_not_placed(tmp_path: Path) -> None:
    """Less than a megabyte goes through the socket."""
    ring, _ = pair(tmp_path)
    assert ring.place(frame(1, rows=SIDE - 1)) is None


def test_slots_are_bounded_by_the_budget(tmp_path: Path) -> None:
    """Of three frames that nobody has read yet the third finds no slot, and no third file is made."""
    ring, _ = pair(tmp_path)
    assert [ring.place(frame(value)) is None for value in range(3)] == [False, False, True]
    assert len(list(tmp_path.iterdir())) == 2


def test_slot_is_kept_while_a_piece_of_its_view_lives(tmp_path: Path) -> None:
    """An array on the view, or a cut-out of that, keeps the slot; when the last is gone it is free again."""
    ring, reader = pair(tmp_path, budget=SMALLEST_SHARED_BYTES)
    piece = np.frombuffer(viewed(reader, placed(ring, 5)), np.uint8).reshape(SIDE, SIDE)[10:20, 3:]
    tell(reader, ring)
    assert ring.place(frame(6)) is None
    assert (piece == 5).all()
    del piece
    tell(reader, ring)
    assert ring.place(frame(6)) is not None


def test_frame_that_never_arrived_gives_its_slot_back(tmp_path: Path) -> None:
    """A later frame that was seen shows that the earlier one's message was lost."""
    ring, reader = pair(tmp_path)
    lost, arrived = placed(ring, 1), placed(ring, 2)
    view = viewed(reader, arrived)
    tell(reader, ring)
    assert ring.lent == 1
    assert placed(ring, 3).index == lost.index
    assert set(bytes(view)) == {2}


def test_lost_lease_costs_nothing_in_the_end(tmp_path: Path) -> None:
    """Each lease tells the whole state: the next one frees what the lost one would have freed."""
    ring, reader = pair(tmp_path)
    viewed(reader, placed(ring, 1))
    assert reader.lease() is not None
    viewed(reader, placed(ring, 2))
    tell(reader, ring)
    assert ring.lent == 0


def test_lease_is_told_once(tmp_path: Path) -> None:
    """Nothing is sent while nothing changes."""
    _, reader = pair(tmp_path)
    assert reader.lease() is None


def test_overwritten_slot_is_lost(tmp_path: Path) -> None:
    """Another frame's stamp in the slot: the message is refused instead of the wrong picture judged."""
    ring, reader = pair(tmp_path)
    earlier = placed(ring, 1)
    viewed(reader, earlier)
    tell(reader, ring)
    assert placed(ring, 2).index == earlier.index
    with pytest.raises(SlotLost, match="holds frame 2 of the ring and not 1"):
        viewed(reader, earlier)


def test_slot_that_is_written_while_it_is_read_is_not_whole(tmp_path: Path) -> None:
    """A lease that is wrong frees a slot in use: whoever asks after reading learns it."""
    ring, reader = pair(tmp_path)
    pixels = reader.pixels(placed(ring, 1))
    pixels.require_whole()
    lease = reader.lease()
    assert lease is not None
    ring.follow(dataclasses.replace(lease, held=()))
    placed(ring, 2)
    assert set(bytes(pixels.view)) == {2}
    with pytest.raises(SlotLost, match="holds frame 2 of the ring and not 1"):
        pixels.require_whole()


def test_lease_from_the_future_frees_nothing(tmp_path: Path) -> None:
    """Nobody can have seen a frame that was never placed; the slots stay lent."""
    ring, reader = pair(tmp_path)
    viewed(reader, placed(ring, 1))
    lease = reader.lease()
    assert lease is not None
    ring.follow(dataclasses.replace(lease, seen=2, held=()))
    assert (ring.lent, ring.unseen) == (1, True)


def test_half_written_slot_is_lost(tmp_path: Path) -> None:
    """While pixels are written the stamp is 0, which is no frame's."""
    ring, reader = pair(tmp_path)
    slot = placed(ring, 1)
    (file,) = tmp_path.iterdir()
    with file.open("r+b") as memory:
        memory.write(bytes(8))
    with pytest.raises(SlotLost, match="holds frame 0"):
        viewed(reader, slot)


def test_slot_that_was_removed_is_lost(tmp_path: Path) -> None:
    """A frame of a camera that has gone, whose slot was never mapped."""
    ring, reader = pair(tmp_path)
    slot = placed(ring, 1)
    ring.close()
    with pytest.raises(SlotLost, match="cannot be mapped"):
        viewed(reader, slot)


def test_reader_that_cannot_map_frees_nothing(tmp_path: Path) -> None:
    """Of a ring that lies where the reader does not see it no lease tells, so its slots run out."""
    ring = FrameRing(tmp_path / "alfa", TWO_FRAMES)
    reader = RingReader("line1", tmp_path / "elsewhere" / "alfa")
    tell(reader, ring)
    for value in (1, 2):
        with pytest.raises(SlotLost, match="cannot be mapped"):
            viewed(reader, placed(ring, value))
        tell(reader, ring)
    assert "elsewhere" in reader.refusal
    assert ring.place(frame(3)) is None
    reader.came_through_socket()
    tell(reader, ring)
    assert ring.lent == 2


def test_next_camera_after_an_unreadable_ring_is_tried_again(tmp_path: Path) -> None:
    """A slot that went with its camera says nothing of the ring that comes after it."""
    ring, reader = pair(tmp_path)
    gone = placed(ring, 1)
    ring.close()
    with pytest.raises(SlotLost, match="cannot be mapped"):
        viewed(reader, gone)
    restarted = FrameRing(ring_stem(tmp_path, "ipc://camera"), TWO_FRAMES)
    reader.came_through_socket()
    tell(reader, restarted)
    for value in (2, 3, 4):
        assert set(bytes(viewed(reader, placed(restarted, value)))) == {value}
        tell(reader, restarted)
    assert reader.refusal == ""


def test_slot_smaller_than_its_frame_is_lost(tmp_path: Path) -> None:
    """A length beyond the file is refused before anything is read."""
    ring, reader = pair(tmp_path)
    with pytest.raises(SlotLost, match="smaller than"):
        viewed(reader, dataclasses.replace(placed(ring, 1), length=TWO_FRAMES))


def test_slot_of_another_reader_is_lost(tmp_path: Path) -> None:
    """Nothing keeps the camera from writing it while this one reads."""
    ring, _ = pair(tmp_path)
    other = RingReader("line1", ring_stem(tmp_path, "ipc://camera"))
    with pytest.raises(SlotLost, match="another reader"):
        viewed(other, placed(ring, 1))


def test_new_reader_gets_a_ring_of_its_own(tmp_path: Path) -> None:
    """After a restart of the detector nothing of the old leases counts, and old views stay whole."""
    ring, reader = pair(tmp_path, budget=SMALLEST_SHARED_BYTES)
    old_view = viewed(reader, placed(ring, 1))
    restarted = RingReader("line1", ring_stem(tmp_path, "ipc://camera"))
    tell(restarted, ring)
    assert set(bytes(viewed(restarted, placed(ring, 2)))) == {2}
    assert set(bytes(old_view)) == {1}


def test_lease_of_an_earlier_ring_frees_nothing(tmp_path: Path) -> None:
    """What the reader had seen of the old ring says nothing of the new one's slots."""
    ring, reader = pair(tmp_path)
    viewed(reader, placed(ring, 1))
    late = reader.lease()
    assert late is not None
    ring.close()
    ring.follow(dataclasses.replace(late, ring=0))
    placed(ring, 2)
    ring.follow(late)
    assert ring.lent == 1


def test_larger_images_wait_for_the_slots_in_use(tmp_path: Path) -> None:
    """A file that a message on its way refers to is not taken away; then the ring starts anew."""
    ring, reader = pair(tmp_path, budget=2 * TWO_FRAMES)
    small = placed(ring, 1)
    assert ring.place(frame(2, rows=2 * SIDE)) is None
    assert set(bytes(viewed(reader, small))) == {1}
    tell(reader, ring)
    assert set(bytes(viewed(reader, placed(ring, 2, rows=2 * SIDE)))) == {2}
    assert set(bytes(viewed(reader, placed(ring, 3)))) == {3}


def test_last_frame_is_unseen_until_the_reader_says_so(tmp_path: Path) -> None:
    """An ending camera knows how long its files are still needed."""
    ring, reader = pair(tmp_path)
    slot = placed(ring, 1)
    assert ring.unseen
    view = viewed(reader, slot)
    tell(reader, ring)
    assert not ring.unseen
    del view


def test_slots_of_a_killed_camera_are_removed(tmp_path: Path) -> None:
    """They would fill the memory; files of other cameras stay."""
    ring, _ = pair(tmp_path)
    placed(ring, 1)
    other = ring_stem(tmp_path, "ipc://other").with_name("alfa-other-0")
    other.touch()
    FrameRing(ring_stem(tmp_path, "ipc://camera"), TWO_FRAMES)
    assert list(tmp_path.iterdir()) == [other]


def test_ring_of_a_reader_that_is_deaf_is_given_up(tmp_path: Path) -> None:
    """It has all slots and answers no frame, as one that was stopped: no file is left, the socket serves."""
    ring, reader = pair(tmp_path)
    held = [viewed(reader, placed(ring, value)) for value in (1, 2)]
    tell(reader, ring)
    now_s = time.monotonic()
    for passed_s in (0, DEAF_AFTER_S - 1):
        assert ring.place(frame(3), now_s + passed_s) is None
    assert ring.lent == len(held)
    assert ring.place(frame(4), now_s + DEAF_AFTER_S + 1) is None
    assert list(tmp_path.iterdir()) == []


def test_deaf_reader_that_speaks_again_gets_a_new_ring(tmp_path: Path) -> None:
    """What it had mapped stays whole, what it had not is lost by name, and the next frame is shared."""
    ring, reader = pair(tmp_path)
    held = viewed(reader, placed(ring, 1))
    unread = placed(ring, 2)
    ring.place(frame(3), time.monotonic() + DEAF_AFTER_S + 1)
    with pytest.raises(SlotLost):
        reader.pixels(unread)
    tell(reader, ring)
    assert set(bytes(viewed(reader, placed(ring, 4)))) == {4}
    assert set(bytes(held)) == {1}


def test_reader_that_answers_keeps_its_ring_however_long_the_line_rests(tmp_path: Path) -> None:
    """Silence between two parts is none of the reader's."""
    ring, reader = pair(tmp_path)
    for value in (1, 2):
        slot = placed(ring, value)
        viewed(reader, slot)
        tell(reader, ring)
    now_s = time.monotonic() + 100 * DEAF_AFTER_S
    later = [ring.place(frame(3), now_s), ring.place(frame(4), now_s + 1)]
    assert [found.ring for found in later if found is not None] == [slot.ring] * 2


def test_close_removes_the_files(tmp_path: Path) -> None:
    """Nothing of a camera that ended is left."""
    ring, _ = pair(tmp_path)
    placed(ring, 1)
    ring.close()
    assert list(tmp_path.iterdir()) == []


def test_others_on_the_machine_cannot_read(tmp_path: Path) -> None:
    """Owner writes, group reads."""
    ring, _ = pair(tmp_path)
    placed(ring, 1)
    assert [file.stat().st_mode & 0o777 for file in tmp_path.iterdir()] == [0o640]


def test_refused_memory_is_told_and_the_socket_serves(tmp_path: Path) -> None:
    """No directory, or a tmpfs that is full: no slot, and why."""
    ring, _ = pair(tmp_path / "nowhere")
    assert ring.place(frame(1)) is None
    assert "nowhere: No such file or directory" in ring.refusal


@pytest.mark.parametrize("parent", ["file", "file/below"])
def test_place_for_slots_that_is_no_directory_is_told(tmp_path: Path, parent: str) -> None:
    """A path through a file is refused as one that is not there."""
    (tmp_path / "file").touch()
    ring, _ = pair(tmp_path / parent)
    assert ring.place(frame(1)) is None
    assert "Not a directory" in ring.refusal


def test_what_cannot_be_removed_bars_the_ring(tmp_path: Path) -> None:
    """The camera starts all the same, says what is in the way, and its pixels go through the socket."""
    stem = ring_stem(tmp_path, "ipc://camera")
    in_the_way = stem.with_name(f"{stem.name}-left")
    in_the_way.mkdir()
    ring, _ = pair(tmp_path)
    assert ring.place(frame(1)) is None
    assert ring.refusal == f"{in_the_way}: Is a directory"
    assert list(tmp_path.iterdir()) == [in_the_way]


class Line(RuleBasedStateMachine):
    """Camera and detector in any order of frames, losses, releases, leases and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._stem = ring_stem(Path(self._directory.name), "ipc://camera")
        self._ring = FrameRing(self._stem, 3 * SMALLEST_SHARED_BYTES)
        self._reader = RingReader("line1", self._stem)
        self._told = self._reader
        self._value = 0
        self._on_the_way: list[tuple[SlotRef, int, FrameRing, RingReader]] = []
        self._views: list[tuple[memoryview, int]] = []

    @rule()
    def capture(self) -> None:
        self._value = self._value % 255 + 1
        slot = self._ring.place(frame(self._value))
        if slot is not None:
            self._on_the_way.append((slot, self._value, self._ring, self._told))

    @precondition(lambda self: self._on_the_way)
    @rule()
    def lose_a_message(self) -> None:
        self._on_the_way.pop(0)

    @precondition(lambda self: self._on_the_way)
    @rule()
    def read_a_message(self) -> None:
        slot, value, ring, holder = self._on_the_way.pop(0)
        try:
            self._views.append((viewed(self._reader, slot), value))
        except SlotLost:
            # Only what one side sent, or was lent, before it started anew may be lost.
            assert ring is not self._ring or holder is not self._reader

    @precondition(lambda self: self._views)
    @rule(which=st.integers(0, 9))
    def let_go(self, which: int) -> None:
        self._views.pop(which % len(self._views))

    @rule()
    def tell(self) -> None:
        lease = self._reader.lease()
        if lease is not None:
            self._ring.follow(lease)
            self._told = self._reader

    @rule()
    def restart_detector(self) -> None:
        self._reader = RingReader("line1", self._stem)

    @rule()
    def restart_camera(self) -> None:
        self._ring = FrameRing(self._stem, 3 * SMALLEST_SHARED_BYTES)

    @invariant()
    def every_view_shows_its_frame(self) -> None:
        for view, value in self._views:
            assert view[0] == view[-1] == value

    def teardown(self) -> None:
        self._views.clear()
        self._directory.cleanup()


Line.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestLine = Line.TestCase
