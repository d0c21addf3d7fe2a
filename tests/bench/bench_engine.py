"""Steps per second through engine and journal: 10,000 simulated hosts with 10 steps each that do nothing.

Every step is journalled twice (intent, outcome) in a SQLite WAL with ``synchronous=FULL``: each commit is an fsync.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from novafleet.execute.engine import Engine
from novafleet.execute.schedule import Limits
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import NodeState, Run, RunState
from novafleet.ports import Action, ActionContext, Json, Outcome
from novafleet.store.journal import Journal
from tests.bench.figure import Figure, Section
from tests.bench.program import SMALL
from tests.unit.execute.world import VirtualClock, no_context

HOSTS = 1_000 if SMALL else 10_000
STEPS = 10
AT_ONCE = 1024
"""Steps under way at once: as many as hosts a worker would drive."""


async def _nothing(_context: ActionContext, _args: Mapping[str, Json]) -> Outcome:
    return {}


def fleet(hosts: int, steps: int) -> Sequence[Step]:
    """A chain of steps on each host."""
    return [
        Step(
            id=f"vm.h{host}/s{n}",
            action="nothing",
            resource=f"vm.h{host}",
            host=f"h{host}",
            step_class=StepClass.PROBED,
            after=(f"vm.h{host}/s{n - 1}",) if n else (),
        )
        for host in range(hosts)
        for n in range(steps)
    ]


async def measure(folder: Path, hosts: int = HOSTS, steps: int = STEPS, at_once: int = AT_ONCE) -> float:
    """Seconds from the plan to the last outcome on the disk."""
    wanted = fleet(hosts, steps)
    registry = {"nothing": Action(_nothing, StepClass.PROBED)}
    async with Journal(folder / "journal.db") as journal:
        await journal.begin(Run("r", "bench", "up", RunState.RUNNING, 0.0))
        began = time.perf_counter()
        engine = Engine(registry, no_context, journal, VirtualClock(), Limits(total=at_once))
        results = await engine.run("r", wanted)
        seconds = time.perf_counter() - began
        assert all(result.state is NodeState.DONE for result in results)
        assert len(await journal.records("r")) == 2 * len(wanted)
    return seconds


def run() -> dict[str, Any]:
    """``{steps, hosts, seconds, steps_per_second, rss_mib, …}``; the target is 5,000 steps a second."""
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-") as folder:
        seconds = asyncio.run(measure(Path(folder)))
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-") as folder:
        chain = asyncio.run(measure(Path(folder), hosts=1, steps=500))
    return {
        "hosts": HOSTS,
        "steps": HOSTS * STEPS,
        "seconds": round(seconds, 2),
        "steps_per_second": round(HOSTS * STEPS / seconds),
        "sequential_ms_per_step": round(chain / 500 * 1000, 2),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "target_steps_per_second": 5000,
    }


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    rate, target = measured["steps_per_second"], measured["target_steps_per_second"]
    return Section(
        "Engine and journal",
        f"{measured['hosts']:,} simulated hosts with {STEPS} steps each that do nothing, each journalled twice "
        "(intent, outcome) in SQLite with `synchronous=FULL`. No peer journals steps like this.",
        (
            Figure("steps a second", rate, "", f">= {target:,}", rate >= target),
            Figure(f"{measured['steps']:,} steps", measured["seconds"], "s"),
            Figure("one step after another, one chain", measured["sequential_ms_per_step"], "ms a step"),
            Figure("peak RSS", measured["rss_mib"], "MiB"),
        ),
    )


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
