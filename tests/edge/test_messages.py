"""The wire format: what is encoded is decoded again; what is not ours is refused by a typed error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import (
    MAX_HEADER_BYTES,
    MAX_JPEG_BYTES,
    VERSION,
    AnomalyMap,
    Beat,
    DecodeError,
    FaultCode,
    FaultReason,
    Frame,
    FrameHeader,
    Lease,
    MalformedHeader,
    MapHeader,
    NoImage,
    Part,
    Reason,
    Region,
    ReplayRequest,
    Result,
    ServiceState,
    SlotRef,
    Timings,
    TooLarge,
    UnknownVersion,
    Verdict,
    WrongLength,
    WrongParts,
    WrongTopic,
    decode_beat,
    decode_frame,
    decode_frame_header,
    decode_lease,
    decode_map,
    decode_replay,
    decode_replay_request,
    decode_verdict,
    encode_beat,
    encode_frame,
    encode_lease,
    encode_map,
    encode_replay,
    encode_replay_request,
    encode_shared_frame,
    encode_unreadable,
    encode_verdict,
    fault_code,
    frame_topic,
    slot_of,
)

DECODERS: tuple[Callable[[Sequence[Part]], Any], ...] = (
    decode_frame,
    decode_frame_header,
    decode_verdict,
    decode_map,
    decode_beat,
    decode_replay_request,
    decode_replay,
    decode_lease,
)

names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
counters = st.integers(0, 2**63 - 1)
seqs = st.integers(0, 2**63 - 2)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
hashes = st.text("0123456789abcdef", max_size=16)
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    colour = draw(st.sampled_from(["rgb", "bgr", "grey"]))
    height, width, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), 1 if colour == "grey" else 3
    content = draw(st.binary(min_size=height * width * channels, max_size=height * width * channels))
    header = FrameHeader(
        line=draw(names),
        epoch=draw(counters),
        seq=draw(seqs),
        mono_ns=draw(counters),
        wall_ns=draw(counters),
        height=height,
        width=width,
        channels=channels,  # type: ignore[arg-type]
        dtype="uint8",
        colour=colour,  # type: ignore[arg-type]
        part_id=draw(texts),
        trigger=draw(texts),
    )
    return Frame(header, np.frombuffer(content, np.uint8).reshape(height, width, channels))


@st.composite
def verdicts(draw: st.DrawFn, line: str | None = None) -> Verdict:
    result = draw(st.sampled_from(Result))
    judged = result is not Result.FAULT
    some_score = finite if judged else st.none() | finite
    score, threshold = draw(some_score), draw(some_score)
    if result is Result.OK and score is not None and threshold is not None:
        score, threshold = sorted((score, threshold))
    reasons = [reason for reason in FaultReason if reason is not FaultReason.NONE]
    return Verdict(
        line=line if line is not None else draw(names),
        epoch=draw(counters),
        seq=draw(seqs),
        part_id=draw(texts),
        result=result,
        fault=FaultReason.NONE if judged else draw(st.sampled_from(reasons)),
        detail=draw(texts),
        score=score,
        threshold=threshold,
        calibrated=draw(st.booleans()),
        s_global=draw(st.none() | finite),
        s_local_max=draw(st.none() | finite),
        region=draw(st.none() | st.builds(Region, *[st.integers(0, 9999)] * 2, *[st.integers(1, 9999)] * 3)),
        reasons=tuple(draw(st.lists(st.builds(Reason, texts, finite), max_size=5))),
        prompts=draw(hashes),
        bank=draw(hashes),
        model=draw(hashes),
        calibration=draw(hashes),
        recipe=draw(st.integers(0, 65535)),
        timings=draw(st.builds(Timings, *[finite] * 5)),
        captured_wall_ns=draw(counters),
        captured_mono_ns=draw(counters),
        published_wall_ns=draw(counters),
        published_mono_ns=draw(counters),
        boot=draw(hashes),
        judged_by=draw(texts),
    )


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


def a_frame(height: int = 2, width: int = 3) -> Frame:
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    header = FrameHeader("line1", 7, 5, 1, 2, height, width, 3, "uint8", "rgb", "part-5")
    return Frame(header, pixels)


def a_verdict() -> Verdict:
    return Verdict("line1", 7, 5, "part-5", Result.OK, score=0.1, threshold=0.5)


def repacked(parts: list[Part], **changes: object) -> list[Part]:
    """The same message with other header fields, as another implementation might send it."""
    fields = msgpack.unpackb(parts[1])
    return [parts[0], msgpack.packb({**fields, **changes}), *parts[2:]]


@given(frames())
def test_frame_survives_the_wire(frame: Frame) -> None:
    """Header and pixels come back equal."""
    decoded = decode_frame(encode_frame(frame))
    assert decoded.header == frame.header
    np.testing.assert_array_equal(decoded.pixels, frame.pixels)


@given(verdicts())
def test_verdict_survives_the_wire(verdict: Verdict) -> None:
    """Every field comes back equal."""
    assert decode_verdict(encode_verdict(verdict)) == verdict


def test_a_beat_holds_128_counters() -> None:
    """One more is malformed: a listener's memory is not a sender's to fill."""
    counters = {f"counter{number}": 0 for number in range(128)}
    beat = Beat("detector", "line1", ServiceState.READY, 1, counters)
    assert decode_beat(encode_beat(beat)) == beat
    with pytest.raises(MalformedHeader):
        decode_beat(encode_beat(dataclasses.replace(beat, counters=counters | {"more": 0})))


@given(beats)
def test_beat_survives_the_wire(beat: Beat) -> None:
    """Every field comes back equal."""
    assert decode_beat(encode_beat(beat)) == beat


@given(names)
def test_replay_request_survives_the_wire(line: str) -> None:
    """The line comes back equal."""
    assert decode_replay_request(encode_replay_request(ReplayRequest(line))).line == line


@given(names, st.integers(1, 2**63 - 1), counters, counters, st.lists(counters, max_size=64))
def test_lease_survives_the_wire(line: str, holder: int, ring: int, seen: int, held: list[int]) -> None:
    """Every field comes back equal."""
    lease = Lease(line, holder, ring, seen, tuple(held))
    assert decode_lease(encode_lease(lease)) == lease


def test_slot_survives_the_wire() -> None:
    """A frame in shared memory carries its header and where its pixels lie."""
    header, slot = a_frame().header, SlotRef(ring=8, index=3, length=18, stamp=5, holder=9)
    parts = encode_shared_frame(header, slot)
    assert slot_of(parts) == slot
    assert decode_frame([*parts[:2], bytes(18)]).header == header


def test_part_without_image_keeps_its_header() -> None:
    """Which part it is, and why there is no image; never an image of one grey pixel."""
    header = dataclasses.replace(a_frame().header, unreadable="cut short")
    parts = encode_unreadable(header)
    assert decode_frame_header(parts) == header
    with pytest.raises(NoImage, match="cut short"):
        decode_frame([*parts[:2], bytes(18)])


def test_header_tells_the_part_whatever_became_of_its_pixels() -> None:
    """Of a payload that was cut short, and of a slot that cannot be read."""
    frame = a_frame()
    parts = encode_frame(frame)
    assert decode_frame_header([*parts[:2], b"cut"]) == frame.header
    assert decode_frame_header([*parts[:2], b"", b"no slot"]) == frame.header


def test_frame_with_its_pixels_has_no_slot() -> None:
    """What every camera can send."""
    assert slot_of(encode_frame(a_frame())) is None


def test_reader_that_knows_no_slots_refuses_a_shared_frame() -> None:
    """It sees a part too many, and never an empty picture."""
    with pytest.raises(WrongParts):
        decode_frame(encode_shared_frame(a_frame().header, SlotRef(1, 0, 18, 1, 1)))


def test_size_as_captured_is_the_images_own_where_nothing_was_shrunk() -> None:
    """Older cameras say nothing of it."""
    assert a_frame(2, 3).header.captured_size == (2, 3)


@pytest.mark.parametrize("size", [(1, 9), (9, 1)])
def test_size_as_captured_below_the_image_is_malformed(size: tuple[int, int]) -> None:
    """A camera shrinks, it never enlarges."""
    parts = repacked(encode_frame(a_frame(2, 3)), captured_height=size[0], captured_width=size[1])
    with pytest.raises(MalformedHeader, match="captured"):
        decode_frame(parts)


def replay(line: str, history: list[Verdict]) -> list[Part]:
    return encode_replay(line, map(encode_verdict, history))


@given(st.lists(verdicts(line="line1"), max_size=4))
def test_replay_survives_the_wire(history: list[Verdict]) -> None:
    """All verdicts come back, in their order."""
    assert decode_replay(replay("line1", history)) == history


@given(st.integers(0, 9), st.integers(0, 9), st.binary(max_size=20), st.randoms(use_true_random=False))
def test_map_survives_the_wire(height: int, width: int, jpeg: bytes, random: Any) -> None:
    """Header, values and picture come back equal, a map without values included."""
    values = np.array([random.random() for _ in range(height * width)], np.float16).reshape(height, width)
    header = MapHeader("line1", 7, 5, Result.NG, height, width, 0.1, 0.6)
    decoded = decode_map(encode_map(AnomalyMap(header, values, jpeg)))
    assert (decoded.header, decoded.jpeg) == (header, jpeg)
    np.testing.assert_array_equal(decoded.values, values)


def test_frame_of_a_cut_array_is_sent_contiguous() -> None:
    """A view with gaps in memory arrives as its own pixels, not as its neighbours'."""
    whole = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    header = FrameHeader("line1", 7, 5, 1, 2, 4, 4, 3, "uint8", "rgb")
    decoded = decode_frame(encode_frame(Frame(header, whole[:, 2:6])))
    np.testing.assert_array_equal(decoded.pixels, whole[:, 2:6])


def test_decoded_pixels_cannot_be_changed() -> None:
    """They are a view of the received message, which others may share."""
    decoded = decode_frame([bytes(part) for part in encode_frame(a_frame())])
    with pytest.raises(ValueError, match="read-only"):
        decoded.pixels[0, 0, 0] = 1


def test_decoding_a_frame_does_not_copy_it() -> None:
    """The pixels lie in the message's own memory."""
    parts = [bytes(part) for part in encode_frame(a_frame())]
    assert np.shares_memory(decode_frame(parts).pixels, np.frombuffer(parts[2], np.uint8))


@pytest.mark.parametrize("version", [VERSION + 1, 0, None, "1", 1.5])
def test_unknown_version_is_named_before_anything_else(version: object) -> None:
    """Another version is refused as such even if every other field is strange."""
    parts: list[Part] = [b"frame/line1/", msgpack.packb({"v": version, "shape": [1, 2]}), b""]
    with pytest.raises(UnknownVersion):
        decode_frame(parts)


def test_missing_version_is_an_unknown_version() -> None:
    """A header that does not say its version is not guessed at."""
    with pytest.raises(UnknownVersion):
        decode_beat([b"beat/camera/line1/", msgpack.packb({"service": "camera"})])


@pytest.mark.parametrize("decode", DECODERS)
def test_no_parts_are_wrong_parts(decode: Callable[[Sequence[Part]], Any]) -> None:
    """An empty message is refused by every decoder."""
    with pytest.raises(WrongParts):
        decode([])


def test_one_part_too_many_is_wrong_parts() -> None:
    """A frame with something after its pixels is refused."""
    with pytest.raises(WrongParts):
        decode_frame([*encode_frame(a_frame()), b"more"])


def test_topic_of_another_line_is_a_wrong_topic() -> None:
    """A header may not claim another line than the one subscribed to."""
    parts = encode_frame(a_frame())
    with pytest.raises(WrongTopic):
        decode_frame([frame_topic("line10"), *parts[1:]])


def test_topic_of_another_kind_is_a_wrong_topic() -> None:
    """A verdict on a beat's topic is refused."""
    with pytest.raises(WrongTopic):
        decode_verdict([b"beat/line1/", *encode_verdict(a_verdict())[1:]])


@pytest.mark.parametrize("payload", [b"", b"x" * 17, b"x" * 19])
def test_pixels_of_another_length_are_refused(payload: bytes) -> None:
    """2 x 3 x 3 pixels are 18 bytes, not one less or more."""
    parts = encode_frame(a_frame(2, 3))
    with pytest.raises(WrongLength):
        decode_frame([*parts[:2], payload])


def test_map_of_another_length_is_refused() -> None:
    """A 1 x 2 float16 map is 4 bytes."""
    header = MapHeader("line1", 7, 5, Result.OK, 1, 2)
    parts = encode_map(AnomalyMap(header, np.zeros((1, 2), np.float16)))
    with pytest.raises(WrongLength):
        decode_map([*parts[:2], b"xyz", parts[3]])


def test_header_above_the_limit_is_too_large() -> None:
    """A header is refused by its size, before it is parsed."""
    with pytest.raises(TooLarge):
        decode_frame([b"frame/line1/", b"\xc0" * (MAX_HEADER_BYTES + 1), b""])


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"\x91" * (MAX_HEADER_BYTES - 1) + b"\xc0", id="depth"),
        pytest.param(b"\x81\xa1v" * 20_000 + b"\xc0", id="depth of maps"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="items of an array"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="items of a map"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="length of a text"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="length of bytes"),
        pytest.param(b"\xc9\xff\xff\xff\xff\x01", id="length of an extension"),
    ],
)
def test_header_that_claims_more_than_it_holds_is_malformed(packed: bytes) -> None:
    """Depth, items and lengths are bounded before anything is made of them."""
    with pytest.raises(MalformedHeader):
        decode_frame([b"frame/line1/", packed, b""])


def test_image_above_the_limit_is_too_large() -> None:
    """An image that claims more pixels than allowed is refused, whatever follows."""
    parts = repacked(encode_frame(a_frame()), height=65_535, width=65_535)
    with pytest.raises(TooLarge):
        decode_frame(parts)


def test_jpeg_above_the_limit_is_too_large() -> None:
    """A picture beyond the limit is refused."""
    header = MapHeader("line1", 7, 5, Result.NG, 0, 0)
    parts = encode_map(AnomalyMap(header, np.empty((0, 0), np.float16)))
    with pytest.raises(TooLarge):
        decode_map([*parts[:3], bytes(MAX_JPEG_BYTES + 1)])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("line", "../etc"),
        ("line", "a" * 65),
        ("seq", -1),
        ("seq", 2**63),
        ("seq", "5"),
        ("seq", True),
        ("height", 0),
        ("width", 65_536),
        ("channels", 2),
        ("dtype", "float32"),
        ("colour", "cmyk"),
        ("part_id", "x" * 65),
        ("colour", "grey"),  # beside three channels
    ],
)
def test_frame_header_out_of_bounds_is_malformed(field: str, value: object) -> None:
    """Each field is checked for type and bounds."""
    with pytest.raises(MalformedHeader, match=field if value != "grey" else "channels"):
        decode_frame(repacked(encode_frame(a_frame()), **{field: value}))


def test_missing_field_is_malformed() -> None:
    """A header without its sequence number names it."""
    parts = encode_frame(a_frame())
    fields = msgpack.unpackb(parts[1])
    del fields["seq"]
    with pytest.raises(MalformedHeader, match="seq"):
        decode_frame([parts[0], msgpack.packb(fields), parts[2]])


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xff\xff",
        msgpack.packb([1, 2]),
        msgpack.packb(5),
        b"\x91" * 2000,  # lists in lists
        b"\x81\x81\x01\x02\x03",  # a map as a map's key
        b"\xdf\xff\xff\xff\xff",  # a map that claims 4 billion entries
        b"\xdb\xff\xff\xff\xff",  # a text that claims 4 GB
        b"\x81\xa1v\xd4\x01\x00",  # an extension type
        b"\x81\xa1v\xa1\xff",  # text that is not UTF-8
    ],
)
def test_what_is_no_header_is_malformed(packed: bytes) -> None:
    """Bytes that are no msgpack map, or one that would cost memory, are refused."""
    with pytest.raises(MalformedHeader):
        decode_frame([b"frame/line1/", packed, b""])


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    """A sender may add fields without breaking an older reader."""
    verdict = a_verdict()
    assert decode_verdict(repacked(encode_verdict(verdict), colour_of_the_sky="blue")) == verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"result": "FAULT"},
        {"result": "OK", "fault": "stale"},
        {"score": None},
        {"score": math.nan},
        {"score": math.inf},
        {"threshold": None},
        {"threshold": -math.inf},
        {"result": "OK", "score": 0.7, "threshold": 0.6},
        {"score": "0.7"},
        {"s_global": math.nan},
        {"s_local_max": -math.inf},
        {"reasons": [{"text": "scratch", "similarity": math.nan}]},
        {"timings": {"total": math.inf}},
        {"region": {"x": -1, "y": 0, "width": 1, "height": 1, "area": 1}},
        {"region": {"x": 0, "y": 0, "width": 2**40, "height": 1, "area": 1}},
        {"region": {"x": "9" * 4000, "y": 0, "width": 1, "height": 1, "area": 1}},
        {"result": "MAYBE"},
        {"fault": "tired"},
    ],
)
def test_verdict_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    """No OK or NG without finite score and threshold or with a fault, no OK above the threshold; no FAULT
    without its reason."""
    with pytest.raises(MalformedHeader):
        decode_verdict(repacked(encode_verdict(a_verdict()), **changes))


def test_contradicting_verdict_is_refused_in_a_replay_too() -> None:
    """The second way to a verdict is as narrow as the first."""
    wrong = dataclasses.replace(a_verdict(), score=None)
    with pytest.raises(MalformedHeader):
        decode_replay(replay("line1", [a_verdict(), wrong]))


@pytest.mark.parametrize(
    "topic", [b"replay/", b"replay//", b"replay/line1", b"replay/a b/", b"verdict/line1/"]
)
def test_empty_replay_of_no_line_is_a_wrong_topic(topic: bytes) -> None:
    """Without verdicts there is no header to compare with, but a line it must be."""
    with pytest.raises(WrongTopic):
        decode_replay([topic])


def test_replay_of_another_line_is_a_wrong_topic() -> None:
    """A verdict that belongs to another line than the reply is refused."""
    with pytest.raises(WrongTopic):
        decode_replay(replay("line10", [a_verdict()]))


@pytest.mark.parametrize("reason", list(FaultReason))
def test_every_reason_has_a_code_of_its_own(reason: FaultReason) -> None:
    """The PLC can tell all reasons apart; part faults stay below 100."""
    assert fault_code(reason) < FaultCode.CAMERA_LOST
    assert [other for other in FaultReason if fault_code(other) == fault_code(reason)] == [reason]


msgpack_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
near_headers = st.fixed_dictionaries(
    {"v": st.just(VERSION)},
    optional={
        name: msgpack_values | st.sampled_from(["line1", "uint8", "rgb", "OK", "camera", 1, 3, 0])
        for kind in (FrameHeader, Verdict, MapHeader, Beat)
        for name in (field.name for field in dataclasses.fields(kind))
        if name != "v"
    },
)
packed_headers = st.binary(max_size=64) | st.builds(
    lambda fields: msgpack.packb(fields), near_headers | msgpack_values
)
topics = st.binary(max_size=24) | st.sampled_from(
    [b"frame/line1/", b"verdict/line1/", b"map/line1/", b"beat/camera/line1/", b"replay/line1/"]
)


@pytest.mark.parametrize("decode", DECODERS)
@given(topic=topics, header=packed_headers, rest=st.lists(st.binary(max_size=32), max_size=3))
def test_no_bytes_raise_anything_but_a_decode_error(
    decode: Callable[[Sequence[Part]], Any], topic: bytes, header: bytes, rest: list[bytes]
) -> None:
    """Whatever arrives, a decoder gives a message or a DecodeError."""
    try:
        decode([topic, header, *rest])
    except DecodeError:
        return


@given(st.lists(st.binary(max_size=32), max_size=5))
def test_any_number_of_random_parts_is_a_decode_error(parts: list[bytes]) -> None:
    """Random bytes in any number of parts are no message of ours to any decoder."""
    for decode in DECODERS:
        with pytest.raises(DecodeError):
            decode(parts)


@given(frames(), st.integers(0, 10**9), st.integers(0, 255))
def test_a_flipped_header_byte_never_gives_other_pixels(frame: Frame, where: int, value: int) -> None:
    """A damaged header is refused, or the message still has the pixels and the line it was sent with."""
    parts = encode_frame(frame)
    damaged = bytearray(parts[1])
    damaged[where % len(damaged)] = value
    try:
        decoded = decode_frame([parts[0], bytes(damaged), parts[2]])
    except DecodeError:
        return
    assert decoded.header.line == frame.header.line
    assert decoded.pixels.tobytes() == frame.pixels.tobytes()
