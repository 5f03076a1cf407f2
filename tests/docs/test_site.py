"""Every page is in the menu of the documentation site. `python3 dev.py docs` builds the site and checks the links."""

import tomllib

from stack import site
from stack.cluster import ROOT

DOCS = ROOT / "docs"


def listed(menu) -> list[str]:
    """Return the pages that a menu of zensical.toml names, in order."""
    if isinstance(menu, str):
        return [menu]
    entries = menu.values() if isinstance(menu, dict) else menu
    return [page for entry in entries for page in listed(entry)]


def test_the_menu_has_every_page_once():
    menu = tomllib.loads((DOCS.parent / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(listed(menu)) == sorted(pages)


def test_the_tools_of_the_site_have_a_lock_of_their_own():
    text = site.LOCK.read_text(encoding="utf-8")
    assert "zensical==" in text
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text
