"""What a header's fields are made of: types that bound what a sender may claim."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

LONGEST_TEXT = 1000  # characters
LONGEST_PART_ID = 64  # characters
MAX_SIDE = 65_535  # pixels
# A count that jumps further is not believed: nobody loses so many parts between two messages, and each part
# told lost costs a verdict and a row of the record.
MOST_LOST_AT_ONCE = 100_000  # parts
# Of lines and of everything else whose name becomes a piece of a topic or of a file's name.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

Line: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]
Text: TypeAlias = Annotated[str, Field(max_length=LONGEST_TEXT)]
PartId: TypeAlias = Annotated[str, Field(max_length=LONGEST_PART_ID)]
CounterName: TypeAlias = Annotated[str, Field(max_length=64)]
Hash: TypeAlias = Annotated[str, Field(max_length=64)]
# SQLite and most PLC tools know signed 64-bit integers only.
Counter: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
# A part's number; the count of parts, which is one more, must fit too.
Seq: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**63 - 1)]
Whole: TypeAlias = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
# NaN becomes NULL in SQLite and no valid JSON at all; text that looks like a number is none.
Number: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
