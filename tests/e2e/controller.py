"""A controller as a user has one: the command line as a process, with a state of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.labfixture import Lab

Process = subprocess.Popen[str]


@dataclass(frozen=True, slots=True)
class Controller:
    """Runs ``novafleet`` against the lab; ``home`` holds its journal and locks."""

    lab: Lab
    home: Path

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of its processes."""
        state, config = str(self.home / "state"), str(self.home / "config")
        return {**os.environ, "XDG_STATE_HOME": state, "XDG_CONFIG_HOME": config, "NO_COLOR": "1"}

    def argv(self, *words: str, inventory: Path | None = None) -> list[str]:
        """The command line of a verb."""
        return [sys.executable, "-m", "novafleet", "-i", str(inventory or self.lab.inventory), *words]

    def run(
        self, *words: str, inventory: Path | None = None, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            self.argv(*words, inventory=inventory), env=self.variables, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip

    def ok(self, *words: str, status: int = 0) -> str:
        """Standard output of a verb that must end with ``status``."""
        done = self.run(*words)
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str, status: int = 0) -> Any:
        """Its JSON document."""
        return json.loads(self.ok(*words, "-o", "json", status=status))

    def start(self, *words: str) -> Process:
        """Start a verb; its standard error tells each step as it ends."""
        return subprocess.Popen(
            self.argv(*words), env=self.variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return once ``condition`` holds; fail when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        select_nothing()


def select_nothing() -> None:
    """Give way to others for a moment between two looks."""
    signal.sigtimedwait([], 0.05)


def kill_after(process: Process, lines: int, instant: float) -> int:
    """Kill -9 once ``lines`` lines of progress were seen and ``instant`` seconds more went by; the lines seen."""
    assert process.stderr is not None
    seen = 0
    while seen < lines and process.stderr.readline():
        seen += 1
    try:
        process.wait(timeout=max(instant, 0.001))
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return seen


LOOK = r"""
virsh -q list --all --name | grep "^$1-" | sed 's/^/domain /'
virsh -q list --name | grep "^$1-" | sed 's/^/running /'
virsh -q net-list --all --name | grep "^$1-" | sed 's/^/network /'
find /var/lib/libvirt/images -maxdepth 1 -name "*$1.*" -printf 'file %f\n'
# Not those that somebody writes at this moment: other tests use the hosts too.
find /var/lib/libvirt/images -maxdepth 1 \( -name '*.part' -o -name '*.tmp' \) ! -newermt '-3 seconds' \
  -printf 'temporary %f\n'
find /var/lib/novafleet/stacks -mindepth 1 -maxdepth 1 -name "*$1-*" -printf 'stack %f\n' 2>/dev/null
for engine in docker podman; do
  command -v $engine >/dev/null && $engine ps -a --format '{{.Names}}' | grep "$1-" | sed 's/^/container /'
  for kind in volume network; do
    command -v $engine >/dev/null && $engine $kind ls --format '{{.Name}}' | grep "$1-" | sed "s/^/$kind /"
  done
done
for process in /proc/[0-9]*; do
  if [ "$process/fd/9" -ef "/run/lock/novafleet/$1.lease" ]; then echo "lease ${process#/proc/}"; fi
done
true
"""


def traces(lab: Lab, environment: str) -> Mapping[str, frozenset[str]]:
    """By host, what of an environment is there: domains, networks, files, stacks, containers with their volumes and
    networks, a held lease."""
    return {host: frozenset(lab.on(host, "sh", "-c", LOOK, "look", environment).splitlines()) for host in lab.hosts}
