"""From the paths a person names to documents and variable files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from novafleet.errors import Location
from novafleet.inventory import document, variables
from novafleet.inventory.graph import ALL, UNGROUPED
from novafleet.inventory.layer import Document, VarFile
from novafleet.inventory.variables import listing
from novafleet.model.fleet import Notice
from novafleet.source.schema import Findings

_NEVER = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".retry")
"""Ansible skips these in a directory (INVENTORY_IGNORE_EXTS), and ``.cfg``, which we say."""
_NOT_HOSTS = (*variables.FOLDERS, "vars_plugins")


@dataclass(frozen=True, slots=True)
class Sources:
    """All that was read, in the order in which later values win."""

    documents: tuple[Document, ...]
    variables: tuple[VarFile, ...]
    notices: tuple[Notice, ...] = ()
    paths: tuple[str, ...] = ()


def read(paths: Sequence[Path]) -> Sources:
    """Read every file. Raises ConfigError, or everything that keeps hosts or groups unknown as ConfigErrors."""
    reader = _Reader()
    beside: dict[Path, Sequence[Document]] = {}
    for path in paths:
        documents = [found for file in reader.files(path, set()) for found in reader.document(file)]
        reader.documents.extend(documents)
        beside.setdefault(path if path.is_dir() else path.parent, documents)
    for directory, inside in beside.items():
        reader.variables_beside(directory, inside)
    if reader.findings.errors:
        reader.findings.errors.extend(error for document in reader.documents for error in document.errors)
    reader.findings.check()
    return Sources(tuple(reader.documents), tuple(reader.variables), tuple(reader.notices), tuple(map(str, paths)))


class _Reader:
    """Collects what the paths hold, and what is wrong with them."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.documents: list[Document] = []
        self.variables: list[VarFile] = []
        self.notices: list[Notice] = []

    def document(self, file: Path) -> tuple[Document, ...]:
        return self.findings.attempt(lambda: document.read(file))

    def variables_beside(self, directory: Path, documents: Sequence[Document]) -> None:
        """Plain scalars are YAML 1.2's where all hosts are from our own files."""
        known = {
            False: {ALL, UNGROUPED, *(entry.name for found in self.documents for entry in found.groups)},
            True: {entry.name for found in self.documents for entry in found.hosts},
        }
        own = any(found.own for found in documents) and not any(found.hosts and not found.own for found in documents)
        for files, notices in self.findings.attempt(
            lambda: variables.read_beside(directory, known, self.findings, own=own),
        ):
            self.variables.extend(files)
            self.notices.extend(notices)

    def files(self, path: Path, above: Collection[Path]) -> Iterator[Path]:
        """The file itself, or the files of a directory by name, those of its subdirectories among them."""
        if not path.is_dir():
            yield path
            return
        here = path.resolve()
        if here in above:
            return
        for children in self.findings.attempt(lambda: listing(path)):
            for child in children:
                if self._counts(child, children):
                    yield from self.files(child, {*above, here})

    def _counts(self, child: Path, beside: Sequence[Path]) -> bool:
        if child.name.startswith(".") or child.name in _NOT_HOSTS or child.name.endswith(_NEVER):
            return False
        if child.suffix == ".cfg" or (child.suffix == ".ini" and _has_program(child, beside)):
            self.notices.append(Notice("not read: taken for the settings of a program", Location(str(child))))
            return False
        return True


def _has_program(settings: Path, beside: Sequence[Path]) -> bool:
    """Is there an ``ec2.py`` to this ``ec2.ini``?"""
    programs = (path for path in beside if path.stem == settings.stem and path.is_file())
    return any(path != settings and os.access(path, os.X_OK) for path in programs)
