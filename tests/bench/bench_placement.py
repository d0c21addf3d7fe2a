"""The planner on a simulated fleet: 1,000 hosts with 100 VMs each, in racks, with rules between VMs of three hosts.

``python -m tests.bench.bench_placement`` prints the figures as JSON. Every plan is replayed move by move outside of the
time that is told: a plan that cannot be carried out ends the benchmark.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from novafleet.placement.evacuate import evacuate, replay
from novafleet.placement.problem import Plan
from novafleet.placement.rebalance import Aim, rebalance
from tests.bench.figure import Figure, Section
from tests.bench.program import SMALL
from tests.unit.placement.fleets import simulated

HOSTS = 100 if SMALL else 1_000
EACH = 100
LOST = HOSTS // 20
"""Hosts that are lost together."""
SECONDS, MIB = 60.0, 2048


def run() -> dict[str, Any]:
    """``{hosts, vms, drain, lost, balance, rss_mib}``; each plan as ``{seconds, moves, unmovable, before, after}``."""
    problem = simulated(HOSTS, EACH)
    first = problem.sites[HOSTS // 2].name
    lost = [site.name for site in problem.sites[:LOST]]

    def timed(plan_of: Callable[[], Plan]) -> dict[str, Any]:
        began = time.perf_counter()
        plan = plan_of()
        seconds = time.perf_counter() - began
        wrong = replay(problem, plan.moves)
        if wrong:
            raise ValueError(f"a plan cannot be carried out: {wrong[0]}")
        peaks = {"before": plan.before.peak, "after": plan.after.peak}
        return {"seconds": round(seconds, 2), "moves": len(plan.moves), "unmovable": len(plan.unmovable), **peaks}

    return {
        "hosts": HOSTS,
        "vms": len(problem.guests),
        "drain": timed(lambda: evacuate(problem, [first])),
        "lost": timed(lambda: evacuate(problem, lost)),
        "balance": timed(lambda: rebalance(problem, Aim(moves=len(problem.guests)))),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    vms, target = measured["vms"], f"<= {SECONDS:g} s"

    def figure(what: str, key: str) -> Figure:
        seconds = measured[key]["seconds"]
        return Figure(f"{what}: {measured[key]['moves']:,} moves", seconds, "s", target, seconds <= SECONDS)

    balance = measured["balance"]
    return Section(
        "Placement",
        f"{measured['hosts']:,} simulated hosts in racks of 20, {vms:,} VMs in groups of three that are kept apart, a "
        "tenth of the hosts hot. Each plan is made from nothing and then replayed move by move. "
        f"Rebalancing takes the fullest host from {balance['before']:.0%} to {balance['after']:.0%}.",
        (
            figure("a host is drained", "drain"),
            figure(f"{LOST} hosts are lost", "lost"),
            figure("the whole fleet is rebalanced", "balance"),
            Figure("peak RSS", measured["rss_mib"], "MiB", f"<= {MIB} MiB", measured["rss_mib"] <= MIB),
        ),
    )


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
