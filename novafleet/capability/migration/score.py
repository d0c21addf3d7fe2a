"""What was foretold of a migration, against what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from novafleet.model.migration import Dossier, GateSeen, Mode, Outcome, Path


@dataclass(frozen=True, slots=True)
class Scored:
    """One migration. ``foretold_downtime`` is the band, ``downtime_ms`` the longest measured (-1: nobody could); ``at``
    seconds since the epoch. ``foretold_seconds`` 0: nothing was foretold."""

    job: str
    vm: str
    source: str
    destination: str
    mode: Mode
    path: Path
    at: float
    foretold_seconds: float
    seconds: float
    foretold_downtime: tuple[float, float]
    downtime_ms: float
    bytes: int
    gates: tuple[GateSeen, ...] = ()

    @property
    def factor(self) -> float:
        """How many times as long as foretold it took; 0 when nothing was foretold."""
        return self.seconds / self.foretold_seconds if self.foretold_seconds else 0.0

    @property
    def within(self) -> bool | None:
        """Did the guest stand still no longer than foretold? None when it was not measured or not foretold."""
        if self.downtime_ms < 0 or not self.foretold_seconds:
            return None
        return self.downtime_ms <= self.foretold_downtime[1]


def scored(dossier: Dossier, outcome: Outcome, at: float) -> Scored:
    """One that ended well; of a mode further down the ladder what was foretold of that one."""
    verdict = next(each for each in dossier.verdicts if each.mode is outcome.mode)
    return Scored(
        job=outcome.job,
        vm=outcome.vm,
        source=outcome.source,
        destination=outcome.destination,
        mode=outcome.mode,
        path=outcome.path,
        at=at,
        foretold_seconds=verdict.total_seconds if dossier.link_rate else 0.0,
        seconds=round(outcome.total_ms / 1000, 1),
        foretold_downtime=verdict.downtime_ms,
        downtime_ms=outcome.downtime_ms,
        bytes=verdict.bytes,
        gates=outcome.gates,
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """Of several: how many, the middle of the factors (0: none), and the share within the foretold downtime."""

    count: int
    factor: float
    within: float


def summary(rows: Sequence[Scored]) -> Summary:
    """How good predictions are."""
    factors = [row.factor for row in rows if row.factor]
    judged = [row.within for row in rows if row.within is not None]
    return Summary(len(rows), median(factors) if factors else 0.0, sum(judged) / len(judged) if judged else 0.0)
