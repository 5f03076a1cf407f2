"""Reads the code blocks of the pages at the root and under docs/, which tests/docs runs and checks."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ENTRANCES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*ENTRANCES, *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(
    r"""(?:^<!--\ not\ run:\ (?P<why_not>.+?)\ -->\n)?  # this comment before a block opts out of being run
        ^(?P<indent>\ *)```(?P<language>\w*)(?:\ title="(?P<title>[^"]+)")?\n
        (?P<text>.*?)
        ^\ *```$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


class Block(NamedTuple):
    """One fenced block. `title`: the file name under which the reader saves it. `why_not`: why it is not run, if so."""

    page: str
    line: int
    language: str
    title: str | None
    text: str
    why_not: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def page_name(path: Path) -> str:
    """Return the name of the page as tests show it, for example `docs/protocol.md`."""
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of one page, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            page_name(path),
            text.count("\n", 0, found.start("text")),
            found["language"],
            found["title"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            found["why_not"],
        )
        for found in _BLOCK.finditer(text)
    ]


BLOCKS = [block for path in PAGES for block in blocks_of(path)]


def blocks(language: str, page: str | None = None) -> list[Block]:
    """Return the blocks in this language that do not opt out, of one page or of all."""
    return [
        block for block in BLOCKS if block.language == language and not block.why_not and page in {None, block.page}
    ]
