"""A plan of 100 VMs that changes nothing, beside virsh loops and kcli, on the lab's three hosts.

The VMs are real and run (32 MiB each, an overlay disk, a NIC): ``novafleet up`` makes them, so that the plan is truly
empty, and ``novafleet down`` takes them away. Their boot sector halts the CPU: idle guests would take a core.

``python -m tests.bench.bench_plan`` prints the figures as JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novafleet.app.show import plan_up
from novafleet.model.request import EnvironmentRequest
from tests.bench import peers
from tests.bench.figure import Figure, Section
from tests.bench.program import REPOSITORY, SMALL, Attempt, call, in_turns, installed, novafleet, until_idle

VMS = 6 if SMALL else 100
ROUNDS = 2 if SMALL else 5
INVENTORY = REPOSITORY / "inventory" / "lab.yml"
ENVIRONMENT = """\
environment: nfbench
images:
  halt: {{path: {image}, sha256: {digest}, format: raw}}
networks:
  lan: {{mode: isolated, cidr: 10.99.0.0/24}}
defaults: {{vm: {{memory: 32MiB, stop_timeout: 1s}}}}
vms:
"""
ON_HOST = (
    "  {host}-vm: {{count: {count}, host: {host}, disks: {{root: {{image: halt}}}}, nics: {{lan: {{network: lan}}}}}}\n"
)
HALT = bytes((0xFA, 0xF4, 0xEB, 0xFD)).ljust(510, b"\0") + b"\x55\xaa" + bytes(1024 * 1024 - 512)
"""A disk of 1 MiB whose boot sector is `cli; hlt; jmp` back to the halt."""
CHANNELS = ("Requesting new SSH session", "Opening")
"""What asyncssh logs for each channel it opens: commands, and forwarded sockets."""


class Channels(logging.Handler):
    """Counts channels by connection."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seen: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(word in text for word in CHANNELS):
            self.seen[text.partition(",")[0]] += 1


def run() -> dict[str, Any]:
    """``{vms, seconds: {contender: median}, round_trips: most on one host}``."""
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-") as folder:
        home = Path(folder)
        variables = installed(home)
        file = _environment(home, VMS)
        words = ("-i", str(INVENTORY))
        try:
            call(novafleet(*words, "up", str(file), "--yes"), variables, 1800)
            until_idle()
            seconds = in_turns(_contenders(home, variables, file), ROUNDS)
            return {"vms": VMS, "seconds": seconds, "round_trips": _round_trips(file, variables)}
        finally:
            call(novafleet(*words, "down", str(file), "--yes", "--volumes"), variables, 1800)


def _environment(home: Path, count: int) -> Path:
    hosts = list(peers.HOSTS)
    shares = {host: len(range(number, count, len(hosts))) for number, host in enumerate(hosts)}
    image = home / "halt.img"
    image.write_bytes(HALT)
    head = ENVIRONMENT.format(image=image, digest=hashlib.sha256(HALT).hexdigest())
    file = home / "nfbench.yml"
    file.write_text(head + "".join(ON_HOST.format(host=host, count=each) for host, each in shares.items()))
    return file


def _contenders(home: Path, variables: Mapping[str, str], file: Path) -> dict[str, Attempt]:
    plan = novafleet("-i", str(INVENTORY), "plan", str(file), "--detailed-exitcode")
    theirs = peers.reaching(home, variables)
    found: dict[str, Attempt] = {
        "novafleet": lambda: call(plan, variables),
        "ssh + virsh dumpxml loop": lambda: peers.over_ssh(peers.DUMP_ALL, theirs),
    }
    if listing := peers.kcli_list():
        found["kcli list vm"] = lambda: call(listing, theirs)
    return found


def _round_trips(file: Path, variables: Mapping[str, str]) -> int:
    """Channels of the busiest connection, in a plan made in this process."""
    os.environ.update(variables)
    channels = Channels()
    logger = logging.getLogger("asyncssh")
    logger.addHandler(channels)
    logger.setLevel(logging.INFO)
    try:
        planned = asyncio.run(plan_up(EnvironmentRequest(str(file), (str(INVENTORY),))))
    finally:
        logger.removeHandler(channels)
        logger.setLevel(logging.WARNING)
    assert not planned.changed, "the plan is not empty"
    return max(channels.seen.values())


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    seconds = dict(measured["seconds"])
    ours, trips = seconds.pop("novafleet"), measured["round_trips"]
    return Section(
        f"Plan of {measured['vms']} VMs that changes nothing, on 3 hosts",
        "`novafleet plan --detailed-exitcode` as a new process: start, connect, observe, compare. The VMs run: `up` "
        "made them. Peers only read: `virsh dumpxml` of each VM in one ssh a host, all hosts at once; `kcli list vm`, "
        "which lists without comparing.",
        (
            Figure("no-op plan", ours, "s", "<= 2 s", ours <= 2, seconds),
            Figure("round trips a host (SSH channels of the busiest connection)", trips, "", "<= 3", trips <= 3),
        ),
    )


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
