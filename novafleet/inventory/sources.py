"""From the paths a person names to documents and variable files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from novafleet.errors import ConfigError, Location
from novafleet.inventory import document, variables
from novafleet.inventory.layer import Document, VarFile
from novafleet.model.fleet import Notice
from novafleet.source.schema import Findings

_NEVER = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".retry")
_SETTINGS_OF_PROGRAMS = (".ini", ".cfg")
"""Ansible skips these in a directory (INVENTORY_IGNORE_EXTS): beside a program they are its configuration."""


@dataclass(frozen=True, slots=True)
class Sources:
    """All that was read, in the order in which later values win."""

    documents: tuple[Document, ...]
    variables: tuple[VarFile, ...]
    notices: tuple[Notice, ...] = ()
    paths: tuple[str, ...] = ()


def read(paths: Sequence[Path]) -> Sources:
    """Read every file. Raises ConfigError, or everything that keeps hosts or groups unknown as ConfigErrors."""
    findings = Findings()
    documents: list[Document] = []
    files: list[VarFile] = []
    notices: list[Notice] = []
    seen: dict[Path, bool] = {}
    for path in paths:
        found = [each for file in _inventory_files(path, findings, notices) for each in _document(file, findings)]
        documents.extend(found)
        directory = path if path.is_dir() else path.parent
        own = any(each.own for each in found) and not any(each.hosts and not each.own for each in found)
        if seen.setdefault(directory, own) == own and path.exists():
            beside, shadowed = variables.read_beside(directory, findings, own=own)
            files.extend(beside)
            notices.extend(shadowed)
    if findings.errors:
        findings.errors.extend(error for each in documents for error in each.errors)
    findings.check()
    return Sources(tuple(documents), tuple(files), tuple(notices), tuple(map(str, paths)))


def _document(file: Path, findings: Findings) -> tuple[Document, ...]:
    return findings.attempt(lambda: document.read(file))


def _inventory_files(path: Path, findings: Findings, notices: list[Notice]) -> Iterator[Path]:
    """The file itself, or the files of a directory by name, those of its subdirectories among them."""
    if not path.is_dir():
        if not path.exists():
            findings.note(
                ConfigError(
                    "there is no such inventory",
                    code="NF-INV-001",
                    where=Location(str(path)),
                    hints=("name one with -i, or make one here: novafleet init",),
                )
            )
            return
        yield path
        return
    for child in sorted(path.iterdir()):
        if child.name.startswith(".") or child.name in variables.FOLDERS or child.name.endswith(_NEVER):
            continue
        if child.name.endswith(_SETTINGS_OF_PROGRAMS):
            text = f"not read: in a directory {child.suffix} files are settings of programs, as for Ansible"
            notices.append(Notice(text, Location(str(child))))
            continue
        yield from _inventory_files(child, findings, notices)
