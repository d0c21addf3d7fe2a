"""``group_vars/`` and ``host_vars/`` beside an inventory: which files speak of whom.

Ansible's rules (``DataLoader.find_vars_files``): ``NAME``, ``NAME.yml``, ``NAME.yaml`` and ``NAME.json`` in this order,
the first that exists; a directory stands for all files in it, by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from novafleet.errors import ConfigError, Location
from novafleet.inventory.detect import unreadable
from novafleet.inventory.document import MAX_NODES, ansible_tree, is_vault, refuse_vaulted
from novafleet.inventory.layer import VarFile, variables
from novafleet.model.fleet import Notice
from novafleet.source.load import parse, read_text
from novafleet.source.node import describe
from novafleet.source.schema import Findings

FOLDERS = {"group_vars": False, "host_vars": True}
_EXTENSIONS = ("", ".yml", ".yaml", ".json")


def read_beside(
    directory: Path, known: Mapping[bool, Collection[str]], findings: Findings, *, own: bool
) -> tuple[tuple[VarFile, ...], tuple[Notice, ...]]:
    """The variable files of an inventory in ``directory``. With ``own`` plain scalars are YAML 1.2's.

    Those of nobody that is ``known`` (groups at False, hosts at True) stay closed: they may be another inventory's.
    """
    files: list[VarFile] = []
    notices: list[Notice] = []
    for folder, host in FOLDERS.items():
        for name, paths in sorted(_by_name(directory / folder).items()):
            chosen, *shadowed = paths
            if name not in known[host]:
                files.append(VarFile(name, host, Location(str(chosen)), {}))
                continue
            notices.extend(Notice(f"not read, {chosen.name} is read instead", Location(str(path))) for path in shadowed)
            for path in _files(chosen):
                read = tuple(findings.attempt(lambda p=path, n=name, h=host: _read(p, n, host=h, own=own)))  # type: ignore[misc]
                files.extend(each for each in read if isinstance(each, VarFile))
                notices.extend(each for each in read if isinstance(each, Notice))
    return tuple(files), tuple(notices)


def listing(directory: Path) -> list[Path]:
    """What is in a directory, by name. Raises ConfigError NF-INV-001."""
    try:
        return sorted(directory.iterdir())
    except OSError as exc:
        raise unreadable(directory, exc) from exc


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """Files and directories of a folder by whom they speak of, the one that counts first."""
    if not folder.is_dir():
        return {}
    found: dict[str, list[Path]] = {}
    for path in sorted(listing(folder), key=lambda path: _EXTENSIONS.index(_extension(path))):
        if not _is_hidden(path):
            found.setdefault(path.name.removesuffix(_extension(path)), []).append(path)
    return found


def _extension(path: Path) -> str:
    return path.suffix if path.suffix in _EXTENSIONS and not path.is_dir() else ""


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for child in listing(path):
        if child.is_dir():
            yield from _files(child) if not child.suffix and not _is_hidden(child) else ()
        elif not _is_hidden(child) and child.suffix in _EXTENSIONS:
            yield child


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.endswith("~")


def _read(path: Path, name: str, *, host: bool, own: bool) -> VarFile | Notice:
    text = read_text(path)
    if is_vault(text):
        return Notice("encrypted by ansible-vault: its variables are not known here", Location(str(path)))
    if own:
        refuse_vaulted(text, str(path))
    root = parse(text, str(path), most=MAX_NODES) if own else ansible_tree(text, str(path))
    if root.value is not None and not isinstance(root.value, Mapping):
        raise ConfigError(
            f"variables are a mapping, this is {describe(root)}",
            code="NF-INV-002",
            where=root.location,
            hints=("write NAME: VALUE, one a line",),
        )
    return VarFile(name, host, root.location, variables(root))
