"""A beat survives the wire, and holds no more than a listener has room for."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import Beat, MalformedHeader, ServiceState, decode_beat, encode_beat
from tests.edge.messages.examples import counters, names, texts

beats = st.builds(
    Beat,
    service=st.sampled_from(["camera", "detector", "results"]),
    line=names,
    state=st.sampled_from(ServiceState),
    epoch=counters,
    counters=st.dictionaries(texts, counters, max_size=20),
    last_seq=st.integers(-1, 2**63 - 1),
    last_error=texts,
    wall_ns=counters,
    pid=counters,
)


@given(beats)
def test_beat_survives_the_wire(beat: Beat) -> None:
    """Every field comes back equal."""
    assert decode_beat(encode_beat(beat)) == beat


def test_a_beat_holds_128_counters() -> None:
    """One more is malformed: a listener's memory is not a sender's to fill."""
    counters = {f"counter{number}": 0 for number in range(128)}
    beat = Beat("detector", "line1", ServiceState.READY, 1, counters)
    assert decode_beat(encode_beat(beat)) == beat
    with pytest.raises(MalformedHeader):
        decode_beat(encode_beat(dataclasses.replace(beat, counters=counters | {"more": 0})))
