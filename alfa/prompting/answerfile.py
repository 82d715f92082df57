"""The answer file: queries on paper, for a language model that this machine cannot reach.

`alfa-prompts generate --dry-run` prints it without answers; a person pastes each query into a chat and the
answer below it; `alfa-prompts import` reads it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from alfa.errors import BadInput
from alfa.files import reading
from alfa.prompting.queries import Answer, Query, Section

_ANSWER_MARK = "--- answer ---"
_HEADER = re.compile(r"^\s*=== *(normal|abnormal|descriptors) +\d+ *===\s*$", re.IGNORECASE)
_ANSWER = re.compile(r"^\s*--- *answer *---\s*$", re.IGNORECASE)
_LARGEST_BYTES = 10_000_000


def answer_sheet(class_name: str, queries: Iterable[Query]) -> str:
    """The queries as a text to be filled in."""
    counts = dict.fromkeys(Section, 0)
    blocks = [_introduction(class_name)]
    for query in queries:
        counts[query.section] += 1
        blocks.append(f"=== {query.section} {counts[query.section]} ===\n{query.text}\n{_ANSWER_MARK}\n\n")
    return "\n".join(blocks)


def read_answers(path: Path) -> list[Answer]:
    """The answers in a filled-in sheet; queries without an answer are left out.

    Raises:
        BadInput: missing, not UTF-8, too large, without any query header, or a header without answer mark.
    """
    with reading(path):
        if path.stat().st_size > _LARGEST_BYTES:
            raise BadInput(path, "", None, "is larger than 10 MB; that is no answer sheet")
        text = path.read_text(encoding="utf-8-sig")
    answers = list(_answers(path, text.splitlines()))
    if not answers:
        advice = (
            "holds no `=== normal 1 ===` header; start from the output of alfa-prompts generate --dry-run"
        )
        raise BadInput(path, "", None, advice)
    return [answer for answer in answers if answer.text.strip()]


def _introduction(class_name: str) -> str:
    return (
        f"Queries about: {class_name}\n"
        f'1. Paste the text between each "===" header and its "{_ANSWER_MARK}" line into a chat.\n'
        f'2. Paste the answer, as it is, below that "{_ANSWER_MARK}" line and save this file.\n'
        f'3. Run: alfa-prompts import THIS_FILE --class "{class_name}" --model NAME_OF_THE_MODEL\n'
    )


def _answers(path: Path, lines: list[str]) -> Iterator[Answer]:
    headers = [(index, found) for index, line in enumerate(lines) if (found := _HEADER.match(line))]
    borders = [*(index for index, _ in headers), len(lines)]
    for (start, header), end in zip(headers, borders[1:], strict=True):
        block = lines[start + 1 : end]
        mark = next((index for index, line in enumerate(block) if _ANSWER.match(line)), None)
        if mark is None:
            advice = f'no "{_ANSWER_MARK}" line follows it; add one'
            raise BadInput(path, f"line {start + 1}", header[0].strip(), advice)
        query = Query(Section(header[1].lower()), "\n".join(block[:mark]).strip())
        yield Answer(query, "\n".join(block[mark + 1 :]).strip())
