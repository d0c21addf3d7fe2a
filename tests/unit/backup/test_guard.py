"""What the host itself does when the controller of a backup is gone: the script runs for real, on files of ours."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from novafleet.capability.backup.look import script

HOLDER = 'exec 9<>"$1" && echo "$2" >"$1" && echo "$$ 0 0 15" >>"$1" && echo held && cat'
Guard = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def lease(tmp_path: Path) -> Path:
    return tmp_path / "vm.db.lease"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Ended afterwards."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for each in started:
        each.kill()
        each.communicate()


@pytest.fixture
def hold(lease: Path, processes: list[subprocess.Popen[str]]) -> Callable[[str], subprocess.Popen[str]]:
    """Holds the lease with a grant until it is killed."""

    def held(grant: str) -> subprocess.Popen[str]:
        argv = ("sh", "-c", HOLDER, "sh", str(lease), grant)
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    return held


@pytest.fixture
def guard(tmp_path: Path, lease: Path, processes: list[subprocess.Popen[str]]) -> Guard:
    """Watches over a backup whose sign is the file ``sign``; virsh tells the file ``asked``."""
    (tmp_path / "bin").mkdir()
    virsh = tmp_path / "bin" / "virsh"
    virsh.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    virsh.chmod(0o755)
    (tmp_path / "sign").touch()

    def watched(patience: int, how: str, *rooms: str) -> subprocess.Popen[str]:
        words = ("uuid", str(tmp_path / "sign"), str(lease), str(patience), how, str(tmp_path / "reason"), *rooms)
        path = f"{virsh.parent}:{os.environ['PATH']}"
        argv = ("sh", "-c", script("guard.sh"), "novafleet", *words)
        processes.append(subprocess.Popen(argv, env={**os.environ, "PATH": path}, text=True))
        return processes[-1]

    return watched


def reason(folder: Path) -> str:
    said = folder / "reason"
    return said.read_text().strip() if said.exists() else ""


def test_a_lease_that_nobody_holds_any_more(tmp_path: Path, guard: Guard, hold: Guard) -> None:
    holder = hold("7 token")
    watching = guard(3600, "held")
    with pytest.raises(subprocess.TimeoutExpired):
        watching.wait(2)
    holder.kill()
    watching.wait(10)
    assert reason(tmp_path) == "gone"
    assert "domjobabort uuid" in (tmp_path / "asked").read_text()


def test_a_lease_that_another_holds(tmp_path: Path, guard: Guard, hold: Guard) -> None:
    first = hold("7 token")
    watching = guard(3600, "held")
    with pytest.raises(subprocess.TimeoutExpired):
        watching.wait(1)
    hold("8 other")
    watching.wait(10)
    assert (first.poll(), reason(tmp_path)) == (None, "gone")


def test_a_job_that_does_not_mind_waits_for_silence(tmp_path: Path, guard: Guard, lease: Path) -> None:
    lease.write_text("7 token\n1 0 0 15\n")
    watching = guard(3600, "fresh")
    with pytest.raises(subprocess.TimeoutExpired):
        watching.wait(2)
    long_ago = time.time() - 4000
    os.utime(lease, (long_ago, long_ago))
    watching.wait(10)
    assert reason(tmp_path) == "gone"


def test_room_is_looked_after(tmp_path: Path, guard: Guard, lease: Path) -> None:
    lease.write_text("7 token\n1 0 0 15\n")
    assert guard(3600, "fresh", str(tmp_path), str(1 << 60)).wait(10) == 0
    assert reason(tmp_path) == "full"


def test_it_ends_with_the_backup(tmp_path: Path, guard: Guard, hold: Guard) -> None:
    hold("7 token")
    watching = guard(3600, "held")
    (tmp_path / "sign").unlink()
    watching.wait(10)
    assert reason(tmp_path) == ""
