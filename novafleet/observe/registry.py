"""Finds collectors: a project's own folder first, then the bundled ones."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novafleet import bundled
from novafleet.errors import ConfigError, Location

HINT = "compare it with the bundled collectors/system/parse.py: it defines parse(text, mark) -> dict"
Parser = Callable[[str, str], Mapping[str, Any]]
COSTS = ("cheap", "normal", "expensive")
MISREAD = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, SyntaxError)
"""What a parser raises that met something it did not expect; ElementTree's ParseError is a SyntaxError."""


@dataclass(frozen=True, slots=True)
class Collector:
    """A read-only script and the pure function that reads what it prints."""

    name: str
    script: str
    parse: Parser


@dataclass(frozen=True, slots=True)
class Description:
    """What ``collector.yml`` says of one: ``cost`` is cheap | normal | expensive, ``timeout`` seconds."""

    name: str
    description: str
    cost: str
    root: bool
    timeout: float


def project_folder(inventory: Sequence[Path]) -> Path | None:
    """The ``collectors`` folder beside the inventory, or beside the ``inventory`` folder it lies in."""
    for path in inventory:
        beside = path.parent.parent if path.parent.name == "inventory" else path.parent
        if (beside / "collectors").is_dir():
            return beside / "collectors"
    return None


def describe(project: Path | None = None) -> tuple[Description, ...]:
    """Every collector there is, by name; a project's own in place of a bundled one of that name.

    Raises ConfigError NF-COL-001 for a ``collector.yml`` that says something else.
    """
    found = {file.parent.name: file for root in _roots(project)[::-1] for file in sorted(root.glob("*/collect.sh"))}
    return tuple(_described(name, found[name].with_name("collector.yml")) for name in sorted(found))


def read(collector: Collector, text: str, mark: str) -> Mapping[str, Any]:
    """What a collector printed, parsed. Raises ConfigError NF-COL-002 where its parser fails."""
    try:
        return collector.parse(text, mark)
    except MISREAD as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"the parser of collector {collector.name} failed",
            code="NF-COL-002",
            where=Location(last.filename, last.lineno or 0),
            cause=f"{type(error).__name__}: {error}",
            hints=("parse(text, mark) must accept whatever a host prints, cut off anywhere",),
        ) from error


def _described(name: str, file: Path) -> Description:
    import yaml

    try:
        said = yaml.safe_load(file.read_text())
        described = Description(
            name, str(said["description"]), said["cost"], said["root"] is True, float(said["timeout"])
        )
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        raise _unusable("must say description, cost, root and timeout", file, str(error)) from error
    if described.cost not in COSTS:
        raise _unusable(f"cost must be one of {', '.join(COSTS)}", file, f"it is {described.cost!r}")
    return described


def _unusable(what: str, file: Path, cause: str) -> ConfigError:
    return ConfigError(what, code="NF-COL-001", where=Location(str(file)), cause=cause, hints=(HINT,))


def _roots(project: Path | None) -> list[Path]:
    return [root for root in (project, bundled.folder("collectors")) if root]


def collectors(names: Iterable[str], project: Path | None = None) -> tuple[Collector, ...]:
    """The named collectors. Raises ConfigError NF-COL-001 for one that is in neither folder or cannot be loaded."""
    return tuple(_collector(name, project) for name in names)


def _collector(name: str, project: Path | None) -> Collector:
    roots = _roots(project)
    for root in roots:
        directory = root / name
        if (directory / "collect.sh").is_file():
            return Collector(name, (directory / "collect.sh").read_text(), _parser(directory / "parse.py"))
    looked = ", ".join(str(root) for root in roots)
    raise ConfigError(f"no collector named {name}", code="NF-COL-001", hints=(f"looked in {looked}",))


def _parser(path: Path) -> Parser:
    if not path.is_file():
        raise _unusable("a collector needs a parse.py", path, "")
    spec = importlib.util.spec_from_file_location(f"novafleet_collector_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        parse: Parser = module.parse
    except (SyntaxError, ImportError, AttributeError) as error:
        raise _unusable("cannot be loaded", path, str(error)) from error
    return parse
