"""Every code that reading files may raise has a page of its own."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
CODE = re.compile(r'code="(NF-(?:CFG|ENV)-\d{3})"')


def test_every_code_has_a_page() -> None:
    sources = [
        path for folder in ("source", "playbook", "render") for path in (ROOT / "novafleet" / folder).rglob("*.py")
    ]
    codes = {code for path in sources for code in CODE.findall(path.read_text())}
    assert len(codes) > 20
    lacking = sorted(code for code in codes if not (ROOT / "docs" / "errors" / f"{code}.md").is_file())
    assert lacking == []
