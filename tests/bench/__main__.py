"""``python -m tests.bench [NAME…]``: run the benchmarks one after the other, each in a process of its own, and write
docs/benchmarks.md. With names (ssh, engine, …) only those run, and the page is printed instead of written."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from tests.bench.figure import Section, page
from tests.bench.program import REPOSITORY, ROUNDS, SMALL, compiled, peer, until_idle

BENCHES = ("ssh", "plan", "up", "cli", "engine", "libvirt", "nbd", "repository", "backup", "migration", "placement")
PAGE = REPOSITORY / "docs" / "benchmarks.md"
QUIET = 1.5
"""Load (1 minute) below which figures are to be believed."""
OWN = ("asyncssh", "libvirt-python", "cryptography")
PEERS = ("parallel-ssh", "pyinfra", "ansible-core", "kcli")


def main() -> None:
    """Measure, write the page, say what missed its target."""
    names = sys.argv[1:] or BENCHES
    before = _load()
    sections = [_section(name) for name in names]
    text = page(sections, _machine(before))
    if tuple(names) == BENCHES and not SMALL:
        PAGE.write_text(text)
    print(text)
    missed = [figure.what for section in sections for figure in section.figures if figure.met is False]
    print(f"missed: {', '.join(missed) or 'nothing'}", file=sys.stderr)


def _section(name: str) -> Section:
    until_idle()
    began = time.monotonic()
    print(f"{name} …", file=sys.stderr, flush=True)
    argv = (sys.executable, "-m", f"tests.bench.bench_{name}")
    done = subprocess.run(argv, cwd=REPOSITORY, env=compiled(), capture_output=True, text=True, check=False)
    print(f"{name}: {time.monotonic() - began:.0f} s, load {_load():.1f}", file=sys.stderr, flush=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return Section(name, "", failed=_complaint(done.stderr))
    print(done.stdout, file=sys.stderr)
    section: Section = importlib.import_module(f"tests.bench.bench_{name}").section(json.loads(done.stdout))
    return section


def _complaint(stderr: str) -> str:
    """The line of a traceback that names the error."""
    lines = stderr.strip().splitlines() or ["it ended without a word"]
    return next((line for line in reversed(lines) if re.match(r"\w*(Error|Exception|Expired)\b", line)), lines[-1])[
        :300
    ]


def _machine(before: float) -> Mapping[str, str]:
    noisy = "" if before < QUIET else " (**not quiet: figures are too high**)"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"`make bench`, {ROUNDS} rounds of what takes minutes",
        "cores": f"{os.cpu_count()} x {_processor()}",
        "load before, after": f"{before:.2f}, {_load():.2f}{noisy}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {_openssh()}",
        "NovaFleet": ", ".join(f"{name} {metadata.version(name)}" for name in ("novafleet", *OWN)),
        "peers": ", ".join(_peer_versions()) or "none installed",
    }


def _load() -> float:
    return os.getloadavg()[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _openssh() -> str:
    said = subprocess.run(("ssh", "-V"), capture_output=True, text=True, check=False).stderr
    return said.strip().partition(",")[0]


def _peer_versions() -> list[str]:
    interpreter = peer("python3")
    if not interpreter:
        return []
    program = "import sys; from importlib.metadata import version as v; [print(n, v(n)) for n in sys.argv[1:]]"
    done = subprocess.run((interpreter, "-c", program, *PEERS), capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


if __name__ == "__main__":
    main()
