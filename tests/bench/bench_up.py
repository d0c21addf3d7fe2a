"""What a bring-up takes beyond its critical path: three VMs that wait for one another, on the lab's hosts.

``python -m tests.bench.bench_up`` prints the figures as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import peers
from tests.bench.bench_plan import INVENTORY
from tests.bench.figure import Figure, Section
from tests.bench.program import ROUNDS, call, installed, novafleet

ENVIRONMENT = """\
environment: nfbenchup
include: {images}
networks:
  lan: {{mode: nat, cidr: 10.98.0.0/24, dhcp: true}}
defaults: {{vm: {{memory: 128MiB, boot: mini}}}}
vms:
  db:
    host: kvm1
    disks: {{data: {{size: 64MiB}}}}
    nics: {{lan: {{network: lan, ip: 10.98.0.10}}}}
    cloud_init: {{user_data: {{hostname: db}}}}
    ready: [{{tcp: 22, timeout: 5m}}]
  web:
    host: kvm2
    nics: {{lan: {{network: lan, ip: 10.98.0.20}}}}
    depends_on: {{db: {{condition: service_healthy}}}}
    ready: [{{http: {{port: 80}}, timeout: 5m}}]
  batch:
    host: kvm3
    nics: {{lan: {{network: lan}}}}
    ready: [{{serial: "login:", timeout: 5m}}]
"""


def run() -> dict[str, Any]:
    """Medians: ``wall`` of the process, ``total`` of the run, ``path``: its steps' own seconds on the critical path."""
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-") as folder:
        home = Path(folder)
        file = home / "nfbenchup.yml"
        file.write_text(ENVIRONMENT.format(images=peers.LAB.images_file))
        rounds = [_round(file, installed(home)) for _ in range(ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def _round(file: Path, variables: Mapping[str, str]) -> dict[str, float]:
    words, saved = ("-i", str(INVENTORY)), file.with_suffix(".plan")
    try:
        call(novafleet(*words, "plan", str(file), "--out", str(saved)), variables)
        began = time.perf_counter()
        finished = json.loads(call(novafleet(*words, "up", str(file), "--yes", "-o", "json"), variables))
        wall = time.perf_counter() - began
    finally:
        call(novafleet(*words, "down", str(file), "--yes", "--volumes"), variables)
    after = _edges(json.loads(saved.read_text())["plan"])
    path = critical(finished["steps"], after)
    return {"wall": wall, "total": finished["seconds"], "path": path, "ratio": finished["seconds"] / path}


def _edges(plan: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    return {step["id"]: step.get("after", ()) for change in plan["changes"] for step in change.get("steps", ())}


def critical(results: Sequence[Mapping[str, Any]], after: Mapping[str, Sequence[str]]) -> float:
    """Seconds that the steps of the longest chain ran themselves: waits for a free place do not count."""
    own = {each["node"]: each["ended"] - each["started"] for each in results}
    done: dict[str, float] = {}

    def longest(node: str) -> float:
        if node not in done:
            done[node] = own[node] + max((longest(each) for each in after[node] if each in own), default=0.0)
        return done[node]

    return max(longest(node) for node in own)


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    ratio = measured["ratio"]
    return Section(
        "Bring-up beside its critical path",
        "Three VMs on three hosts, web waiting for db's gate, from nothing to green gates. The total is the run's own "
        "`seconds` (plan, leases, steps, looking again); the critical path is the longest chain of steps, each with "
        "the seconds it ran itself, so that waiting for a free place counts against NovaFleet.",
        (
            Figure("total / critical path", ratio, "", "<= 1.10", ratio <= 1.10),
            Figure("total of `up`", measured["total"], "s"),
            Figure("critical path", measured["path"], "s"),
            Figure("`up` as a process", measured["wall"], "s"),
        ),
    )


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
