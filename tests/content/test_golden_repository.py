"""Repositories written by every version of the format so far: both readers restore them, and the file stands alone."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from novafleet.errors import RepositoryError
from novafleet.objectstore.directory import DirectoryStore
from novafleet.repository import KeySource, Repository, reader
from novafleet.repository.check import check, scrub

HERE = Path(__file__).parent
GOLDEN = sorted(HERE.glob("repository-*/"))
SOURCE = Path(str(reader.__file__))
ALLOWED = {"zstandard", "blake3", "cryptography", "__future__"}


def expected(folder: Path) -> dict[str, str]:
    """SHA-256 by ``SNAPSHOT DISK``."""
    found: dict[str, str] = json.loads((folder / "expected.json").read_text())
    return found


def keys(folder: Path) -> dict[str, KeySource]:
    return {
        "file": KeySource(file=folder / "key"),
        "passphrase": KeySource(passphrase=f"file:{folder}/passphrase"),
    }


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
@pytest.mark.parametrize("key", ["file", "passphrase"])
async def test_novafleet_restores_it(folder: Path, key: str) -> None:
    repository = await Repository.open(DirectoryStore(folder / "repository"), keys(folder)[key])
    found = {}
    for snapshot in await repository.snapshots():
        for name, disk in snapshot.disks.items():
            source = await repository.disk(disk)
            found[f"{snapshot.id} {name}"] = hashlib.sha256(await source.read(0, source.size)).hexdigest()
        assert await repository.blob(snapshot.files["domain.xml"]) == b"<domain/>\n"
    assert found == expected(folder)


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
@pytest.mark.parametrize("options", [["--key-file", "key"], ["--passphrase-file", "passphrase", "--scan"]], ids=str)
def test_the_standalone_reader_restores_it(folder: Path, tmp_path: Path, options: list[str]) -> None:
    shutil.copy(SOURCE, tmp_path / "reader.py")
    repository = str(folder / "repository")
    key = [options[0], str(folder / options[1]), *options[2:]]
    few = slice(None if options[0] == "--key-file" else 1)  # a passphrase takes its time
    for name, digest in list(expected(folder).items())[few]:
        out = tmp_path / name
        _run(tmp_path, repository, *key, "restore", *name.split(), str(out))
        assert hashlib.sha256(out.read_bytes()).hexdigest() == digest
        assert out.stat().st_mode & 0o777 == 0o600
    snapshot = next(iter(expected(folder))).partition(" ")[0]
    _run(tmp_path, repository, *key, "files", snapshot[:12], str(tmp_path / "files"))
    assert (tmp_path / "files" / "domain.xml").read_bytes() == b"<domain/>\n"
    listed = _run(tmp_path, repository, *key, "ls")
    assert len(listed.splitlines()) == len({name.partition(" ")[0] for name in expected(folder)})


def _run(folder: Path, *words: str) -> str:
    argv = [sys.executable, "-I", str(folder / "reader.py"), *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_standalone_reader_needs_nothing_of_novafleet() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Import):
            imported.update(name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) <= ALLOWED


def test_a_restore_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN[0] / "repository", tmp_path / "repository")
    for pack in (tmp_path / "repository" / "packs").glob("*/*"):
        if pack.stat().st_size > 10_000:
            os.truncate(pack, 9_000)
    name = min(expected(GOLDEN[0])).split()
    out = tmp_path / "out"
    argv = [str(tmp_path / "repository"), "--key-file", str(GOLDEN[0] / "key"), "restore", *name, str(out)]
    assert reader.main(argv) == 1
    assert not out.exists()


async def test_what_file_servers_and_desktops_lay_beside_objects(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN[0], tmp_path / "nas")
    folder = tmp_path / "nas" / "repository"
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        (place / "Thumbs.db").write_bytes(b"x")
        (place / "@eaDir").mkdir()
        (place / "@eaDir" / "SYNO@index").write_bytes(b"x")
    key = tmp_path / "nas" / "key"
    repository = await Repository.open(DirectoryStore(folder), KeySource(key))
    assert (await check(repository, share=1.0)).clean
    assert not [each.why for each in await scrub(repository.store) if each.why]
    assert len(await repository.slots()) == 2
    (name, digest), *_ = expected(GOLDEN[0]).items()
    for options in ([], ["--scan"]):
        out = tmp_path / f"out{len(options)}"
        assert reader.main([str(folder), "--key-file", str(key), *options, "restore", *name.split(), str(out)]) == 0
        assert hashlib.sha256(out.read_bytes()).hexdigest() == digest


async def test_a_repository_of_the_future_is_refused(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN[0], tmp_path / "future")
    config = tmp_path / "future" / "repository" / "config"
    config.write_text(config.read_text().replace('"version": 1', '"version": 3'))
    with pytest.raises(RepositoryError) as caught:
        await Repository.open(DirectoryStore(tmp_path / "future" / "repository"), keys(tmp_path / "future")["file"])
    assert caught.value.code == "NF-REPO-004"
    assert reader.main([str(config.parent), "--key-file", str(tmp_path / "future" / "key"), "ls"]) == 1
