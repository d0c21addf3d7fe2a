"""What became of migrations, against what was foretold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.wiring import Places
from novafleet.capability.migration.score import Scored, Summary, scored, summary
from novafleet.model.encode import decode, encode
from novafleet.model.migration import Dossier, Outcome
from novafleet.store import lines

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class History:
    """The latest migrations of this controller, oldest first."""

    rows: tuple[Scored, ...]
    summary: Summary


def remember(places: Places, dossier: Dossier, outcome: Outcome, at: float) -> None:
    """Keep one that ended well. It has ended whether or not that can be written."""
    try:
        lines.append(_file(places), encode(scored(dossier, outcome, at)))
    except OSError as error:
        log.warning("what became of %s is not remembered: %s", outcome.vm, error)


def history(places: Places, limit: int) -> History:
    """The latest ``limit``."""
    rows: Sequence[Scored] = [decode(Scored, each) for each in lines.read(_file(places))[-limit:]]
    return History(tuple(rows), summary(rows))


def _file(places: Places) -> Path:
    return places.state / "migrations.jsonl"
