"""How a scheduled run went, in plain lines: printed, mailed and sent alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any

from novafleet.model.schedule import RunState, ScheduledRun, VmOutcome

WORDS = {
    RunState.RUNNING: "running",
    RunState.DONE: "ok",
    RunState.FAILED: "FAILED",
    RunState.SKIPPED: "skipped",
    RunState.DIED: "KILLED",
}
_SHOWN = 5
"""Missed moments that are told one by one."""


def headline(run: ScheduledRun) -> str:
    """One line: ``devlab: FAILED, 2 of 3 VMs backed up in 42 s``."""
    if run.state is RunState.SKIPPED:
        return f"{run.schedule}: skipped, outside its window"
    kept = sum(not vm.error for vm in run.vms)
    took = f" in {duration(run.ended - run.started)}" if run.ended else ""
    found = f", {kept} of {len(run.vms)} VMs backed up{took}" if run.vms else ""
    return f"{run.schedule}: {WORDS[run.state]}{found}"


def lines(run: ScheduledRun, zone: tzinfo | None = None) -> Iterator[str]:
    """The whole summary, the headline first; without ``zone`` times are the reader's. What hosts say is shown, never
    obeyed by who reads it."""
    for line in _lines(run, zone):
        yield "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)


def _lines(run: ScheduledRun, zone: tzinfo | None) -> Iterator[str]:
    yield headline(run)
    width = max((len(vm.vm) for vm in run.vms), default=0)
    for vm in run.vms:
        yield f"  {vm.vm:<{width}}  {_outcome(vm)}"
    for duty in run.duties:
        yield f"  {duty.kind}: {_finding(duty.error) if duty.error else duty.text}"
    for error in run.errors:
        yield f"  {_finding(error)}"
    if run.missed:
        yield f"  {missed(run.missed, zone)}"
    for told in run.told:
        yield f"  told: {told}"


def missed(moments: tuple[float, ...], zone: tzinfo | None) -> str:
    """``missed 2 runs: 2026-11-19 01:00, 2026-11-20 01:00``."""
    named = [f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M}" for at in moments[-_SHOWN:]]
    more = "… " if len(moments) > _SHOWN else ""
    return f"missed {len(moments)} run{'s' * (len(moments) > 1)}: {more}{', '.join(named)}"


def _outcome(vm: VmOutcome) -> str:
    if vm.error:
        return f"FAILED  {_finding(vm.error)}"
    modes = ", ".join(f"{disk} {mode}" for disk, mode in vm.modes.items())
    return f"ok  {vm.snapshot}  read {amount(vm.bytes_read)}, stored {amount(vm.bytes_stored)}  {modes}".rstrip()


def _finding(error: Mapping[str, Any]) -> str:
    where = f"{error['where']}: " if error.get("where") else ""
    hint = f" -> {error['hints'][0]}" if error.get("hints") else ""
    return f"{error['code']} {where}{error['what']}{_cause(str(error.get('cause', '')))}{hint}"


def _cause(text: str) -> str:
    first = first_line(text)
    return f" ({first})" if first else ""


def first_line(cause: str) -> str:
    """Of a finding's cause: the others show the file, which may hold what should not be mailed."""
    first = cause.strip("\n").partition("\n")[0]
    return "" if " | " in first else first


def amount(count: int) -> str:
    """Bytes for people: ``1.2 GiB``."""
    value, units = float(count), ("B", "KiB", "MiB", "GiB", "TiB")
    power = 0
    while value >= 1024 and power < len(units) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.0f} B" if power == 0 else f"{value:.1f} {units[power]}"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 7 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
