"""What the code promises about its own shape. Layers are held by ``lint-imports`` (make lint)."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "novafleet"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc)(_|$)", re.IGNORECASE)
CODE = re.compile(r"\bNF-[A-Z]+-\d{3}\b")


def functions() -> Iterator[tuple[str, int]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_functions_are_short() -> None:
    sizes = dict(functions())
    ordered = sorted(sizes.values())
    assert statistics.median(ordered) <= 12
    assert ordered[int(len(ordered) * 0.9)] <= 40
    # a typer command's signature is its options: cli/ may need the room
    assert [name for name, size in sizes.items() if size > 50] == []


def test_files_are_short() -> None:
    assert [str(path) for path in SOURCES if path.read_text().count("\n") >= 400] == []


def test_names_say_what_they_are() -> None:
    assert [str(path) for path in SOURCES if FORBIDDEN_NAMES.search(path.stem)] == []
    assert [str(path.parent) for path in SOURCES if FORBIDDEN_NAMES.search(path.parent.name)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_error_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            assert caught, f"{path}:{node.lineno}: bare except"
            if caught in {"Exception", "BaseException"}:
                raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                assert raises, f"{path}:{node.lineno}: a broad except that does not raise"


def test_every_error_code_has_a_page() -> None:
    used = {code for path in SOURCES for code in CODE.findall(path.read_text())}
    pages = {path.stem for path in (ROOT / "docs/errors").glob("NF-*.md")}
    assert sorted(used - pages) == []
    assert sorted(pages - used) == [], "pages of codes that nothing raises"


def test_top_level_folders_are_the_ones_agreed() -> None:
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line}
    wanted = {"novafleet", "inventory", "playbooks", "templates", "collectors", "tests", "docs"}
    assert {folder for folder in folders if not folder.startswith(".")} == wanted


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_neither_asyncssh_nor_libvirt(words: list[str]) -> None:
    program = (
        "import sys, runpy\n"
        "sys.argv = ['novafleet', *sys.argv[1:]]\n"
        "try:\n    runpy.run_module('novafleet', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'asyncssh', 'libvirt', 'yaml', 'jinja2', 'sqlite3', 'asyncio'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "HEAVY []" in shown.stdout
    assert "Usage" in shown.stdout or "novafleet 0." in shown.stdout
