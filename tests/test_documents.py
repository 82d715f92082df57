"""Every link of README and docs leads somewhere: to a file, and to a heading in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_PAGES = sorted([_ROOT / "README.md", *_ROOT.glob("docs/**/*.md"), *_ROOT.glob("benchmarks/**/*.md")])
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    """Relative ones; what lies on other servers is not asked for."""
    links = _LINK.findall(_CODE.sub("", page.read_text()))
    assert [link for link in links if not _leads_somewhere(page, link)] == []


def test_every_page_can_be_found_from_the_readme() -> None:
    """A document that nothing links to is read by nobody."""
    found, todo = set[Path](), [_ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in found:
            found.add(page)
            targets = (link.partition("#")[0] for link in _LINK.findall(page.read_text()))
            inside = [(page.parent / target).resolve() for target in targets if target.endswith(".md")]
            todo += [each for each in inside if each.is_file()]
    assert [page for page in _PAGES if page not in found] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    path, _, heading = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not heading or heading in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """Of a page's headings, as they are commonly made: lower case, no punctuation, hyphens for spaces."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(page.read_text()))
    return {each.strip().replace(" ", "-") for each in words}
