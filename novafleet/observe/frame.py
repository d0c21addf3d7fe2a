"""Many collectors in one remote command, told apart by a mark that nothing on the host can guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from novafleet.model.command import Command

if TYPE_CHECKING:
    from novafleet.observe.registry import Collector

_RUNNER = """
MARK=$1
export MARK
shift
while [ $# -gt 1 ]; do
  printf '\\n%s-begin %s\\n' "$MARK" "$1"
  sh -c "$2" "$1" 2>&1 </dev/null
  printf '\\n%s-end %s %s\\n' "$MARK" "$1" "$?"
  shift 2
done
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """What one collector printed, both streams, and its exit status."""

    text: str
    status: int


def command(collectors: Sequence[Collector], mark: str, *, become: bool) -> Command:
    """One read-only command that runs every collector in turn."""
    scripts = [part for collector in collectors for part in (collector.name, collector.script)]
    return Command.script(_RUNNER, mark, *scripts, become=become)


def split(output: str, mark: str) -> Mapping[str, Frame]:
    """Frames by collector name; one that never ended (the connection broke) has status -1."""
    frames: dict[str, Frame] = {}
    for part in output.split(f"\n{mark}-begin ")[1:]:
        name, _, body = part.partition("\n")
        text, _, end = body.partition(f"\n{mark}-end ")
        ended = re.fullmatch(rf"{re.escape(name)} (\d{{1,3}})\n+", end)
        frames[name] = Frame(text, int(ended[1]) if ended else -1)
    return frames
