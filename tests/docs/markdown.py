"""The documentation's pages, taken apart: only what they use of Markdown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
(REPOSITORY,) = re.findall(
    r'^Source = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
)
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


class Block(NamedTuple):
    """A fenced block: its language, or the empty text, and what is in it."""

    name: str
    """Page and line, as one identifier."""
    language: str
    text: str


@dataclass
class Section:
    """A heading and what stands below it, up to the next one of any level."""

    title: str
    rows: list[list[str]] = field(default_factory=list)
    """Cells of its tables, without the lines of dashes."""
    blocks: list[Block] = field(default_factory=list)

    def cells(self, key: str) -> list[str]:
        """Return the second cells of the rows that begin with ``key``."""
        return [row[1] for row in self.rows if row[0] == key]

    def cell(self, key: str) -> str:
        """Return the second cell of the one row that begins with ``key``."""
        (found,) = self.cells(key)
        return found


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(f"{page.stem.lower()}_{text.count(chr(10), 0, found.start()) + 1}", found[1], found[2])
        for found in _FENCE.finditer(text)
    ]


def sections(text: str) -> list[Section]:
    """Take a page's text apart at its headings."""
    found: list[Section] = []
    for part in re.split(r"^(?=#{1,6} )", text, flags=re.MULTILINE):
        title, _, rest = part.partition("\n")
        section = Section(title.lstrip("# ").strip())
        section.blocks = [Block(section.title, one[1], one[2]) for one in _FENCE.finditer(rest)]
        for line in _FENCE.sub("", rest).splitlines():
            if line.startswith("|") and not re.fullmatch(r"[|\-: ]+", line):
                section.rows.append([cell.strip() for cell in line.strip("|").split("|")])
        found.append(section)
    return found


def codes(cell: str) -> list[str]:
    """Return what is in backticks."""
    return _CODE.findall(cell)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#{1,6} (.+)$", text, flags=re.MULTILINE)
    return {slug(title) for title in titles}


def slug(title: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def headings(page: Path) -> list[str]:
    """Return the titles of the page's sections."""
    return re.findall(r"^## (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)


def links(page: Path) -> list[str]:
    """Return the targets of the page's links and pictures; those into our own repository from the page's folder on."""
    text = page.read_text(encoding="utf-8")
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    for address in (f"{REPOSITORY}/blob/main/", f"{raw}/main/"):
        text = text.replace(f"]({address}", f"]({os.path.relpath(ROOT, page.parent)}/")
    return re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text))


def paragraphs(page: Path) -> list[str]:
    """Return the page's paragraphs and the points of its lists, without tables, blocks and what Sphinx fills in."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"^:::.*?^:::$", "", text, flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    return [part.strip() for part in parts if part.strip() and not part.lstrip().startswith("|")]
