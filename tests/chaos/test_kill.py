"""kill -9 of the controller at random moments of ``up`` and ``down``: nothing is lost, nothing is left behind."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Write
from tests.e2e.controller import Controller, kill_after, traces
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("NOVAFLEET_CHAOS_ROUNDS", "1"))
"""Each kills one ``up`` and one ``down``; five with five seeds are 50 moments (``make testall``)."""
NAME = "chaos"
TEXT = """
networks:
  lan: {mode: isolated, cidr: 10.84.0.0/24}
defaults: {vm: {memory: 64MiB, stop_timeout: 0s, nics: {lan: {network: lan}}}}
vms:
  a: {host: kvm1, boot: mini, disks: {data: {size: 16MiB}}, cloud_init: {user_data: {hostname: a}}}
  b: {host: kvm3, disks: {data: {size: 16MiB}}, depends_on: [a]}
"""
STACKS = """
vars: {archive: ARCHIVE}
stacks:
  store:
    host: kvm1
    compose: web/compose.yaml
    images: {"localhost/novafleet/httpd:1": {path: "${archive}"}}
    depends_on: [a]
  front:
    host: kvm3
    compose: web/compose.yaml
    images: {"localhost/novafleet/httpd:1": {path: "${archive}"}}
    depends_on: [b]
"""
"""On Podman and on Docker."""
COMPOSE = """
services:
  web:
    image: localhost/novafleet/httpd:1
    command: [httpd, -f, -p, "80", -h, /srv]
    volumes: ["data:/srv"]
volumes: {data: {}}
"""


@pytest.fixture(scope="module")
def resumed() -> Iterator[list[str]]:
    """The moments that ``resume`` went on from."""
    moments: list[str] = []
    yield moments
    assert moments or ROUNDS < 5, "resume never had anything to do: nothing of it was shown"


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (2, 3, 4))])
def test_killed_at_random_moments(
    lab: Lab, controller: Controller, environment: Write, resumed: list[str], seed: int
) -> None:
    """Every other seed has container stacks too."""
    path = environment(NAME, TEXT + (STACKS.replace("ARCHIVE", str(lab.httpd)) if seed % 2 else ""))
    path.with_name("web").mkdir()
    path.with_name("web").joinpath("compose.yaml").write_text(COMPOSE)
    file = str(path)
    steps = len(controller.json("up", file, "--yes")["steps"])
    whole = traces(lab, NAME)
    uuids = _uuids(lab)
    controller.ok("down", file, "--yes", "--volumes")
    assert not any(traces(lab, NAME).values())

    chance = random.Random(os.environ.get("NOVAFLEET_CHAOS_SEED", "novafleet") + str(seed))
    for number in range(ROUNDS):
        moment = f"round {number}, up: {_killed(controller, chance, steps, 'up', file)}"
        resumed += [moment] if _go_on(controller, number, "up", file) else []
        assert traces(lab, NAME) == whole, moment
        assert _uuids(lab) == uuids, moment
        moment = f"round {number}, down: {_killed(controller, chance, steps, 'down', file, '--volumes')}"
        resumed += [moment] if _go_on(controller, number, "down", file, "--volumes") else []
        assert not any(traces(lab, NAME).values()), (moment, traces(lab, NAME))


def _killed(controller: Controller, chance: random.Random, steps: int, verb: str, *words: str) -> str:
    lines, instant = chance.randrange(steps), chance.random() * 0.4
    seen = kill_after(controller.start(verb, *words, "--yes"), lines, instant)
    return f"killed {instant:.3f} s after {seen} of {lines} lines"


def _go_on(controller: Controller, number: int, verb: str, *words: str) -> bool:
    """Every other time by ``resume``, else by the same command again; ``resume`` may find that nothing had begun.

    True when ``resume`` did it.
    """
    if number % 2 and controller.run("resume", "--yes").returncode == 0:
        runs = controller.json("runs", "ls", "--last", "1")["runs"]
        if runs[0]["verb"] == verb:
            return True
    controller.ok(verb, *words, "--yes")
    return False


def _uuids(lab: Lab) -> dict[str, str]:
    places = {"a": "kvm1", "b": "kvm3"}
    return {vm: lab.on(host, "virsh", "domuuid", f"{NAME}-{vm}").strip() for vm, host in places.items()}
