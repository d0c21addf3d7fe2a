"""Many collectors in one remote command, told apart by a mark that nothing on the host can guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from novafleet.model.command import Command

if TYPE_CHECKING:
    from novafleet.observe.registry import Collector


@dataclass(frozen=True, slots=True)
class Frame:
    """What one collector printed, both streams, and its exit status."""

    text: str
    status: int

    @property
    def late(self) -> bool:
        """Was it ended because its time was up? (timeout(1): 124, busybox's 143, or 137 where only KILL helped.)"""
        return self.status in {124, 137, 143}


def command(collectors: Sequence[Collector], mark: str, *, seconds: int, become: bool) -> Command:
    """One read-only command that runs all collectors side by side, each for ``seconds`` at most. Name the one that
    prints most last."""
    runner = Path(__file__).with_name("frame.sh").read_text(encoding="utf-8")
    scripts = [part for collector in collectors for part in (collector.name, collector.script)]
    return Command.script(runner, mark, str(seconds), *scripts, become=become)


def split(output: str, mark: str) -> Mapping[str, Frame]:
    """Frames by collector name; one that never ended (the connection broke) has status -1."""
    frames: dict[str, Frame] = {}
    for part in output.split(f"\n{mark}-begin ")[1:]:
        name, _, body = part.partition("\n")
        text, _, end = body.partition(f"\n{mark}-end ")
        ended = re.fullmatch(rf"{re.escape(name)} (\d{{1,3}})\n+", end)
        frames[name] = Frame(text, int(ended[1]) if ended else -1)
    return frames
