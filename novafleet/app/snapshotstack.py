"""The steps that keep, give back and remove the volumes of an environment's stacks beside its VMs' snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from novafleet.app.party import Party, step
from novafleet.app.vmselect import ChosenStack
from novafleet.capability.snapshot.retention import Due, due
from novafleet.capability.snapshot.volumes import PAUSE, SKIP, Shelf
from novafleet.model.plan import Step
from novafleet.model.policy import Keep


def _words(chosen: ChosenStack) -> dict[str, Any]:
    return {"project": chosen.fact.project, "engine": chosen.fact.runtime}


def taking(crew: Party, words: Mapping[str, Any], how: str, after: Sequence[str]) -> list[Step]:
    """One step a stack; ``words`` say what the VMs' snapshots are called and for how long."""
    stacks = () if how == SKIP else crew.stacks
    return [
        step(each, "snapshot.volumes", after, part="create", probed=True, **{**words, **_words(each), "how": how})
        for each in stacks
    ]


def giving_back(chosen: ChosenStack, shelf: Shelf, name: str, safety: Mapping[str, Any] | None) -> list[Step]:
    """First what is now is kept (``safety``: as what), then it is as it was; nothing for a stack that has no such."""
    if shelf.find(name) is None:
        return []
    words, steps = _words(chosen), []
    if safety is not None:
        kept = {**safety, **words, "how": PAUSE}
        steps.append(step(chosen, "snapshot.volumes", part="safety", probed=True, **kept))
    after = ["safety"] if safety is not None else []
    steps.append(step(chosen, "snapshot.volumes-back", after, part="switch", name=name, **words))
    return steps


def removal(chosen: ChosenStack, shelf: Shelf, names: Sequence[str]) -> list[Step]:
    """What goes, and what was cut off."""
    if not names and not shelf.parts:
        return []
    return [step(chosen, "snapshot.volumes-forget", part="forget", names=list(names), **_words(chosen))]


def going_of(shelf: Shelf, names: Sequence[str] | None, keep: Keep, now: float) -> list[str]:
    """Of a stack: those of ``names`` it has (none given: all), or with None what is due."""
    if names is None:
        dues = [Due(each.name, each.made, each.note) for each in shelf.kept]
        return due(dues, "stack", keep, now)
    return [each.name for each in shelf.kept if not names or each.name in names]
