"""Starting cold: ``--help`` beside peers' help, and ``vm ls`` of three hosts beside ssh with virsh, and kcli.

``python -m tests.bench.bench_cli`` prints the figures as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench import peers
from tests.bench.bench_plan import INVENTORY
from tests.bench.figure import Figure, Section
from tests.bench.program import SMALL, Attempt, call, in_turns, installed, novafleet, peer

ROUNDS = 3 if SMALL else 11


def run() -> dict[str, Any]:
    """``{help: {contender: median seconds}, vm_ls: {…}}``."""
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-") as folder:
        home = Path(folder)
        variables = installed(home)
        theirs = peers.reaching(home, variables)
        return {
            "help": in_turns(_helps(variables), ROUNDS),
            "vm_ls": in_turns(_listings(variables, theirs), ROUNDS),
        }


def _helps(variables: Mapping[str, str]) -> dict[str, Attempt]:
    found: dict[str, Attempt] = {
        "novafleet": lambda: call(novafleet("--help"), variables),
        "python -c pass": lambda: call((sys.executable, "-c", "pass"), variables),
    }
    for name in ("ansible", "pyinfra", "kcli"):
        if program := peer(name):
            found[name] = lambda program=program: call((program, "--help"), variables)  # type: ignore[misc]
    return found


def _listings(variables: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, Attempt]:
    found: dict[str, Attempt] = {
        "novafleet": lambda: call(novafleet("-i", str(INVENTORY), "vm", "ls"), variables),
        "ssh + virsh list": lambda: peers.over_ssh(peers.LIST, theirs),
    }
    if listing := peers.kcli_list():
        found["kcli list vm"] = lambda: call(listing, theirs)
    return found


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    helps, listings = dict(measured["help"]), dict(measured["vm_ls"])
    bare = helps.pop("python -c pass")
    ours, listed = helps.pop("novafleet"), listings.pop("novafleet")
    return Section(
        "Starting cold",
        "Each as a new process with byte code cached, as installed. `vm ls` connects to 3 hosts, one with sudo; "
        "`ssh + virsh list` is the floor: one ssh a host, all at once, names and states only.",
        (
            Figure(
                "`novafleet --help`", ours, "s", "<= 0.15 s", ours <= 0.15, helps, f"`python -c pass`: {bare:.3f} s"
            ),
            Figure("`novafleet vm ls`, 3 hosts", listed, "s", "<= 1 s", listed <= 1, listings),
        ),
    )


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
