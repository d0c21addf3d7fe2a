"""kill -9 for real: the engine over a real journal, killed at 100 random moments and more, then resumed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from novafleet.execute.engine import Engine
from novafleet.execute.resume import DONE, INTENT, prior
from novafleet.execute.schedule import Limits
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import Event, Record, Run, RunState
from novafleet.ports import Action, ActionContext, Json, Outcome
from novafleet.store.journal import Journal
from tests.unit.execute.world import VirtualClock, no_context, step

KILLS = 100
STEPS = 40
RUN = Run("r", "devlab", "up", RunState.RUNNING, 0.0)


def graph(chance: random.Random) -> Sequence[Step]:
    """Each step waits for up to three earlier ones; one in ten can only be done once and not be looked at."""
    steps = []
    for n in range(STEPS):
        after = chance.sample(range(n), k=min(n, chance.randint(0, 3)))
        kind = "once" if chance.random() < 0.1 else chance.choice(("probed", "attached"))
        steps.append(step(f"n{n}", *(f"n{each}" for each in after), kind=kind, host=f"kvm{chance.randint(1, 3)}"))
    return steps


class Effects:
    """A file to which each effect adds a line, in one write: what happened twice is there twice."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "world"
        self._path.touch()

    def seen(self) -> Counter[str]:
        return Counter(self._path.read_text().split())

    async def do(self, _context: ActionContext, args: Mapping[str, Json]) -> Outcome:
        await asyncio.sleep(0)
        descriptor = os.open(self._path, os.O_APPEND | os.O_WRONLY)
        os.write(descriptor, f"{args['name']}\n".encode())
        os.close(descriptor)
        return {}

    async def probe(self, _context: ActionContext, args: Mapping[str, Json]) -> Outcome | None:
        return {} if self.seen()[args["name"]] else None


async def continue_run(folder: Path, steps: Sequence[Step], say: int) -> None:
    """One controller: begins or resumes, until it ends or is killed."""
    effects = Effects(folder)
    registry = {kind: Action(effects.do, StepClass(kind), effects.probe) for kind in ("probed", "attached", "once")}

    def emit(event: Event) -> None:
        os.write(say, f"{event.kind}\n".encode())

    async with Journal(folder / "journal.db") as journal:
        if not await journal.runs():
            await journal.begin(RUN)
        before = prior(await journal.records(RUN.id))
        wanted = [each for each in steps if each.id not in before or before[each.id].kind != DONE]
        engine = Engine(registry, no_context, journal, VirtualClock(), Limits(per_host=2, total=4), emit)
        await engine.run(RUN.id, wanted, prior=before)


def fork_and_kill(folder: Path, steps: Sequence[Step], lines: int) -> bool:
    """Run a controller in a child; kill it after so many lines. True when it was still alive then."""
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        status = 1
        try:
            asyncio.run(continue_run(folder, steps, say))
            status = 0
        finally:
            os._exit(status)
    os.close(say)
    with os.fdopen(hear) as heard:
        for _, _line in zip(range(lines), heard, strict=False):
            pass
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


def test_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    kills = trial = 0
    while kills < KILLS:
        folder = tmp_path / str(trial)
        folder.mkdir()
        steps = graph(chance)
        while fork_and_kill(folder, steps, chance.randint(1, 25)):
            kills += 1
        check(folder, steps, f"seed {seed}, trial {trial}")
        trial += 1


def check(folder: Path, steps: Sequence[Step], where: str) -> None:
    """The world and the journal after the last controller ended by itself."""
    seen = Effects(folder).seen()
    before = prior(asyncio.run(records(folder)))
    asked = {each.id for each in steps if each.id in before and before[each.id].kind == INTENT}
    for each in steps:
        name, last = str(each.args["name"]), before.get(each.id)
        assert seen[name] <= 1, f"{where}: {name} was done twice"
        if last is not None and last.kind == DONE:
            assert seen[name] == 1, f"{where}: {name} was lost"
        elif each.id in asked:
            assert each.step_class is StepClass.ONCE, f"{where}: {name} was not finished"
        else:
            assert asked & waits_for(steps, each), f"{where}: {name} was never done"


async def records(folder: Path) -> tuple[Record, ...]:
    async with Journal(folder / "journal.db") as journal:
        return await journal.records(RUN.id)


def waits_for(steps: Sequence[Step], one: Step) -> set[str]:
    """All that must come before a step."""
    by_id = {each.id: each for each in steps}
    found: set[str] = set()
    queue = list(one.after)
    while queue:
        node = queue.pop()
        if node not in found:
            found.add(node)
            queue.extend(by_id[node].after)
    return found
