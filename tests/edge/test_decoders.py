"""Every decoder, with messages that are nearly right: it takes them or refuses them by a name of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz.campaign import Crash, crash_of, fuzz
from benchmarks.fuzz.decoders import Decoder, decoders
from benchmarks.fuzz.mutations import Message, mutated
from benchmarks.fuzz.regressions import keep, kept
from edge.messages import DecodeError

REGRESSIONS = Path(__file__).with_name("regressions")
NAMES = (
    *("frame", "frame header", "tally", "shared frame", "lease", "verdict", "map", "evidence", "beat"),
    *("replay request", "arrivals", "books", "replay"),
    *("image png", "image jpeg", "image bmp", "image tiff", "image webp"),
    *("prompts", "config", "calibration", "bank", "answers", "PLC image", "PLC control", "Modbus answer"),
)
# FEW for the slow ones; the campaign (`python -m benchmarks.fuzz`) is for the millions.
FEW, MANY = 10, 60
# An answer of a PLC has 20 ms, which a busy machine may miss some times, but not each time.
ATTEMPTS = 20


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Decoder]:
    """All decoders, by name."""
    return decoders(tmp_path_factory.mktemp("decoders"))


def test_all_decoders_are_tested(every: dict[str, Decoder]) -> None:
    """Who adds a decoder to the table adds its name here."""
    assert tuple(every) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_our_own_side_sends_is_taken(every: dict[str, Decoder], name: str) -> None:
    """The campaign begins with valid messages: else it would only see the first check refuse."""
    decoder = every[name]
    taken = any(fuzz_one(decoder, message) for _ in range(ATTEMPTS) for message in decoder.seeds)
    assert taken, f"no seed of {name} is valid"


@pytest.mark.parametrize("name", NAMES)
def test_message_that_is_nearly_right_is_taken_or_refused_by_name(
    every: dict[str, Decoder], name: str
) -> None:
    """Bits, lengths, types, depths and parts changed: never another error than the decoder's own."""
    decoder = every[name]

    @settings(max_examples=MANY if decoder.share == 1.0 else FEW)
    @given(st.randoms(use_true_random=False))
    def never_crashes(random: Random) -> None:
        crash = crash_of(decoder, mutated(decoder.seeds, random))
        assert crash is None, crash

    never_crashes()


def regressions() -> Iterator[tuple[str, Message]]:
    yield from kept(REGRESSIONS)


@pytest.mark.parametrize(("name", "message"), list(regressions()))
def test_what_once_crashed_a_decoder_does_no_more(
    every: dict[str, Decoder], name: str, message: Message
) -> None:
    """Each file of the directory broke a decoder of an earlier commit."""
    assert crash_of(every[name], message) is None


def test_campaign_finds_a_decoder_that_lets_an_error_through() -> None:
    """A planted error is found, once for its place, and the message brings it back."""

    def decode(message: Message) -> int:
        if not message:
            raise DecodeError("no parts")
        return message[0][3]

    decoder = Decoder("planted", [[b"0123"]], decode)
    outcome = fuzz(decoder, messages=300, seconds=60, random=Random(0))
    assert (outcome.messages, len(outcome.crashes)) == (300, 1)
    assert outcome.accepted
    (crash,) = outcome.crashes.values()
    assert crash.where.startswith("IndexError at test_decoders.py:")
    assert crash_of(decoder, crash.message) is not None


def test_crash_is_kept_as_a_file(tmp_path: Path) -> None:
    """What is written is read back as the message that it was."""
    crash = Crash("frame", "IndexError at x.py:1 (f)", "IndexError()", [b"frame/line1/", b"\x00\xff"])
    keep(crash, tmp_path)
    assert list(kept(tmp_path)) == [("frame", [b"frame/line1/", b"\x00\xff"])]


def fuzz_one(decoder: Decoder, message: Message) -> bool:
    """Whether the decoder takes it."""
    try:
        decoder.decode(message)
    except decoder.refusals:
        return False
    return True
