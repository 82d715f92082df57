"""docs/reading-guide.md leads a stranger: names are where it says, modules are found, in one direction."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_PAGE = _ROOT / "docs" / "reading-guide.md"
_TEXT = _PAGE.read_text(encoding="utf-8")
_LINKS = re.findall(r"\[([^\]]+)\]\((\.\./[^)#]+)\)", _TEXT)
# Links to a name in a file, such as [`Inlet.take`](../edge/detector/inlet.py).
_NAMES = [(text.strip("`"), path) for text, path in _LINKS if text.startswith("`")]
_EQUATIONS = re.findall(r"^\| ((?:Eq\. \d+(?:, )?)+) \| \[`([\w.]+)`\]\(([^)]+)\)", _TEXT, re.MULTILINE)
_LAST_EQUATION = 12


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Each name that a module makes, and those of its classes, `Class.method`."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node) for target in node.targets if isinstance(target, ast.Name))
        if isinstance(node, ast.ClassDef):
            yield from (
                (f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, ast.FunctionDef)
            )


def _defined(path: str) -> dict[str, ast.AST]:
    return dict(_definitions(ast.parse((_PAGE.parent / path).read_text(encoding="utf-8"))))


def test_every_name_is_in_the_file_that_it_leads_to() -> None:
    """Who renames or moves one, says so there."""
    assert len(_NAMES) > 100
    assert [(name, path) for name, path in _NAMES if name not in _defined(path)] == []


def test_every_equation_of_the_paper_is_in_the_table() -> None:
    """From the problem's statement to the image's score."""
    listed = {int(number) for numbers, *_ in _EQUATIONS for number in re.findall(r"\d+", numbers)}
    assert listed == set(range(1, _LAST_EQUATION + 1))


@pytest.mark.parametrize(("equations", "name", "path"), _EQUATIONS)
def test_a_function_names_the_equations_that_it_is(equations: str, name: str, path: str) -> None:
    """In its own words: whoever finds the function first, finds the paper."""
    documented = _defined(path)[name]
    assert isinstance(documented, ast.FunctionDef)
    named = re.findall(r"Eq\. ([\d, and-]+)", ast.get_docstring(documented) or "")
    assert set(re.findall(r"\d+", equations)) <= set(re.findall(r"\d+", " ".join(named)))


def test_every_module_can_be_found_from_the_guide() -> None:
    """By itself, or by the folder that it is in: who adds one, says there at which step it is read."""
    led_to = {(_PAGE.parent / path).resolve() for _, path in _LINKS}
    modules = [path for package in ("alfa", "edge") for path in (_ROOT / package).rglob("*.py")]
    assert len(modules) > 100
    lost = [
        path for path in modules if path.name != "__init__.py" and led_to.isdisjoint({path, *path.parents})
    ]
    assert lost == []


@pytest.mark.parametrize(
    ("folder", "others"),
    [
        ("alfa", {"edge"}),
        ("edge/messages", {"edge.camera", "edge.detector", "edge.results", "edge.plc", "edge.sockets"}),
        ("edge/camera", {"edge.detector", "edge.results", "edge.plc"}),
        ("edge/detector", {"edge.camera", "edge.results", "edge.plc"}),
        ("edge/results", {"edge.camera", "edge.detector"}),
        ("edge/plc", {"edge.camera", "edge.detector", "edge.results"}),
    ],
)
def test_what_is_read_earlier_needs_nothing_that_is_read_later(folder: str, others: set[str]) -> None:
    """The method knows no line, and the services know each other by their messages alone."""
    wrong = [
        (path.name, module)
        for path in (_ROOT / folder).rglob("*.py")
        for module in _imported(path)
        if any(module == other or module.startswith(f"{other}.") for other in others)
    ]
    assert wrong == []


def _imported(path: Path) -> Iterator[str]:
    """At the top of the module and within its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
