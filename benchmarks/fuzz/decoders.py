"""The decoders: what each reads, valid messages made by our own encoders, and how it may refuse.

A message is a list of parts, as it crosses a socket; a file is a message of one part. `decode` does what the
services do with a message up to its first effect: a number that is taken and then breaks the record or the
registers is found here.
"""

from __future__ import annotations

import dataclasses
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from PIL import Image

from alfa.calibration import Calibration
from alfa.errors import BadInput, Fault
from alfa.images import read_image
from alfa.memory import MemoryBank
from alfa.prompting.answerfile import answer_sheet, read_answers
from alfa.prompting.answers import parse_descriptors, parse_side
from alfa.prompting.promptset import PromptSet, load_prompt_set, to_toml
from alfa.prompting.queries import Query, Section
from benchmarks.fuzz import samples
from benchmarks.fuzz.accounts import Arrivals, Books
from benchmarks.fuzz.modbus import Answering
from benchmarks.fuzz.mutations import Message
from edge.camera.tally import Tally
from edge.clocks import is_foreign
from edge.messages import (
    Beat,
    DecodeError,
    Frame,
    FrameHeader,
    Lease,
    Part,
    ReplayRequest,
    SlotRef,
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
    slot_of,
)
from edge.plc.link import LinkError
from edge.plc.registers import (
    Control,
    LineImage,
    ResultCode,
    decode_control,
    decode_image,
    encode_control,
    encode_image,
    part_number,
    scaled_score,
    word,
)
from edge.results.evidence import EvidenceStore
from edge.results.upstream import Upstream
from edge.ring import FrameRing, RingReader
from edge.settings import load_settings

_EVIDENCE_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class Decoder:
    """One way into the product.

    Attributes:
        name: in the table, and of the directory of its regressions.
        seeds: valid messages.
        decode: takes any message; gives something or raises one of `refusals`.
        refusals: the named errors that it may raise.
        share: how many messages it gets of those that a fast decoder gets; images and files are slow.
    """

    name: str
    seeds: Sequence[Message]
    decode: Callable[[Message], object]
    refusals: tuple[type[Exception], ...] = (DecodeError,)
    share: float = 1.0


def decoders(directory: Path) -> dict[str, Decoder]:
    """All decoders, by name.

    Args:
        directory: for the files that some of them read; short-lived.
    """
    every = (*_of_sockets(directory), *_of_images(directory), *_of_files(directory), *_of_the_plc())
    return {decoder.name: decoder for decoder in every}


def _of_sockets(directory: Path) -> list[Decoder]:
    header = samples.frame_header()
    pixels = np.arange(header.height * header.width * header.channels, dtype=np.uint8)
    frame = Frame(header, pixels.reshape(header.height, header.width, header.channels))
    grey = dataclasses.replace(header, channels=1, colour="grey", captured_height=9, captured_width=9)
    picture = Frame(grey, np.zeros((header.height, header.width, 1), np.uint8))
    unreadable = dataclasses.replace(header, unreadable="the camera gave no image")
    verdicts = samples.verdicts()
    published = [encode_verdict(verdict) for verdict in verdicts]
    maps = [_message(encode_map(each)) for each in samples.maps()]
    slot = SlotRef(ring=77, index=1, length=frame.pixels.nbytes, stamp=5, holder=1)
    shared = [
        *_message(encode_shared_frame(header, slot)),
        samples.slot_file(slot.stamp, frame.pixels.tobytes()),
    ]
    beats = [encode_beat(beat) for beat in samples.beats() if beat.service == "camera"]
    books = Books(samples.LINE, directory / "books.sqlite")
    store = EvidenceStore(directory / "evidence", _EVIDENCE_BYTES, most_s=3600)
    return [
        Decoder("frame", [_message(encode_frame(each)) for each in (frame, picture)], _frame),
        Decoder("frame header", [_message(encode_unreadable(unreadable))], _frame_without_image),
        Decoder("tally", [[samples.tally_file()]], partial(_tally, directory / "tally"), share=0.05),
        Decoder("shared frame", [shared], partial(_shared_frame, directory / "slots"), share=0.2),
        Decoder(
            "lease", [_message(encode_lease(each)) for each in samples.leases()], partial(_lease, directory)
        ),
        Decoder("verdict", [_message(parts) for parts in published], _verdict),
        Decoder("map", maps, decode_map),
        Decoder("evidence", maps, partial(_evidence, store), share=0.02),
        Decoder("beat", [_message(encode_beat(each)) for each in samples.beats()], _beat),
        Decoder(
            "replay request",
            [_message(encode_replay_request(ReplayRequest(samples.LINE)))],
            decode_replay_request,
        ),
        Decoder("arrivals", [_message(encode_unreadable(header))], Arrivals(samples.LINE).take, share=0.2),
        Decoder("books", [*map(_message, published), *map(_message, beats)], books.take, share=0.005),
        Decoder(
            "replay", [_message(encode_replay(samples.LINE, published)), [b"replay/line1/"]], decode_replay
        ),
    ]


def _of_images(directory: Path) -> list[Decoder]:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 255, (24, 20, 3), dtype=np.uint8))
    formats = {
        "png": (image, image.convert("L"), image.convert("RGBA"), image.convert("P"), image.convert("I;16")),
        "jpeg": (image, image.convert("L"), image.convert("CMYK")),
        "bmp": (image, image.convert("1")),
        "tiff": (image, image.convert("F")),
        "webp": (image,),
    }
    read = partial(read_image, max_pixels=1_000_000)
    return [
        _of_file(
            f"image {kind}", directory, [samples.encoded(each, kind) for each in images], read, share=0.02
        )
        for kind, images in formats.items()
    ]


def _of_files(directory: Path) -> list[Decoder]:
    prompts = PromptSet(
        "metal nut", ("A normal image of a nut.",), ("An abnormal image of a nut.",), ("a scratch",)
    )
    sheet = answer_sheet("metal nut", [Query(section, "How?") for section in Section])
    answered = sheet.replace(
        "--- answer ---", "--- answer ---\n1. An abnormal image of metal nut, bent.\n- rust"
    )
    return [
        _of_file("prompts", directory, [to_toml(prompts).encode()], load_prompt_set, share=0.1),
        _of_file("config", directory, [samples.CONFIG.encode()], load_settings, share=0.05),
        _of_file("calibration", directory, [samples.calibration()], Calibration.load, share=0.2),
        _of_file(
            "bank", directory, [samples.bank(directory / "seed.safetensors")], MemoryBank.load, share=0.05
        ),
        _of_file("answers", directory, [answered.encode()], _read_answers, share=0.05),
    ]


def _of_the_plc() -> list[Decoder]:
    image = LineImage(ready=True, seq=70_000, result_code=ResultCode.NG, score=4711)
    answering = Answering()
    return [
        Decoder("PLC image", [[_packed(encode_image(image))]], _plc_image, (ValueError,)),
        Decoder(
            "PLC control", [[_packed(encode_control(Control(acknowledge=1)))]], _plc_control, (ValueError,)
        ),
        Decoder("Modbus answer", answering.seeds, answering.decode, (LinkError,), share=0.002),
    ]


def _of_file(
    name: str, directory: Path, contents: Sequence[bytes], load: Callable[[Path], object], share: float
) -> Decoder:
    """A decoder of a file: the first part of the message is its content."""

    path = directory / name.replace(" ", ".")

    def decode(message: Message) -> object:
        path.write_bytes(b"".join(message))
        return load(path)

    return Decoder(name, [[content] for content in contents], decode, (BadInput, Fault), share)


def _frame(message: Message) -> Frame:
    parts: list[Part] = list(message)
    frame = decode_frame(parts)
    is_foreign(frame.header.boot, frame.header.mono_ns, time.monotonic_ns())
    return frame


def _frame_without_image(message: Message) -> FrameHeader:
    return decode_frame_header(list(message))


def _tally(path: Path, message: Message) -> Beat:
    """A camera's file of counts, and the beat that tells them."""
    path.write_bytes(b"".join(message))
    tally = Tally(path, samples.EPOCH, structlog.stdlib.get_logger())
    tally.close()
    beat = dataclasses.replace(samples.beats()[0], earlier=tally.earlier)
    return decode_beat(encode_beat(beat))


def _shared_frame(directory: Path, message: Message) -> Frame:
    """As the detector takes it; a fifth part is what lies in the slot's file."""
    directory.mkdir(exist_ok=True)
    *parts, content = message if message else [b""]
    slot = slot_of(parts)
    if slot is None:
        return decode_frame(parts)
    reader = RingReader(samples.LINE, directory / "ring")
    lease = reader.lease()
    if slot.holder == 1 and lease is not None:
        slot = dataclasses.replace(slot, holder=lease.holder)
    # Of another name than what an earlier message may have mapped; a file is never cut while it is read.
    path = directory / f"ring-{slot.ring:016x}-{slot.index}"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    try:
        shared = reader.pixels(slot)
        frame = decode_frame([parts[0], parts[1], shared.view])
        shared.require_whole()
        return frame
    finally:
        path.unlink()


def _lease(directory: Path, message: Message) -> Lease:
    lease = decode_lease(list(message))
    ring = FrameRing(directory / "lent", budget_bytes=1)
    ring.follow(lease)
    ring.close()
    return lease


def _verdict(message: Message) -> list[int]:
    """A verdict, and the registers that show it."""
    verdict = decode_verdict(list(message))
    shown = LineImage(
        seq=verdict.seq & 0xFFFFFFFF,
        part_id=part_number(verdict.part_id),
        score=scaled_score(verdict.score),
        threshold=scaled_score(verdict.threshold),
        recipe=verdict.recipe,
        judged_ms=word(verdict.timings.total),
    )
    return encode_image(shown)


def _beat(message: Message) -> Beat:
    beat = decode_beat(list(message))
    upstream = Upstream(lost_after_s=1.0)
    upstream.hear(beat, 0.0)
    upstream.is_lost(0.5)
    return beat


def _evidence(store: EvidenceStore, message: Message) -> None:
    store.keep(decode_map(list(message)), time.time())


def _read_answers(path: Path) -> None:
    for answer in read_answers(path):
        parse_descriptors([answer.text])
        parse_side([answer.text], Section.ABNORMAL, "metal nut")


def _plc_image(message: Message) -> LineImage:
    return decode_image(_unpacked(message))


def _plc_control(message: Message) -> Control:
    return decode_control(_unpacked(message))


def _message(parts: Sequence[Part]) -> Message:
    return [bytes(part) for part in parts]


def _packed(registers: list[int]) -> bytes:
    return struct.pack(f">{len(registers)}H", *registers)


def _unpacked(message: Message) -> list[int]:
    content = b"".join(message)
    return [high << 8 | low for high, low in zip(content[::2], content[1::2], strict=False)]
