"""Timing of programs: NovaFleet as a user starts it, peers from their own venv, in turns."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS = os.environ.get("NOVAFLEET_BENCH_PEERS", str(REPOSITORY / ".venv-bench" / "bin"))
"""The ``bin`` folder of the venv that peers are installed in (`make bench` makes it)."""
SMALL = bool(os.environ.get("NOVAFLEET_BENCH_SMALL"))
"""Small sizes, to see whether the benchmarks work; no figures to publish."""

ROUNDS = int(os.environ.get("NOVAFLEET_BENCH_ROUNDS", "1" if SMALL else "3"))
"""Rounds of what takes minutes; the page says how many."""

Attempt = Callable[[], object]


def peer(program: str) -> str | None:
    """A peer's program, or None where it is not installed."""
    return shutil.which(program, path=PEERS)


def compiled() -> dict[str, str]:
    """The environment of programs that keep byte code, as an installed package does, whatever this shell says."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def installed(home: Path) -> dict[str, str]:
    """The same with NovaFleet's state and configuration under ``home``."""
    places = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    return {**compiled(), **places, "NO_COLOR": "1"}


def novafleet(*words: str) -> tuple[str, ...]:
    """The command line of a verb, by the console script."""
    return (str(Path(sys.executable).parent / "novafleet"), *words)


def call(argv: Sequence[str], environment: Mapping[str, str], timeout: float = 900.0) -> str:
    """Standard output of a program that must succeed. Raises RuntimeError with its last words."""
    done = subprocess.run(
        argv,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(argv)[:200]} ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}"
        )
    return done.stdout


def until_idle(share: float = 0.7, seconds: float = 90.0) -> None:
    """Wait until the machine's cores were idle for this share of a second; not longer than ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        idle, total = _idle_ticks()
        time.sleep(1)
        later, end = _idle_ticks()
        if later - idle >= share * (end - total):
            return


def _idle_ticks() -> tuple[int, int]:
    """Idle and all ticks of all cores since the machine started (proc(5), /proc/stat)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def in_turns(attempts: Mapping[str, Attempt], rounds: int) -> dict[str, float]:
    """Median seconds of each, one after the other, round by round; a first, unmeasured round warms caches."""
    taken: dict[str, list[float]] = {name: [] for name in attempts}
    for attempt in attempts.values():
        attempt()
    for _ in range(rounds):
        for name, attempt in attempts.items():
            began = time.perf_counter()
            attempt()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def in_parallel(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> None:
    """Run programs side by side; each must succeed."""
    running = [
        subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for argv in commands
    ]
    statuses = [process.wait(900) for process in running]
    assert not any(statuses), f"{commands[0][0]} ended with {statuses}"
