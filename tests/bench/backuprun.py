"""One program, measured: seconds, processor time and memory of it and of all it started."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from tests.bench.program import REPOSITORY, SMALL, until_idle


@dataclass(frozen=True)
class Took:
    """What a program took. ``rss``: MiB, of the largest process; ``said``: its standard output."""

    seconds: float
    cpu: float
    rss: float
    said: str


def took(argv: Sequence[str], variables: Mapping[str, str]) -> Took:
    """Run it to the end. Raises RuntimeError with its last words."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            argv, cwd=REPOSITORY, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said, complaint = (_text(file) for file in (out, err))
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)[:200]} ended with {process.returncode}: {(complaint or said)[-500:]}")
    return Took(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def rounds(attempts: Mapping[str, Callable[[], Took]], count: int) -> dict[str, list[Took]]:
    """Each in turn, round by round, on a machine as quiet as it gets."""
    seen: dict[str, list[Took]] = {name: [] for name in attempts}
    for _ in range(count):
        for name, attempt in attempts.items():
            until_idle(seconds=1 if SMALL else 20)
            seen[name].append(attempt())
            print(f"{name}: {seen[name][-1].seconds:.1f} s, {seen[name][-1].cpu:.1f} s CPU", file=sys.stderr)
    return seen


def medians(seen: Mapping[str, Sequence[Took]]) -> dict[str, dict[str, float]]:
    """``{program: {seconds, cpu, rss}}``; of memory the most."""
    return {
        name: {
            "seconds": statistics.median(each.seconds for each in found),
            "cpu": statistics.median(each.cpu for each in found),
            "rss": max(each.rss for each in found),
        }
        for name, found in seen.items()
    }
