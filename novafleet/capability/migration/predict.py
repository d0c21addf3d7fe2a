"""What each mode would be like, from measured rates. Pure.

A guest's memory is copied round by round while it writes; it converges when what it wrote in the last round is sent
within the downtime allowed. Figures of the hand-over were measured on the lab (docs/reference/migration-dossier.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from novafleet.capability.migration.build import Case
from novafleet.model.migration import Finding, Mode, Path, Severity, Verdict

MODES = (Mode.LIVE, Mode.POSTCOPY, Mode.WARM, Mode.COLD)
SETUP = 2.0
"""Seconds libvirt, QEMU and the route need before the first byte and after the last."""
HAND_OVER = {"kvm": (30.0, 300.0), "qemu": (100.0, 500.0)}
"""Milliseconds in which the guest stands still while its devices change hosts, by the domain's type: QEMU 7.2 and
10.0 without KVM took 219 to 425 ms."""
STOP_START = (1.0, 60.0)
"""Seconds a guest takes to power off and QEMU to be there again; the guest's own boot comes on top."""
TOO_BUSY = {Path.RELAY: 0.7}
"""Share of the link's rate that the guest may dirty; beyond it rounds do not get shorter."""
UNMEASURED = "the link was not measured: no times are foretold"
ROUNDS = 30
WARM_DELTA = 0.05
"""Share of the disks that changes while they are copied, for want of a measurement."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Bytes of disks and files, bytes of memory, and bytes a second."""

    disks: int
    memory: int
    rate: float
    dirty: float
    path: Path

    @property
    def busy(self) -> bool:
        """Does the guest dirty its memory faster than it can be sent?"""
        return bool(self.rate) and self.dirty >= TOO_BUSY.get(self.path, 0.8) * self.rate

    def seconds(self, count: float) -> float:
        """For so many bytes; 0 when no rate is known."""
        return count / self.rate if self.rate else 0.0


def figures(case: Case, path: Path) -> Figures:
    """Of one case."""
    disks = sum(disk.allocated for disk in case.copied) + sum(each.size for each in case.brought)
    memory = min(case.observed.resident or case.guest.memory, case.guest.memory)
    rate, limit = case.observed.link_rate, case.wanted.bandwidth
    return Figures(disks, memory, min(rate, limit) if limit and rate else rate, case.observed.dirty_rate, path)


def predict(case: Case, path: Path, findings: tuple[Finding, ...]) -> tuple[Verdict, ...]:
    """A verdict for each mode, in the order of the ladder."""
    numbers = figures(case, path)
    return tuple(_verdict(case, numbers, mode, findings) for mode in MODES)


def _verdict(case: Case, numbers: Figures, mode: Mode, findings: tuple[Finding, ...]) -> Verdict:
    """Figures alone never refuse a mode that was asked for by name: they warn."""
    total, downtime, size = _ESTIMATES[mode](case, numbers)
    obstacle, doubt = _obstacle(mode, findings), _limits(case, numbers, mode, total)
    possible = not obstacle and (not doubt or case.wanted.mode is mode)
    band = (round(downtime[0], 1), round(downtime[1], 1))
    return Verdict(mode, possible, obstacle or doubt or _remark(numbers), round(total, 1), band, size)


def _obstacle(mode: Mode, findings: tuple[Finding, ...]) -> str:
    blockers = (each for each in findings if each.severity is Severity.BLOCKER)
    return next((each.what for each in blockers if not each.modes or mode in each.modes), "")


def _limits(case: Case, numbers: Figures, mode: Mode, total: float) -> str:
    if mode is Mode.LIVE and numbers.busy:
        return (
            f"the guest changes {mib(numbers.dirty)} of memory a second, the {numbers.path} path carries"
            f" {mib(numbers.rate)}: it would not end by itself"
        )
    deadline = case.wanted.deadline
    if deadline and numbers.rate and total > deadline:
        return f"it would take {total:.0f} s, and has {deadline:.0f} s"
    return ""


def _remark(numbers: Figures) -> str:
    return "" if numbers.rate else UNMEASURED


def mib(count: float) -> str:
    """Bytes for people."""
    return f"{count / (1 << 20):.1f} MiB"


Estimate = tuple[float, tuple[float, float], int]


def _live(case: Case, numbers: Figures) -> Estimate:
    low, high = _hand_over(case)
    sent, left = _rounds(numbers, case.wanted.max_downtime)
    rest = numbers.seconds(left) * 1000
    total = SETUP + numbers.seconds(numbers.disks + sent)
    return total, (low, high + min(rest, case.wanted.max_downtime)), int(numbers.disks + sent)


def _rounds(numbers: Figures, max_downtime: int) -> tuple[float, float]:
    """Bytes of memory sent in all, and those of the last round, with the guest standing still."""
    sent, left = 0.0, float(numbers.memory)
    if not numbers.rate:
        return left, 0.0
    for _ in range(ROUNDS):
        sent += left
        left = min(float(numbers.memory), numbers.dirty * numbers.seconds(left))
        if numbers.seconds(left) * 1000 <= max_downtime:
            break
    return sent + left, left


def _postcopy(case: Case, numbers: Figures) -> Estimate:
    size = numbers.disks + 2 * numbers.memory
    return SETUP + numbers.seconds(size), _hand_over(case), size


def _warm(case: Case, numbers: Figures) -> Estimate:  # noqa: ARG001 - an estimate like the others
    delta = numbers.seconds(numbers.disks * WARM_DELTA)
    low, high = STOP_START[0] + delta, STOP_START[1] + delta
    total = SETUP + numbers.seconds(numbers.disks) + delta + STOP_START[0]
    return total, (low * 1000, high * 1000), int(numbers.disks * (1 + WARM_DELTA))


def _cold(case: Case, numbers: Figures) -> Estimate:
    copy = numbers.seconds(numbers.disks)
    total = SETUP + copy + (STOP_START[0] if case.observed.running else 0.0)
    if not case.observed.running:
        return total, (0.0, 0.0), numbers.disks
    return total, ((STOP_START[0] + copy) * 1000, (STOP_START[1] + copy) * 1000), numbers.disks


def _hand_over(case: Case) -> tuple[float, float]:
    return HAND_OVER.get(case.guest.kind, HAND_OVER["kvm"])


_ESTIMATES = {Mode.LIVE: _live, Mode.POSTCOPY: _postcopy, Mode.WARM: _warm, Mode.COLD: _cold}
