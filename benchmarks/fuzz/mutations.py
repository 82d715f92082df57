"""Messages that are nearly right: a valid one with a few things changed. Pure, given the random numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeAlias

import msgpack

Message: TypeAlias = list[bytes]

_MOST_CHANGES = 3
# Longer parts are pixels, where one more change of structure says nothing.
_LONGEST_STRUCTURED = 64 * 1024
_WORDS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


def _nested(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


# What a field of another type, of another size or out of every bound looks like.
_VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, "", b"", b"\0" * 32),
    *(
        0,
        1,
        -1,
        255,
        256,
        65_535,
        65_536,
        2**31,
        2**32,
        2**53 + 1,
        2**62,
        2**63 - 1,
        2**63,
        2**64 - 1,
        -(2**63),
    ),
    *(0.5, -0.0, 1e308, 5e-324, math.nan, math.inf, -math.inf),
    *("OK", "NG", "FAULT", "READY", "stale", "rgb", "grey", "uint8", "camera", "line1"),
    *(
        "../../etc/passwd",
        "..",
        "line1\n",
        "\0",
        "\u202e",
        "\U0001f4a5" * 9,
        "9" * 4000,
        "x" * 65,
        "x" * 1001,
    ),
    *(
        _nested(100),
        list(range(5000)),
        {str(number): number for number in range(200)},
        {"": {"": {}}},
        ["OK"],
    ),
    *(msgpack.ExtType(5, b"x"), msgpack.Timestamp(2**33, 5)),
)
# Lengths that are not there, and depth without end.
_BOMBS = (
    *(b"\x91" * 2000, b"\x81\xa1v" * 2000, b"\x81\x81\x01\x02\x03", b"\xc1", b"\xd4\x01\x00"),
    *(kind + b"\xff" * 4 for kind in (b"\xdf", b"\xdd", b"\xdb", b"\xc6", b"\xc9")),
)
_TOKENS = (
    *("nan", "inf", "-inf", "1e999", "-1", "0", "true", "null", "9223372036854775808", "0x" + "f" * 5000),
    *("1" * 5000, "-" + "9" * 400, "0." + "0" * 400 + "1", "1979-05-27T07:32:00Z", "9999-99-99", "99:99:99"),
    *("[" * 3000, "{" * 3000, '{"a":' * 3000, "a." * 1500 + "b = 1\n", "[a." + "b." * 1500 + "c]\n"),
    *("[", "]", "{", "}", "[[", "]]", "=", ",", ":", "#", "\n", "\r", "\\", '"', "'", '"""', "'''"),
    *("\\u0000", "\\ud800", "\\U0010ffff", "\\U00110000", "\0", "\x1b[2J", "\ufeff", "\u202e", "\x7f"),
    *(
        "../../etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "\\xff",
        "x" * 2000,
        "=== normal 1 ===",
        "--- answer ---",
    ),
)
_VALUE_IN_TEXT = re.compile(r'"[^"\n]*"|-?\d[\d.eE+_-]*|\btrue\b|\bfalse\b')


def mutated(seeds: Sequence[Message], random: Random) -> Message:
    """One of the seeds with one to three changes, each of a random kind.

    Args:
        seeds: valid messages; parts of a second one may be spliced in.
        random: where all choices come from.
    """
    message = list(random.choice(seeds))
    for _ in range(random.randint(1, _MOST_CHANGES)):
        if random.random() < 0.1 or not message:
            message = _other_parts(message, random.choice(seeds), random)
        else:
            index = random.randrange(len(message))
            message[index] = _other_part(message[index], random.choice(random.choice(seeds) or [b""]), random)
    return message


def _other_parts(message: Message, other: Message, random: Random) -> Message:
    """Another number or order of parts."""
    kind = random.randrange(5)
    if kind == 0:
        return message[: random.randint(0, len(message))]
    if kind == 1:
        return [*message, random.randbytes(random.randint(0, 40))]
    if kind == 2:
        return [*message, *other]
    if kind == 3:
        return random.sample(message, len(message))
    cut = random.randint(0, len(message))
    return [*message[:cut], *other[cut:]]


def _other_part(part: bytes, other: bytes, random: Random) -> bytes:
    """A part in which its structure is changed, where it has one, or else its bytes."""
    if len(part) <= _LONGEST_STRUCTURED and random.random() < 0.7:
        changed = _other_fields(part, random)
        if changed is None:
            changed = _other_text(part, random)
        if changed is not None:
            return changed
    return random.choice(_BYTE_CHANGES)(part, other, random)


def _other_fields(part: bytes, random: Random) -> bytes | None:
    """A msgpack map with a value of another type, a field less or one more; None where it is no such map."""
    try:
        fields = msgpack.unpackb(part, strict_map_key=False)
        if not isinstance(fields, dict):
            return None
        return bytes(msgpack.packb(_changed_tree(fields, random)))
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException):
        return None


def _changed_tree(tree: Any, random: Random) -> Any:  # noqa: ANN401 - whatever msgpack can hold
    """The tree with one node changed: mostly a leaf, at times a whole branch."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    if not keys or random.random() < 0.1:
        return random.choice(_VALUES)
    key = random.choice(keys)
    kind = random.randrange(10)
    if kind == 0:
        del tree[key]
    elif kind == 1 and isinstance(tree, dict):
        tree[random.choice([7, b"v", "later", "x" * 300, "\0"])] = random.choice(_VALUES)
    elif kind == 2:
        tree[key] = tree[random.choice(keys)]
    else:
        tree[key] = _changed_tree(tree[key], random)
    return tree


def _other_text(part: bytes, random: Random) -> bytes | None:
    """A text with another value, or with a piece of syntax where none should be; None where it is no text."""
    try:
        text = part.decode()
    except UnicodeDecodeError:
        return None
    token = random.choice(_TOKENS)
    values = list(_VALUE_IN_TEXT.finditer(text)) if random.random() < 0.6 else []
    if values:
        value = random.choice(values)
        start, end = value.span()
    else:
        start = end = random.randint(0, len(text))
    return (text[:start] + token + text[end:]).encode(errors="surrogatepass")


def _flip(part: bytes, other: bytes, random: Random) -> bytes:
    changed = bytearray(part)
    for _ in range(random.randint(1, 8) if part else 0):
        changed[random.randrange(len(part))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _truncate(part: bytes, other: bytes, random: Random) -> bytes:
    return part[: random.randint(0, len(part))]


def _remove(part: bytes, other: bytes, random: Random) -> bytes:
    start = random.randint(0, len(part))
    return part[:start] + part[start + random.randint(1, 16) :]


def _insert(part: bytes, other: bytes, random: Random) -> bytes:
    start = random.randint(0, len(part))
    return part[:start] + random.randbytes(random.randint(1, 16)) + part[start:]


def _repeat(part: bytes, other: bytes, random: Random) -> bytes:
    start = random.randint(0, len(part))
    return part[:start] + part[start : start + 64] * random.randint(2, 64) + part[start:]


def _splice(part: bytes, other: bytes, random: Random) -> bytes:
    return part[: random.randint(0, len(part))] + other[random.randint(0, len(other)) :]


def _overwrite(part: bytes, other: bytes, random: Random) -> bytes:
    """A length or count in the middle becomes one of those where programs go wrong."""
    size = random.choice((1, 2, 4, 8))
    word = (random.choice(_WORDS) % (1 << 8 * size)).to_bytes(size, random.choice(("little", "big")))
    start = random.randint(0, len(part))
    return part[:start] + word + part[start + size :]


def _bomb(part: bytes, other: bytes, random: Random) -> bytes:
    start = random.choice((0, random.randint(0, len(part))))
    return part[:start] + random.choice(_BOMBS)


def _noise(part: bytes, other: bytes, random: Random) -> bytes:
    return random.randbytes(random.randint(0, 64))


_BYTE_CHANGES: tuple[Callable[[bytes, bytes, Random], bytes], ...] = (
    *(_flip, _truncate, _remove, _insert, _repeat, _splice, _overwrite, _bomb, _noise),
)
