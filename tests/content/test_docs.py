"""The documentation: made pages are up to date, links lead somewhere, every page can be reached."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")] if "_build" not in path.parts)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


def test_made_pages_are_up_to_date() -> None:
    generated = runpy.run_path(str(DOCS / "generate.py"))["pages"]()
    stale = [str(path.relative_to(ROOT)) for path, text in generated.items() if path.read_text() != text]
    assert stale == [], "run: .venv/bin/python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in targets if not (page.parent / link).exists()] == []


def test_every_page_can_be_reached() -> None:
    reachable = {"index"}
    for page in (DOCS / "index.md", DOCS / "adr/index.md", DOCS / "errors/index.md"):
        folder = page.parent.relative_to(DOCS)
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            reachable |= {str(folder / line) for line in tree.splitlines() if line and not line.startswith(":")}
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md") if "_build" not in page.parts}
    assert sorted(page for page in pages - reachable if not page.startswith("changelog.d/")) == []
    assert sorted(reachable - pages) == []


def test_the_quick_start_is_long_enough_to_be_one() -> None:
    assert len((DOCS / "guides/quickstart.md").read_text().splitlines()) >= 200
