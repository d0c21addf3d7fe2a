"""The container engine, through its own client: argv lists in, text out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from novafleet.errors import LabError

QUICK = 120.0
"""Seconds that a call which builds nothing may take."""
BUILD = 3600.0
"""Seconds that a build may take: it downloads packages."""


def docker(*argv: str, stdin: bytes = b"", timeout: float = QUICK, code: str = "NF-LAB-001") -> str:
    """Standard output of ``docker ARGV``. Raises LabError with ``code`` when it fails."""
    done = attempt(*argv, stdin=stdin, timeout=timeout)
    if done.returncode:
        raise failed(argv, done.stderr or done.stdout, code)
    return done.stdout.decode(errors="replace")


def attempt(*argv: str, stdin: bytes = b"", timeout: float = QUICK) -> subprocess.CompletedProcess[bytes]:
    """Run ``docker ARGV`` and leave the judgement to the caller. Raises LabError NF-LAB-002 without a client."""
    try:
        return subprocess.run(["docker", *argv], input=stdin, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError as exc:
        raise LabError(
            "no container engine is installed",
            code="NF-LAB-002",
            hints=(f"sudo sh {Path(__file__).parent / 'prerequisites.sh'}",),
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise failed(argv, f"no end within {timeout:g} s".encode(), "NF-LAB-001") from exc


def failed(argv: Sequence[str], said: bytes, code: str) -> LabError:
    """The error for a call that failed: its last lines are the cause."""
    lines = said.decode(errors="replace").strip().splitlines()
    command = " ".join(argv[:3])
    return LabError(f"docker {command} … failed", code=code, cause="\n".join(lines[-12:]), hints=("docker info",))


def listed(kind: str, *filters: str) -> tuple[dict[str, Any], ...]:
    """``docker container|volume|network|image ls`` with filters, each row as the client's JSON has it."""
    everything = ("--all",) if kind in ("container", "image") else ()
    chosen = [word for each in filters for word in ("--filter", each)]
    text = docker(kind, "ls", *everything, *chosen, "--format", "{{json .}}")
    return tuple(json.loads(line) for line in text.splitlines())


def has_image(name: str) -> bool:
    """Is there an image of this name?"""
    return attempt("image", "inspect", "--format", "{{.Id}}", name).returncode == 0
