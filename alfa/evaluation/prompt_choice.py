"""Which prompt file each class of a data set is judged with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from alfa.errors import BadInput
from alfa.prompting.promptset import available_classes, file_stem, find_prompt_file

OPTION = "--prompts"
FALLBACK = "generic"


def choose_prompts(classes: Iterable[str], given: Sequence[str], prompts_dir: Path) -> dict[str, Path]:
    """Class -> prompt file: as told, else by the class's name, else the generic one.

    A class may carry its data set's name before its own: `mvtec_bottle` is judged with `bottle`.

    Args:
        classes: names of the classes.
        given: `NAME` for all classes, `class=NAME` for one of them; NAME is a class or a file.
        prompts_dir: the user's own prompt files, looked into before those shipped with the product.

    Raises:
        BadInput: a file or class named in `given` does not exist.
    """
    names = list(classes)
    told = _told(names, given)
    available = available_classes(prompts_dir)
    return {
        name: find_prompt_file(told[name], prompts_dir) if name in told else _by_name(name, available)
        for name in names
    }


def _told(names: list[str], given: Sequence[str]) -> dict[str, str]:
    pairs = [text.split("=", 1) for text in given if "=" in text]
    unknown = next((name for name, _ in pairs if name not in names), None)
    if unknown is not None:
        raise BadInput(OPTION, "class", unknown, f"is no class of the data set; it has {', '.join(names)}")
    for_all = [text for text in given if "=" not in text]
    if len(for_all) > 1:
        raise BadInput(OPTION, "", for_all[1], "is a second file for all classes; write class=NAME")
    return {**dict.fromkeys(names, for_all[0]), **dict(pairs)} if for_all else dict(pairs)


def _by_name(name: str, available: dict[str, Path]) -> Path:
    words = file_stem(name).split("_")
    endings = ("_".join(words[start:]) for start in range(len(words)))
    found = next((ending for ending in endings if ending in available), FALLBACK)
    return find_prompt_file(str(available[found])) if found in available else find_prompt_file(found)
