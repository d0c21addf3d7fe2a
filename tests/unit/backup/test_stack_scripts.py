"""The scripts that put a stack's folders in place: they run for real, on folders of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from novafleet.capability.backup.look import script

KEPT = ".before-20261121T000000Z"
ENGINE = """#!/bin/sh
case "$*" in
  'ps -q --no-trunc --filter status=paused') cat "$STATE/paused" ;;
  'unpause '*) grep -vxF "$2" "$STATE/paused" >"$STATE/next"; [ "$2" = stuck ] || mv "$STATE/next" "$STATE/paused" ;;
  'volume inspect --format {{.Mountpoint}} '*) [ -d "$STATE/$5" ] && echo "$STATE/$5" ;;
  'volume inspect '*) [ -d "$STATE/$3" ] ;;
  'volume create '*) for last; do :; done; mkdir "$STATE/$last"; echo "$*" >>"$STATE/created" ;;
  'ps -a '*) cat "$STATE/containers" ;;
esac
"""


def fill(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_text(text)
    return folder


def run(name: str, *words: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STATE": str(state or "/nonexistent")}
    argv = ("sh", "-c", script(name), "novafleet", *words)
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def exchange(*pairs: Path) -> subprocess.CompletedProcess[str]:
    return run("stack_exchange.sh", KEPT, "14", *map(str, pairs))


def test_folders_take_the_place_of_empty_and_of_full_ones(tmp_path: Path) -> None:
    fresh, full, absent = tmp_path / "fresh", fill(tmp_path / "full", "old"), tmp_path / "absent"
    fresh.mkdir()
    pairs = [path for final in (fresh, full, absent) for path in (fill(Path(f"{final}.part"), "new"), final)]
    done = exchange(*pairs)
    assert (done.returncode, done.stdout) == (0, f"{full}{KEPT}\n")
    assert [(final / "file").read_text() for final in (fresh, full, absent)] == ["new"] * 3
    assert (tmp_path / f"full{KEPT}" / "file").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["absent", "fresh", "full", f"full{KEPT}"]


def test_all_or_none(tmp_path: Path) -> None:
    first, second = fill(tmp_path / "first", "old"), fill(tmp_path / "second", "old")
    done = exchange(fill(tmp_path / "part", "new"), first, tmp_path / "missing", second)
    assert done.returncode == 1
    assert [(each / "file").read_text() for each in (first, second)] == ["old", "old"]
    assert not list(tmp_path.glob(f"*{KEPT}"))


def test_what_was_kept_long_enough_goes(tmp_path: Path) -> None:
    final = fill(tmp_path / "final", "old")
    older = fill(tmp_path / "final.before-20200101T000000Z", "ancient")
    assert run("stack_exchange.sh", KEPT, "-1", str(fill(tmp_path / "part", "new")), str(final)).returncode == 0
    assert not older.exists()
    assert (tmp_path / f"final{KEPT}").exists()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    program = tmp_path / "engine"
    program.write_text(ENGINE)
    program.chmod(0o755)
    (tmp_path / "containers").touch()
    return program


def prepare(engine: Path, how: str, *volumes: str) -> list[str]:
    folder = engine.parent
    words = (str(engine), "dev-edge", str(folder / "root"), str(folder / "part"), how)
    pairs = [word for each in volumes for word in (each, "a=b c\nd=e\n")]
    done = run("stack_prepare.sh", *words, *pairs, state=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_volumes_are_made_with_their_labels(engine: Path) -> None:
    folder = engine.parent
    (folder / "empty").mkdir()
    fill(folder / "empty.nf-restore", "left by one that was killed")
    assert prepare(engine, "new", "data", "empty") == [f"volume data {folder}/data", f"volume empty {folder}/empty"]
    assert (folder / "created").read_text() == "volume create --label a=b c --label d=e data\n"
    assert not (folder / "empty.nf-restore").exists()


def test_what_is_in_the_way(engine: Path) -> None:
    folder = engine.parent
    fill(folder / "data", "content")
    fill(folder / "root", "bundle")
    (folder / "containers").write_text("container web\n")
    told = prepare(engine, "new", "data")
    assert told == ["there container web", f"there {folder}/root", "there volume data"]
    (folder / "containers").write_text("")
    assert prepare(engine, "in-place", "data") == [f"volume data {folder}/data"]


def test_paused_containers_go_on(engine: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "run", "")
    for left, status in (("other\n", 0), ("other\nstuck\n", 1)):
        (tmp_path / "paused").write_text("one\ntwo\n" + left)
        folder.mkdir(exist_ok=True)
        (folder / "paused").write_text("one\ntwo\ngone\n" + ("stuck\n" if status else ""))
        done = run("stack_go_on.sh", str(engine), str(folder), "nf-stack-none", state=tmp_path)
        assert (done.returncode, (tmp_path / "paused").read_text()) == (status, left)
        assert folder.exists() is bool(status)
    assert "still paused: stuck" in done.stderr


def test_a_watch_that_was_quicker_is_over_before_its_name_is_needed_again(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It let the containers go on itself, and looks once more before it ends."""
    programs, asked = tmp_path / "programs", tmp_path / "asked"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{asked}\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert run("stack_go_on.sh", str(engine), str(tmp_path / "gone"), "nf-stack-lab").returncode == 0
    assert asked.read_text() == "stop nf-stack-lab.service\n"
