"""A frame in shared memory says where its pixels lie, and a lease what is still read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import (
    Lease,
    SlotRef,
    WrongParts,
    decode_frame,
    decode_lease,
    encode_frame,
    encode_lease,
    encode_shared_frame,
    slot_of,
)
from tests.edge.messages.examples import a_frame, counters, names


def test_slot_survives_the_wire() -> None:
    """A frame in shared memory carries its header and where its pixels lie."""
    header, slot = a_frame().header, SlotRef(ring=8, index=3, length=18, stamp=5, holder=9)
    parts = encode_shared_frame(header, slot)
    assert slot_of(parts) == slot
    assert decode_frame([*parts[:2], bytes(18)]).header == header


def test_frame_with_its_pixels_has_no_slot() -> None:
    """What every camera can send."""
    assert slot_of(encode_frame(a_frame())) is None


def test_reader_that_knows_no_slots_refuses_a_shared_frame() -> None:
    """It sees a part too many, and never an empty picture."""
    with pytest.raises(WrongParts):
        decode_frame(encode_shared_frame(a_frame().header, SlotRef(1, 0, 18, 1, 1)))


@given(names, st.integers(1, 2**63 - 1), counters, counters, st.lists(counters, max_size=64))
def test_lease_survives_the_wire(line: str, holder: int, ring: int, seen: int, held: list[int]) -> None:
    """Every field comes back equal."""
    lease = Lease(line, holder, ring, seen, tuple(held))
    assert decode_lease(encode_lease(lease)) == lease
