"""The folder of a container stack, read: nothing in it may lead out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from novafleet.errors import ConfigError, Location
from novafleet.playbook.spec import StackSpec

MOST_FILES = 1000
MOST_BYTES = 32 * 1024 * 1024
RESERVED = ".novafleet.json"
"""What NovaFleet itself keeps in the bundle's folder on the host."""

COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
SUFFIX = ".j2"
"""Of files that are templates."""
QUADLET_SUFFIXES = (".container", ".pod", ".kube", ".volume", ".network", ".image", ".build")


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file as it lies on the controller; ``path`` is its place in the bundle, ``.j2`` already off."""

    path: str
    written: str
    content: bytes
    mode: int

    @property
    def template(self) -> bool:
        """Is it to be rendered?"""
        return self.written.endswith(SUFFIX)


@dataclass(frozen=True, slots=True)
class Bundle:
    """``entry`` is the file to run, "" for a folder of Quadlet units."""

    root: Path
    entry: str
    files: tuple[BundleFile, ...]


def read_bundle(spec: StackSpec, environment_file: Path) -> Bundle:
    """Everything in the folder. Raises ConfigError NF-ENV-041 (what is there), NF-ENV-042 (it leads out)."""
    where = spec.origins[spec.kind]
    path = Path(spec.path)
    folder = path if _is_folder(path) else path.parent
    if not _is_folder(folder):
        raise _bad(
            f"{path} does not exist", where, "a relative path starts from the folder of the file it is written in"
        )
    root = folder.resolve()
    if environment_file.resolve().is_relative_to(root):
        raise _bad(f"{folder} holds the environment file itself", where, "give the stack a folder of its own")
    files = tuple(_read(root, where))
    _check_unique(files, where)
    if spec.env and any(file.path == ".env" for file in files):
        raise _bad(f"{folder} has a .env and the stack has env", spec.origins["env"], "keep one of the two")
    return Bundle(root, _entry(spec, path, folder, files), files)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name longer than the file system has
        return False


def _entry(spec: StackSpec, path: Path, folder: Path, files: tuple[BundleFile, ...]) -> str:
    where = spec.origins[spec.kind]
    names = {file.path for file in files}
    if path != folder:
        name = path.name.removesuffix(SUFFIX)
        if name not in names:
            raise _bad(f"{path} does not exist", where, f"files there: {', '.join(sorted(names)[:8])}")
        return name
    if spec.kind == "quadlet":
        if not any(name.endswith(QUADLET_SUFFIXES) and "/" not in name for name in names):
            raise _bad(f"{folder} has no Quadlet unit", where, f"units end with {', '.join(QUADLET_SUFFIXES)}")
        return ""
    if spec.kind == "kube":
        raise _bad(f"{folder} is a folder; kube names a file", where)
    found = next((name for name in COMPOSE_NAMES if name in names), "")
    if not found:
        raise _bad(f"{folder} has no Compose file", where, f"it is called {' or '.join(COMPOSE_NAMES[:2])}")
    return found


def _read(root: Path, where: Location) -> Iterator[BundleFile]:
    total = 0
    for count, path in enumerate(sorted(_walk(root, where)), start=1):
        name = path.relative_to(root).as_posix()
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise _bad(f"{path} is no ordinary file", where)
        total += path.stat().st_size
        if count > MOST_FILES or total > MOST_BYTES:
            what = f"{root} has more than {MOST_FILES} files or {MOST_BYTES // 2**20}MiB"
            raise _bad(what, where, "give the stack a folder of its own; images go under images:")
        yield BundleFile(name.removesuffix(SUFFIX), name, _bytes(path, where), 0o755 if mode & 0o100 else 0o644)


def _walk(root: Path, where: Location) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        raise _unread(Path(error.filename), error, where)

    for folder, folders, names in os.walk(root, onerror=unreadable):
        for name in (*folders, *names):
            path = Path(folder, name)
            if not name.isprintable():
                raise _bad(f"{str(path)!r} has unprintable characters in its name", where)
            if path.is_symlink():
                _check_link(root, path, where)
        yield from (Path(folder, name) for name in names)


def _check_link(root: Path, path: Path, where: Location) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(root):  # Path.resolve raises for a link to itself
        what = f"the link {path} leads out of the bundle"
        raise ConfigError(what, code="NF-ENV-042", where=where, hints=("replace it by a copy",))
    if path.is_dir():
        raise _bad(f"{path} is a link to a folder", where, "replace it by a copy")
    if not path.exists():
        raise _bad(f"the link {path} leads nowhere", where)


def _bytes(path: Path, where: Location) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise _unread(path, exc, where) from exc


def _unread(path: Path, exc: OSError, where: Location) -> ConfigError:
    cause = exc.strerror or str(exc)
    return ConfigError(f"cannot read {path}", code="NF-ENV-041", where=where, cause=cause, hints=(f"ls -ld {path}",))


def _check_unique(files: tuple[BundleFile, ...], where: Location) -> None:
    seen: dict[str, str] = {}
    for file in files:
        if file.path.rpartition("/")[2] == "":
            raise _bad(f"nothing is left of the name {file.written} without {SUFFIX}", where, "rename it")
        if file.path == RESERVED:
            raise _bad(f"{RESERVED} is a name of NovaFleet's own", where)
        if file.path in seen:
            raise _bad(f"{seen[file.path]} and {file.written} would both become {file.path}", where, "remove one")
        seen[file.path] = file.written


def _bad(what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(what, code="NF-ENV-041", where=where, hints=hints)
