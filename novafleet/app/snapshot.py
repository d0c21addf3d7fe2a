"""``snapshot create|revert|rm|prune``: journalled steps on each VM, under its lease."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from novafleet.app.party import (
    Confirm,
    Done,
    Party,
    Selected,
    VmResult,
    Watch,
    carry_out,
    leased,
    results_of,
    step,
)
from novafleet.app.snapshotrun import crew_of, shelves_of, surveys, thaw
from novafleet.app.snapshotstack import giving_back, going_of, removal, taking
from novafleet.app.vmselect import Chosen, ChosenStack
from novafleet.capability.snapshot.actions import registry
from novafleet.capability.snapshot.freeze import Freezer
from novafleet.capability.snapshot.look import Survey, Taken
from novafleet.capability.snapshot.note import SAFETY
from novafleet.capability.snapshot.plan import AUTO, CRASH, FS, nearest, plan_return
from novafleet.capability.snapshot.retention import expired
from novafleet.capability.snapshot.tidy import pending, removable
from novafleet.capability.snapshot.volumes import PAUSE, Shelf
from novafleet.errors import ConfigError, NovaFleetError
from novafleet.model.plan import Step
from novafleet.model.policy import Keep
from novafleet.model.run import NodeResult

A_WEEK = 7 * 86400.0
MOST_NAME = 200
"""Bytes: libvirt keeps a snapshot in a file called after it."""
UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""What no XML holds, or no terminal should."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The snapshot to make. ``mode``: crash | fs | live; ``require`` refuses less than that; ``kind`` auto | internal |
    external; ``stacks`` pause | stop | skip: of an environment, how its containers are held while their volumes are
    copied; ``ttl`` seconds after which ``prune`` may remove it (0: never); ``hold`` keeps it from that altogether."""

    name: str = ""
    text: str = ""
    mode: str = FS
    require: str = ""
    tags: tuple[str, ...] = ()
    ttl: float = 0.0
    hold: bool = False
    kind: str = AUTO
    stacks: str = PAUSE


async def create(asked: Selected, wish: Wish, watch: Watch) -> Done:
    """Snapshot every VM meant. Those of an environment are one moment: all are frozen before the first is taken.

    A VM that fails does not raise: see ``Done``. Raises what selecting raises, and ConfigError NF-CFG-005 for a name or
    a description libvirt does not take.
    """
    _refuse_words(wish)
    async with crew_of(asked) as crew, leased(crew) as held:
        began = crew.world.clock.monotonic()
        group = crew.run_id if asked.environment else ""
        freezer = Freezer()
        steps = _create_steps(crew, wish, group)
        try:
            results, cancelled = await carry_out(crew, held, "snapshot create", steps, registry(freezer), watch)
        finally:
            await thaw(crew, held, freezer)
        rows = tuple(row for row in results_of(crew, results, {}) if row.outcome or row.state != "done")
        seconds = crew.world.clock.monotonic() - began
        return Done("create", crew.run_id, rows, seconds, cancelled, False, group, _skew(results), crew.left_out)


def _refuse_words(wish: Wish) -> None:
    """libvirt would, of a VM that is off, only when its overlays are there."""
    name, text = wish.name, wish.text
    if "/" in name or name.startswith(".") or len(name.encode(errors="replace")) > MOST_NAME or UNFIT.search(name):
        what = f"--name takes at most {MOST_NAME} bytes without '/' and control characters, no '.' first, not {name!r}"
        raise ConfigError(what, code="NF-CFG-005")
    if UNFIT.search(text.replace("\n", "").replace("\t", "")):
        raise ConfigError(f"--description takes no control characters, not {text!r}", code="NF-CFG-005")


def _create_steps(crew: Party, wish: Wish, group: str) -> list[Step]:
    pairs = [_pair(crew, each, wish, group) for each in crew.chosen]
    everybody = tuple(freeze.id for freeze, _ in pairs)
    makes = [replace(make, after=everybody if group else make.after) for _, make in pairs]
    volumes = taking(crew, _words(crew, crew.stacks[0], wish, group), wish.stacks, everybody) if crew.stacks else []
    return [*(freeze for freeze, _ in pairs), *makes, *volumes]


def _pair(crew: Party, chosen: Chosen, wish: Wish, group: str = "", part: str = "create") -> tuple[Step, Step]:
    """The step that prepares and freezes, and the one that takes the snapshot and thaws."""
    words = _words(crew, chosen, wish, group)
    freeze = step(chosen, "snapshot.freeze", **words)
    return freeze, step(chosen, "snapshot.create", ["freeze"], part=part, probed=True, **words)


def _words(crew: Party, chosen: Chosen, wish: Wish, group: str) -> dict[str, Any]:
    now = crew.world.clock.now()
    return {
        "name": wish.name or default_name(now),
        "text": wish.text,
        "mode": wish.mode,
        "require": wish.require,
        "kind": wish.kind,
        "tags": list(wish.tags),
        "expires": now + wish.ttl if wish.ttl else 0.0,
        "hold": wish.hold,
        "group": group,
        "environment": chosen.environment,
        "token": secrets.token_hex(4),
    }


def default_name(now: float) -> str:
    """``20261121-115903``, UTC."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}"


def _skew(results: Sequence[NodeResult]) -> float | None:
    times = [(each.outcome["began"] + each.outcome["ended"]) / 2 for each in results if "began" in each.outcome]
    return round((max(times) - min(times)) * 1000, 1) if len(times) > 1 else None


async def revert(
    asked: Selected, name: str, watch: Watch, confirm: Confirm, *, safety: bool = True, start: bool | None = None
) -> Done:
    """Go back to a snapshot, of every VM meant or of none. ``start`` None: it runs if it runs now or its memory was
    saved. Raises SnapshotError NF-SNAP-002 and -009 before anything changes."""
    async with crew_of(asked) as crew, leased(crew) as held:
        began = crew.world.clock.monotonic()
        seen = await _all_seen(crew)
        steps: list[Step] = []
        for each in crew.chosen:
            taken = nearest(seen[each.label], name)
            plan_return(seen[each.label], taken, "0" * 8)
            steps += _revert_steps(crew, each, seen[each.label], taken, safety, start)
        kept = await _all_kept(crew)
        steps += [each for stack in crew.stacks for each in _stack_revert(crew, stack, kept[stack.label], name, safety)]
        meant = _meant(crew, kept, name)
        if not confirm([_lost(each, name, safety) for each in meant]):
            return Done("revert", "", (), declined=True)
        freezer = Freezer()
        try:
            results, cancelled = await carry_out(crew, held, "snapshot revert", steps, registry(freezer), watch)
        finally:
            await thaw(crew, held, freezer)
        labels = {each.label for each in meant}
        rows = tuple(row for row in results_of(crew, results, {}) if f"{row.host}/{row.domain}" in labels)
        rows = tuple(_gone_back(row, name, results) for row in rows)
        seconds = crew.world.clock.monotonic() - began
        return Done("revert", crew.run_id, rows, seconds, cancelled, left_out=crew.left_out)


def _gone_back(row: VmResult, name: str, results: Sequence[NodeResult]) -> VmResult:
    """The row speaks of the snapshot gone back to, and of the one made for safety."""
    own = [each for each in results if each.resource == f"{row.host}/{row.domain}" and each.label == "safety"]
    safety = str(own[0].outcome.get("snapshot", "")) if own else ""
    return replace(row, outcome={**row.outcome, "snapshot": name, "safety": safety})


def _meant(crew: Party, kept: Mapping[str, Shelf], name: str) -> tuple[Chosen, ...]:
    """The VMs, and the stacks of which that is kept."""
    return (*crew.chosen, *(each for each in crew.stacks if kept[each.label].find(name) is not None))


def _lost(chosen: Chosen, name: str, safety: bool) -> str:
    fate = "is kept in a safety snapshot" if safety else "is LOST"
    return f"{chosen.label} ({chosen.domain.state}) goes back to {name}; what it is now {fate}"


def _stack_revert(crew: Party, stack: ChosenStack, shelf: Shelf, name: str, safety: bool) -> list[Step]:
    wish = _safety(crew, name)
    return giving_back(stack, shelf, name, _words(crew, stack, wish, "") if safety else None)


def _safety(crew: Party, name: str) -> Wish:
    wish = Wish(f"before-{default_name(crew.world.clock.now())}", f"before going back to {name}", CRASH)
    return replace(wish, tags=(SAFETY,), ttl=A_WEEK)


def _revert_steps(
    crew: Party, chosen: Chosen, seen: Survey, taken: Taken, safety: bool, start: bool | None
) -> list[Step]:
    """What lies inside images is best kept inside too, which takes a VM that is off: it is stopped first."""
    stop = step(chosen, "snapshot.stop", ["safety"] if safety and not taken.inside else [])
    steps = [stop]
    if safety:
        freeze, make = _pair(crew, chosen, _safety(crew, taken.name), part="safety")
        steps += [replace(freeze, after=(stop.id,)) if taken.inside else freeze, make]
    runs = start if start is not None else _ran(taken) or not seen.off
    words: dict[str, Any] = {"name": taken.name, "token": secrets.token_hex(4), "runs": runs}
    steps.append(step(chosen, "snapshot.switch", ["stop", *(["safety"] if safety else [])], **words))
    if runs:
        steps.append(step(chosen, "snapshot.start", ["switch"], probed=True, name=taken.name))
    steps.append(step(chosen, "snapshot.tidy", ["start" if runs else "switch"]))
    return steps


def _ran(taken: Taken) -> bool:
    """Was its memory saved?"""
    return bool(taken.memory) or (bool(taken.inside) and taken.fact.state == "running")


async def remove(asked: Selected, names: Sequence[str], watch: Watch, confirm: Confirm, *, tree: bool = False) -> Done:
    """Remove snapshots (no names: all); what lies over them keeps what it reads. ``tree`` takes their descendants too.

    Names nobody has are fine where an earlier removal was cut off: it is finished. Raises SnapshotError NF-SNAP-002.
    """

    def wanted(seen: Survey) -> list[str]:
        found: list[str] = [] if names else [each.name for each in seen.snapshots]
        for name in names:
            if pending(seen) and seen.find(name) is None:
                continue
            found += _with_descendants(seen, nearest(seen, name).name) if tree else [nearest(seen, name).name]
        return list(dict.fromkeys(found))

    return await _remove(asked, "rm", wanted, lambda shelf: going_of(shelf, names, Keep(), 0.0), watch, confirm)


def _with_descendants(seen: Survey, name: str) -> list[str]:
    found = [name]
    for each in seen.snapshots:  # parents come before children
        if each.fact.parent in found:
            found.append(each.name)
    return found


async def prune(asked: Selected, keep: Keep, watch: Watch, confirm: Confirm, *, dry_run: bool = False) -> Done:
    """Remove snapshots past their TTL, and of the rest those ``keep`` does not keep. Only NovaFleet's own, and never
    one that is held."""

    def wanted(seen: Survey) -> list[str]:
        due = expired(seen, keep, now)
        return [each.name for each in seen.snapshots if each.name in due and removable(seen, each)]

    now = datetime.now(UTC).timestamp()
    return await _remove(
        asked, "prune", wanted, lambda shelf: going_of(shelf, None, keep, now), watch, confirm, dry_run=dry_run
    )


async def _remove(
    asked: Selected,
    verb: str,
    wanted: Callable[[Survey], list[str]],
    wanted_of_stack: Callable[[Shelf], list[str]],
    watch: Watch,
    confirm: Confirm,
    *,
    dry_run: bool = False,
) -> Done:
    async with crew_of(asked) as crew, leased(crew) as held:
        began = crew.world.clock.monotonic()
        seen, failed = await surveys(crew)
        kept, unkept = await shelves_of(crew)
        failed = {**failed, **unkept}
        going = {label: wanted(each) for label, each in seen.items()}
        going |= {label: wanted_of_stack(each) for label, each in kept.items()}
        lines = [f"{label}: {', '.join(names)}" for label, names in sorted(going.items()) if names]
        if dry_run:
            return Done(verb, "", _foretold(crew, going, failed))
        if lines and not confirm(lines):
            return Done(verb, "", (), declined=True)
        steps = [each for vm in crew.chosen if vm.label in seen for each in _remove_steps(vm, seen, going)]
        for stack in crew.stacks:
            steps += removal(stack, kept[stack.label], going[stack.label]) if stack.label in kept else []
        results, cancelled = await carry_out(crew, held, f"snapshot {verb}", steps, registry(Freezer()), watch)
        rows = results_of(crew, results, failed)
        return Done(verb, crew.run_id, rows, crew.world.clock.monotonic() - began, cancelled)


def _remove_steps(chosen: Chosen, seen: Mapping[str, Survey], going: Mapping[str, list[str]]) -> list[Step]:
    """First what lies over images, then what lies inside them: nothing may be over those while a VM runs."""
    names, vm = going[chosen.label], seen[chosen.label]
    if not names and not pending(vm):
        return []
    inside = [each.name for each in vm.snapshots if each.inside and each.name in names]
    over = [name for name in names if name not in inside]
    forget = [step(chosen, "snapshot.forget", names=over)] if over else []
    steps = [*forget, step(chosen, "snapshot.tidy", ["forget"] if forget else [])]
    if inside:
        steps.append(step(chosen, "snapshot.forget", ["tidy"], part="take-out", names=inside))
    return steps


def _foretold(
    crew: Party, going: Mapping[str, list[str]], failed: Mapping[str, NovaFleetError]
) -> tuple[VmResult, ...]:
    return tuple(
        replace(row, outcome={"removed": going.get(f"{row.host}/{row.domain}", []), "foretold": True})
        for row in results_of(crew, (), failed)
    )


async def _all_kept(crew: Party) -> Mapping[str, Shelf]:
    kept, failed = await shelves_of(crew)
    for error in failed.values():
        raise error
    return kept


async def _all_seen(crew: Party) -> Mapping[str, Survey]:
    seen, failed = await surveys(crew)
    for error in failed.values():
        raise error
    return seen
