"""Finds collectors: a project's own folder first, then the bundled ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novafleet import bundled
from novafleet.errors import ConfigError, Location

HINT = "compare it with the bundled collectors/system/parse.py: it defines parse(text, mark) -> dict"
Parser = Callable[[str, str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Collector:
    """A read-only script and the pure function that reads what it prints."""

    name: str
    script: str
    parse: Parser


def collectors(names: Iterable[str], project: Path | None = None) -> tuple[Collector, ...]:
    """The named collectors. Raises ConfigError NF-COL-001 for one that is in neither folder or cannot be loaded."""
    return tuple(_collector(name, project) for name in names)


def _collector(name: str, project: Path | None) -> Collector:
    roots = [root for root in (project, bundled.folder("collectors")) if root]
    for root in roots:
        directory = root / name
        if (directory / "collect.sh").is_file():
            return Collector(name, (directory / "collect.sh").read_text(), _parser(directory / "parse.py"))
    looked = ", ".join(str(root) for root in roots)
    raise ConfigError(f"no collector named {name}", code="NF-COL-001", hints=(f"looked in {looked}",))


def _parser(path: Path) -> Parser:
    if not path.is_file():
        raise ConfigError("a collector needs a parse.py", code="NF-COL-001", where=Location(str(path)), hints=(HINT,))
    spec = importlib.util.spec_from_file_location(f"novafleet_collector_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        parse: Parser = module.parse
    except (SyntaxError, ImportError, AttributeError) as error:
        where = Location(str(path))
        raise ConfigError(
            "cannot be loaded", code="NF-COL-001", where=where, cause=str(error), hints=(HINT,)
        ) from error
    return parse
