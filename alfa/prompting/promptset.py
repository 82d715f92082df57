"""Prompt files: what is said about one class, in TOML, with a schema and a content hash.

A file holds the prompts a language model wrote (T_G, Sec. 4.2), the descriptors for explanations (Sec. 5.4)
and where they come from; the template prompts (T_CS) are added when the set is used.
"""

from __future__ import annotations

import difflib
import json
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from alfa.errors import BadInput
from alfa.files import content_hash, write_atomic
from alfa.prompting.templates import DEFAULT_DOMAIN, template_prompts
from alfa.tables import first_problem, read_toml

SCHEMA_VERSION = 1
# Far beyond any text tower's context; the exact limit in tokens is the model's own.
LONGEST_PROMPT = 400
LONGEST_NAME = 60

# Beside the package in a checkout, under the prefix when installed from a wheel.
_SHIPPED_DIRECTORIES = (
    Path(__file__).resolve().parents[2] / "prompts",
    Path(sysconfig.get_path("data")) / "share" / "alfa-inspector" / "prompts",
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who wrote the prompts, with which model, when, and what it was asked."""

    generator: str = ""
    model: str = ""
    date: str = ""
    queries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptSet:
    """What is said about one class.

    Attributes:
        class_name: what is on the image, such as `metal nut`.
        domain: kind of image, first of the template's domains.
        normal: T_G+, prompts of good parts.
        abnormal: T_G-, prompts of defective parts.
        descriptors: short descriptions of anomalies for explanations.
        provenance: where the prompts come from; not part of the hash.
        content_hash: 16 hex digits over every text that reaches the model, template prompts included.
    """

    class_name: str
    normal: tuple[str, ...]
    abnormal: tuple[str, ...]
    descriptors: tuple[str, ...] = ()
    domain: str = DEFAULT_DOMAIN
    provenance: Provenance = Provenance()
    content_hash: str = field(init=False)

    def __post_init__(self) -> None:
        normal, abnormal = sides(self)
        texts = {"normal": normal, "abnormal": abnormal, "descriptors": list(self.descriptors)}
        canonical = json.dumps(texts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "content_hash", content_hash(canonical.encode("ascii")))


def sides(prompt_set: PromptSet) -> tuple[list[str], list[str]]:
    """All prompts of both labels, {T_CS, T_G} of Sec. 4.2: 72 template prompts, then the set's own."""
    normal, abnormal = template_prompts(prompt_set.class_name, prompt_set.domain)
    return [*normal, *prompt_set.normal], [*abnormal, *prompt_set.abnormal]


def load_prompt_set(path: Path) -> PromptSet:
    """Read and check a prompt file.

    Raises:
        BadInput: missing, not TOML, another schema version, an unknown key, a wrong type, an empty side, a
            prompt that is empty, over-long or not printable, or the same prompt twice.
    """
    table = read_toml(path)
    _require_schema(path, table)
    try:
        content = _PromptFile.model_validate(table)
    except ValidationError as error:
        raise first_problem(path, error) from error
    _require_distinct(path, content)
    provenance = content.provenance
    return PromptSet(
        class_name=content.class_name,
        domain=content.domain,
        normal=tuple(content.normal),
        abnormal=tuple(content.abnormal),
        descriptors=tuple(content.descriptors),
        provenance=Provenance(
            provenance.generator, provenance.model, provenance.date, tuple(provenance.queries)
        ),
    )


def save_prompt_set(prompt_set: PromptSet, path: Path) -> None:
    """Write a prompt file that `load_prompt_set` reads back as the same set; the old file is replaced whole.

    Raises:
        OSError: the directory is not writable or the disk is full.
    """
    write_atomic(path, to_toml(prompt_set).encode("utf-8"))


def to_toml(prompt_set: PromptSet) -> str:
    """The prompt file's text."""
    provenance = prompt_set.provenance
    lines = [
        f"schema = {SCHEMA_VERSION}",
        f"class = {_quoted(prompt_set.class_name)}",
        f"domain = {_quoted(prompt_set.domain)}",
        "",
        *_array("normal", prompt_set.normal),
        "",
        *_array("abnormal", prompt_set.abnormal),
        "",
        *_array("descriptors", prompt_set.descriptors),
        "",
        "[provenance]",
        f"generator = {_quoted(provenance.generator)}",
        f"model = {_quoted(provenance.model)}",
        f"date = {_quoted(provenance.date)}",
        *_array("queries", provenance.queries),
    ]
    return "\n".join(lines) + "\n"


def find_prompt_file(name_or_path: str, prompts_dir: Path | None = None) -> Path:
    """The prompt file that a person means.

    Args:
        name_or_path: a path (it ends in `.toml` or holds a separator) or a class such as `metal nut`.
        prompts_dir: the user's own prompt files, looked into before those shipped with the product.

    Raises:
        BadInput: there is no such file or class; the line says which classes there are.
    """
    if name_or_path.endswith(".toml") or Path(name_or_path).name != name_or_path:
        path = Path(name_or_path)
        try:
            found = path.is_file()
        except OSError as error:
            raise BadInput(path, "", None, f"cannot be read: {error.strerror}; check the path") from error
        if not found:
            raise BadInput(path, "", None, "no such prompt file; check the path")
        return path
    available = available_classes(prompts_dir)
    stem = file_stem(name_or_path)
    if stem not in available:
        raise BadInput("prompts", "class", name_or_path, _unknown_class(stem, available))
    return require_inside(available[stem])


def require_inside(path: Path) -> Path:
    """The prompt file of a class: that is a name, and a link must not make any file of the machine out of it.

    Raises:
        BadInput: it is a link to outside its directory.
    """
    if path.resolve().parent != path.parent.resolve():
        raise BadInput(path, "", None, "is a link to outside its directory; copy the file there")
    return path


def available_classes(prompts_dir: Path | None = None) -> dict[str, Path]:
    """Prompt files by class, sorted; the user's own hide shipped ones of the same name."""
    directories = [*reversed(_SHIPPED_DIRECTORIES), *([prompts_dir] if prompts_dir else [])]
    found = {path.stem: path for directory in directories for path in directory.glob("*.toml")}
    return dict(sorted(found.items()))


def file_stem(class_name: str) -> str:
    """The file name of a class without its ending: `metal nut` is in `metal_nut.toml`."""
    return re.sub(r"[^a-z0-9]+", "_", class_name.lower()).strip("_")


def same_text(prompt: str) -> str:
    """What two prompts have in common when they are the same but for case, spaces and the final stop."""
    return " ".join(prompt.casefold().split()).rstrip(".")


def keyed(section: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each text with its place in the file, such as `normal.3`."""
    return ((f"{section}.{index}", text) for index, text in enumerate(texts))


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; write something or remove it")
    if not text.isprintable():
        raise ValueError("holds a line break or control character; keep it on one line")
    return text


_Text = Annotated[str, Field(max_length=LONGEST_PROMPT), AfterValidator(_one_line)]
_Name = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_one_line)]


class _ProvenanceTable(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    generator: str = ""
    model: str = ""
    date: str = ""
    queries: list[str] = []


class _PromptFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = Field(alias="schema")
    class_name: _Name = Field(alias="class")
    domain: _Name = DEFAULT_DOMAIN
    normal: list[_Text] = Field(min_length=1)
    abnormal: list[_Text] = Field(min_length=1)
    descriptors: list[_Text] = []
    provenance: _ProvenanceTable = _ProvenanceTable()


def _require_schema(path: Path, table: dict[str, Any]) -> None:
    """Ask for the version first: the keys of another version would only be noise."""
    if "schema" not in table:
        raise BadInput(path, "schema", None, f"is missing; write schema = {SCHEMA_VERSION}")
    version = table["schema"]
    if version is True or version != SCHEMA_VERSION:
        raise BadInput(
            path, "schema", version, f"this release reads version {SCHEMA_VERSION}; convert the file"
        )


def _require_distinct(path: Path, content: _PromptFile) -> None:
    """No prompt twice: not in one side, where it would weigh double, nor in both, where it says nothing."""
    seen: dict[str, str] = {}
    for key, prompt in chain(keyed("normal", content.normal), keyed("abnormal", content.abnormal)):
        _require_new(path, key, prompt, seen)
    descriptors: dict[str, str] = {}
    for key, descriptor in keyed("descriptors", content.descriptors):
        _require_new(path, key, descriptor, descriptors)


def _require_new(path: Path, key: str, prompt: str, seen: dict[str, str]) -> None:
    first = seen.setdefault(same_text(prompt), key)
    if first != key:
        raise BadInput(path, key, prompt, f"is the same as {first}; remove one")


def _unknown_class(stem: str, available: dict[str, Path]) -> str:
    close = difflib.get_close_matches(stem, available, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    names = ", ".join(available) or "none"
    return f"no prompt file for this class; {guess}available: {names}"


def _array(key: str, values: tuple[str, ...]) -> list[str]:
    if not values:
        return [f"{key} = []"]
    return [f"{key} = [", *(f"    {_quoted(value)}," for value in values), "]"]


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's, which also wants DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
