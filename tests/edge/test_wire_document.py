"""docs/wire.md is what a subscriber in another language is written from: it says what is sent, all of it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from benchmarks.fuzz import samples
from edge.messages import (
    AnomalyMap,
    FaultReason,
    Frame,
    Part,
    ReplayRequest,
    SlotRef,
    encode_beat,
    encode_frame,
    encode_lease,
    encode_map,
    encode_replay_request,
    encode_shared_frame,
    encode_unreadable,
    encode_verdict,
)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "str": (str,),
    "float": (float,),
    "bool": (bool,),
    "map": (dict,),
    "array": (list,),
    "float or nil": (float, type(None)),
    "map or nil": (dict, type(None)),
}


def _header(parts: list[Part], at: int = 1) -> dict[str, Any]:
    header: dict[str, Any] = msgpack.unpackb(parts[at])
    return header


def _sent() -> dict[str, list[dict[str, Any]]]:
    """Examples of each header, by the section that documents it."""
    verdicts = [_header(encode_verdict(verdict)) for verdict in samples.verdicts()]
    header, request = samples.frame_header(), ReplayRequest(samples.LINE)
    return {
        "verdict": verdicts,
        "region": [verdicts[0]["region"]],
        "reason": verdicts[0]["reasons"],
        "timings": [verdicts[0]["timings"]],
        "map": [_header(encode_map(each)) for each in samples.maps()],
        "beat": [_header(encode_beat(beat)) for beat in samples.beats()],
        "replay": [_header(encode_replay_request(request))],
        "frame": [_header(encode_unreadable(header))],
        "slot": [_header(encode_shared_frame(header, SlotRef(1, 2, 3, 4, 5)), at=3)],
        "lease": [_header(encode_lease(lease)) for lease in samples.leases()],
    }


def _documented(section: str) -> dict[str, str]:
    """Key and type of each row of a section's table."""
    match = re.search(rf"^### {section}\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert match, section
    return dict(re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|", match[1], re.MULTILINE))


@pytest.mark.parametrize("section", _sent())
def test_the_keys_of_a_header_are_those_documented(section: str) -> None:
    """None more, none less, in every example."""
    for header in _sent()[section]:
        assert set(header) == set(_documented(section))


@pytest.mark.parametrize("section", _sent())
def test_values_have_the_documented_types(section: str) -> None:
    """As msgpack gives them; a bool is no int there."""
    for header in _sent()[section]:
        for key, kind in _documented(section).items():
            assert type(header[key]) in TYPES[kind], key


def test_every_header_section_is_compared() -> None:
    """A message that is documented later cannot be forgotten here."""
    assert set(re.findall(r"^### (\w+)$", DOCUMENT, re.MULTILINE)) == set(_sent())


def test_every_fault_is_documented() -> None:
    """In the order of their codes, but for the one that says that there is none."""
    faults = DOCUMENT.partition("\n## Faults\n")[2]
    assert re.findall(r"^\| `(\w+)` \|", faults, re.MULTILINE)[1:] == [
        str(reason) for reason in FaultReason if reason
    ]


def test_pixels_and_maps_lie_as_documented() -> None:
    """Row by row, channels side by side; a map's values as little-endian half floats."""
    header = dataclasses.replace(samples.frame_header(), height=3, width=4, channels=3)
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert bytes(encode_frame(Frame(header, pixels))[2]) == bytes(range(36))
    judged = samples.maps()[0].header
    of_two = AnomalyMap(judged, np.array([[0.5, 1.0]], np.float16))
    assert bytes(encode_map(of_two)[2]) == bytes.fromhex("0038003c")
