"""The container engine that carries the lab: found, or started and later stopped by ``prerequisites.sh``."""

from __future__ import annotations

import subprocess
from pathlib import Path

from novafleet.errors import LabError
from novafleet.lab.docker import attempt, docker
from novafleet.lab.place import Place

SCRIPT = Path(__file__).parent / "prerequisites.sh"


def answers() -> bool:
    """Does an engine answer to this user? Raises LabError NF-LAB-002 when none is installed."""
    return attempt("version", "--format", "{{.Server.Version}}").returncode == 0


def ensure(place: Place) -> None:
    """Start an engine if none answers. Raises LabError NF-LAB-002 with what to run instead."""
    if not answers():
        _script(place, "--engine")


def stop(place: Place) -> None:
    """Stop the engine if ``ensure`` started it. Raises LabError NF-LAB-002."""
    _script(place, "--stop-engine")


def _script(place: Place, mode: str) -> None:
    environment = {"NOVAFLEET_LAB_STATE": str(place.root)}
    done = subprocess.run(
        ["env", *(f"{name}={value}" for name, value in environment.items()), "sh", str(SCRIPT), mode],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        hints = tuple(line.strip() for line in said if line.startswith("  "))
        cause = " ".join(line for line in said if not line.startswith("  "))
        raise LabError("no container engine answers", code="NF-LAB-002", cause=cause, hints=hints)


def cgroup_version() -> int:
    """1 or 2, as the engine sees it."""
    return int(docker("info", "--format", "{{.CgroupVersion}}").strip() or 1)
