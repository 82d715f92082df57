"""Messages that once broke a decoder, as files: a test gives each of them to its decoder ever after.

{directory}/{decoder}-{hash}.json    decoder, what it did, and the parts in hexadecimal
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from alfa.files import content_hash, write_atomic
from benchmarks.fuzz.campaign import Crash
from benchmarks.fuzz.mutations import Message


def keep(crash: Crash, directory: Path) -> Path:
    """Write a crash; gives the file's path."""
    content = {
        "decoder": crash.decoder,
        "was": crash.where,
        "parts": [part.hex() for part in crash.message],
    }
    name = f"{crash.decoder.replace(' ', '_')}-{content_hash(b'|'.join(crash.message))}.json"
    write_atomic(directory / name, (json.dumps(content, indent=1) + "\n").encode())
    return directory / name


def kept(directory: Path) -> Iterator[tuple[str, Message]]:
    """(decoder, message) of every file, by name."""
    for path in sorted(directory.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        yield content["decoder"], [bytes.fromhex(part) for part in content["parts"]]
