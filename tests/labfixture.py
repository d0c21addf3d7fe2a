"""The lab as a fixture: real hosts, and a way onto them that does not use NovaFleet."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from novafleet.app.lab import status
from novafleet.lab import engine
from novafleet.lab.layout import LabHost
from novafleet.lab.place import Place

ROOT = Path(__file__).parent.parent
LAB_PLACE = Place.default()
"""Where the lab is, read before any test changes the environment."""


@dataclass(frozen=True, slots=True)
class Lab:
    """Hosts by name (``address``, ``flavour``, ``engine``), and the files that lead to them."""

    hosts: Mapping[str, LabHost]
    key: Path
    known_hosts: Path
    inventory: Path
    images: Path
    """An environment file to include: images ``mini``, ``mini-disk`` and, when built, ``debian``."""
    httpd: Path
    """A container image archive of ``localhost/novafleet/httpd:1``."""

    def on(self, host: str, *argv: str, check: bool = True, stdin: str = "", timeout: float = 120.0) -> str:
        """Standard output of a command run on a host through its container, as root; fails the test with its words."""
        words = ("docker", "exec", "--interactive", self.hosts[host].container, *argv)
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            pytest.fail(f"{host}: {' '.join(argv)} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def answers(self, host: str, *argv: str, stdin: str = "") -> bool:
        """Does a command succeed on a host?"""
        words = ("docker", "exec", "--interactive", self.hosts[host].container, *argv)
        return (
            subprocess.run(words, input=stdin.encode(), capture_output=True, timeout=120, check=False).returncode == 0
        )


@contextmanager
def lost_power(lab: Lab, host: str, domain: str) -> Iterator[None]:
    """What a host that lost power still has of domains whose number this running one has now."""
    number = lab.on(host, "virsh", "-q", "domid", domain).strip()
    stale = [f"/var/lib/libvirt/qemu/domain-{number}-{name}" for name in ("0-before", "zz-behind")]
    lab.on(host, "mkdir", *stale)
    try:
        yield
    finally:
        lab.on(host, "rmdir", *stale)


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    """pytest-docker brings the lab up through this."""
    return f"{sys.executable} {ROOT}/tests/compose.py"


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """Idempotent."""
    return ["up"]


@pytest.fixture(scope="session")
def docker_cleanup() -> str:
    """The lab stays up: `novafleet lab down` ends it."""
    return ""


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The lab, brought up by pytest-docker when it is down. Skips only where nothing could ever bring it up."""
    if not engine.answers() and os.geteuid():
        pytest.skip("no container engine answers, and only root can start one (sudo make lab)")
    request.getfixturevalue("docker_services")
    states = status()
    return Lab(
        hosts={state.host.name: state.host for state in states},
        key=LAB_PLACE.key,
        known_hosts=LAB_PLACE.known_hosts,
        inventory=ROOT / "inventory" / "lab.yml",
        images=LAB_PLACE.images_file,
        httpd=LAB_PLACE.images / "httpd.tar",
    )


@pytest.fixture(autouse=True)
def turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests that disturb a host (mark ``disturbs``) run while no other process uses the lab."""
    if not request.node.get_closest_marker("lab"):
        yield
        return
    root = LAB_PLACE.root
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / "tests.queue").open("w") as queue, (root / "tests.lock").open("w") as lock:
        fcntl.flock(queue, fcntl.LOCK_EX)  # who waits for the whole lab is not overtaken for ever
        fcntl.flock(lock, fcntl.LOCK_EX if request.node.get_closest_marker("disturbs") else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield


@pytest.fixture
def fleet_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NovaFleet's own state and configuration (journal, known_hosts) in an empty directory; the lab's stays its own."""
    home = tmp_path / "fleet-home"
    for name in ("state", "config", "cache"):
        folder = home / name
        folder.mkdir(parents=True)
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(folder))
    monkeypatch.delenv("NOVAFLEET_INVENTORY", raising=False)
    return home


def fleet_environment(home: Path) -> dict[str, str]:
    """The environment of a NovaFleet process that uses ``fleet_home``."""
    return {**os.environ, "XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "config")}
