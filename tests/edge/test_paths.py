"""Names from config.toml and the wire become paths; none of them leaves the directory that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alfa.errors import BadInput
from alfa.prompting.promptset import find_prompt_file
from edge.settings import load_settings

OUTSIDE = ["../x", "/etc/passwd", "a/../../x", "..", "x.toml", "x\0y", "~root", ""]
CONFIG = """
[results]
{results}
[lines.{line}]
prompts = "{prompts}"
detector = "{detector}"
[lines.{line}.source]
kind = "synthetic"
"""


def config(results: str = "", line: str = "a", prompts: str = "generic", detector: str = "main") -> str:
    text = CONFIG.format(results=results, line=line, prompts=prompts, detector=detector)
    return text.replace("\0", "\\u0000")


@pytest.mark.parametrize("name", OUTSIDE)
def test_prompts_of_a_line_are_in_their_directory(write_config: Callable[..., Path], name: str) -> None:
    """A class is a name, never a path."""
    with pytest.raises(BadInput, match=r"lines\.a\.prompts"):
        load_settings(write_config(config(prompts=name)))


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name != "x.toml"])
@pytest.mark.parametrize("key", ["detector", "database", "evidence", "line"])
def test_other_names_are_names(write_config: Callable[..., Path], key: str, name: str) -> None:
    """Of sockets, of the record, of its pictures and of lines."""
    quoted = f'"{name}"'
    changes = {
        "detector": {"detector": name},
        "database": {"results": f"database = {quoted}"},
        "evidence": {"results": f"evidence = {quoted}"},
        "line": {"line": quoted},
    }
    with pytest.raises(BadInput):
        load_settings(write_config(config(**changes[key])))


def test_link_out_of_the_prompts_directory_is_not_followed(tmp_path: Path) -> None:
    """Else whoever may write prompts could have any file read by a service."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "secret.toml").write_text("")
    (tmp_path / "prompts" / "plate.toml").symlink_to(tmp_path / "secret.toml")
    with pytest.raises(BadInput, match=r"plate\.toml: is a link to outside"):
        find_prompt_file("plate", tmp_path / "prompts")


def test_link_within_the_prompts_directory_is_followed(tmp_path: Path) -> None:
    """Two classes may share a file."""
    (tmp_path / "plate.toml").write_text("")
    (tmp_path / "nut.toml").symlink_to("plate.toml")
    assert find_prompt_file("nut", tmp_path) == tmp_path / "nut.toml"
