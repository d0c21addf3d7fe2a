"""Volumes of stacks are kept and given back by the real scripts; engine and systemd are small stand-ins."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from novafleet.capability.snapshot import volumes
from novafleet.capability.snapshot.volumes import put, remove, shelves, take, taken
from novafleet.errors import SnapshotError
from tests.localsession import local_session
from tests.unit.snapshot.machine import Context

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a host's root keeps volumes; this is not root")
PROJECT = "lab-app"
UNIT = f"""#!{sys.executable}
import os, sys
words = [word.replace("$$", "$") for word in sys.argv[sys.argv.index("--") + 1 :]]
os.execvp(words[0], words)
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the engine and two volumes; ``systemd-run`` runs at once what it is given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    shutil.copy(Path(__file__).parent / "engine.sh", programs / "engine")
    (programs / "systemd-run").write_text(UNIT)
    for name in ("systemctl", "journalctl"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
    for each in programs.iterdir():
        each.chmod(0o755)
    engine = tmp_path / "engine"
    for folder in ("volumes/data/sub", "volumes/cache", "containers"):
        (engine / folder).mkdir(parents=True)
    (engine / "containers" / "aa").write_text("running\n")
    (engine / "containers" / "bb").write_text("exited\n")
    write(engine, "one")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("ENGINE", str(engine))
    monkeypatch.setattr(volumes, "FOLDER", str(tmp_path / "kept"))
    return engine


def write(engine: Path, text: str) -> None:
    file = engine / "volumes" / "data" / "sub" / "file"
    file.write_text(text)
    file.chmod(0o640)
    os.chown(file, 1234, 4321)


def read(engine: Path) -> dict[str, Any]:
    found = {}
    for path in sorted((engine / "volumes").rglob("*")):
        about = path.lstat()
        text = path.read_text() if path.is_file() else ""
        found[str(path.relative_to(engine))] = (text, oct(about.st_mode), about.st_uid, about.st_gid)
    return found


def states(engine: Path) -> list[str]:
    return [each.read_text().strip() for each in sorted((engine / "containers").iterdir())]


def log(engine: Path) -> list[str]:
    return (engine / "log").read_text().splitlines()


def spoil(engine: Path) -> None:
    (engine / "volumes" / "data" / "new").write_text("new")
    shutil.rmtree(engine / "volumes" / "cache")
    write(engine, "two")


def context() -> Any:
    return Context(local_session(Path("/"), user="root"), None)


def words(**more: Any) -> dict[str, Any]:
    return {"project": PROJECT, "engine": "engine", "name": "a", "how": "pause", "text": "for Bob's $HOME", **more}


async def shelf() -> Any:
    return (await shelves(context().session, [PROJECT]))[PROJECT]


@pytest.mark.parametrize(("how", "mode"), [("pause", "paused"), ("stop", "stopped")])
async def test_what_comes_back_is_what_was_kept(host: Path, how: str, mode: str) -> None:
    before = read(host)
    told = await take(context(), words(how=how, tags=["t"], expires=5.0))
    assert (told["mode"], sorted(told["volumes"]), states(host)) == (mode, ["cache", "data"], ["running", "exited"])
    assert f"{how} aa" in log(host)
    [kept] = (await shelf()).kept
    assert (kept.note.text, kept.note.tags, kept.note.expires, kept.note.run) == ("for Bob's $HOME", ("t",), 5.0, "r1")
    assert await taken(context(), words()) is not None
    spoil(host)
    await put(context(), words())
    assert read(host) == before
    assert states(host) == ["running", "exited"]
    await remove(context(), words(names=["a", "b"]))
    assert await shelf() == volumes.Shelf()
    assert await taken(context(), words()) is None


async def test_a_name_is_used_once_and_is_no_path(host: Path) -> None:
    await take(context(), words())
    with pytest.raises(SnapshotError) as refused:
        await take(context(), words())
    assert refused.value.code == "NF-SNAP-003"
    for name in ("../x", ".", "a/b", ""):
        with pytest.raises(SnapshotError) as refused:
            await take(context(), words(name=name))
        assert refused.value.code == "NF-SNAP-015"
    assert states(host) == ["running", "exited"]


async def test_what_fails_or_is_cut_off_leaves_containers_running_and_no_half_snapshot(host: Path) -> None:
    (host / "volumes" / "broken").symlink_to("nowhere")
    with pytest.raises(SnapshotError) as refused:
        await take(context(), words())
    assert refused.value.code == "NF-SNAP-015"
    assert states(host) == ["running", "exited"]
    found = await shelf()
    assert (found.kept, len(found.parts)) == ((), 1)
    (host / "volumes" / "broken").unlink()
    folder = Path(volumes.FOLDER) / PROJECT
    (folder / ".held").write_text("pause aa\n")
    (host / "containers" / "aa").write_text("paused\n")
    await take(context(), words())
    assert states(host) == ["running", "exited"], "what a killed host left paused goes on"
    (folder / "b.part").mkdir()
    assert len((await shelf()).parts) == 1
    await remove(context(), words(names=[]))
    assert (await shelf()).parts == ()


async def test_giving_back_is_gone_on_with_after_it_was_cut_off(host: Path) -> None:
    before = read(host)
    await take(context(), words())
    spoil(host)
    folder = Path(volumes.FOLDER) / PROJECT
    (folder / ".held").write_text("stop aa\n")
    (host / "containers" / "aa").write_text("exited\n")
    await put(context(), words())
    assert read(host) == before
    assert states(host) == ["running", "exited"]
    assert not (folder / ".held").exists()
