"""What is foretold: seconds, the time a guest stands still, bytes; all from measured rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.model.migration import Dossier, Mode, Severity, Verdict
from tests.unit.migration.dossiers import MIB, dossier, observed

DISKS = 100 * MIB + 300 * MIB + 57344 + 800 * MIB
MEMORY = 400 * MIB


def verdict(found: Dossier, mode: Mode) -> Verdict:
    return next(each for each in found.verdicts if each.mode is mode)


def test_a_quiet_guest_is_copied_once() -> None:
    live = verdict(dossier(observed(dirty_rate=0.0)), Mode.LIVE)
    assert live.bytes == DISKS + MEMORY
    assert live.total_seconds == pytest.approx(2 + (DISKS + MEMORY) / (100 * MIB), abs=0.1)
    assert live.downtime_ms == (100.0, 500.0)


def test_a_busy_guest_is_copied_in_rounds_and_stands_still_for_the_last() -> None:
    live = verdict(dossier(observed(dirty_rate=50.0 * MIB), max_downtime=300), Mode.LIVE)
    assert live.possible
    assert live.bytes > DISKS + MEMORY + 200 * MIB
    assert 500 < live.downtime_ms[1] <= 500 + 300


def test_a_guest_that_writes_faster_than_the_link_is_not_moved_live() -> None:
    found = dossier(observed(dirty_rate=75.0 * MIB))
    live = verdict(found, Mode.LIVE)
    assert not live.possible
    assert "75.0 MiB" in live.why
    assert verdict(dossier(observed(dirty_rate=75.0 * MIB, path="direct")), Mode.LIVE).possible
    assert verdict(found, Mode.POSTCOPY).possible


def test_figures_warn_of_a_mode_asked_for_by_name_and_do_not_refuse_it() -> None:
    found = dossier(observed(dirty_rate=75.0 * MIB), mode=Mode.LIVE)
    assert found.move.ladder == (Mode.LIVE,)
    assert "75.0 MiB" in verdict(found, Mode.LIVE).why
    assert [each.code for each in found.findings if each.severity is Severity.WARNING and Mode.LIVE in each.modes] == [
        "NF-MIG-344"
    ]


def test_a_bandwidth_limit_counts_as_the_link() -> None:
    found = dossier(observed(dirty_rate=9.0 * MIB), bandwidth=10 * MIB)
    assert not verdict(found, Mode.LIVE).possible


def test_a_deadline_refuses_what_takes_longer() -> None:
    found = dossier(deadline=16.0)
    assert [each.mode for each in found.verdicts if each.possible] == [Mode.WARM, Mode.COLD]
    assert "16 s" in verdict(found, Mode.LIVE).why


def test_without_a_measurement_nothing_is_foretold_and_nothing_refused() -> None:
    found = dossier(observed(link_rate=0.0), deadline=1.0)
    assert all(each.possible for each in found.verdicts)
    assert "not measured" in verdict(found, Mode.LIVE).why


def test_a_vm_that_is_off_does_not_stand_still() -> None:
    assert verdict(dossier(observed(running=False)), Mode.COLD).downtime_ms == (0.0, 0.0)


def test_cold_and_warm_stop_the_guest_and_say_so() -> None:
    found = dossier()
    cold, warm = verdict(found, Mode.COLD), verdict(found, Mode.WARM)
    assert cold.downtime_ms[0] >= 1000 + DISKS / (100 * MIB) * 1000 - 1
    assert 1000 < warm.downtime_ms[0] < cold.downtime_ms[0]


def test_no_more_memory_is_sent_than_the_guest_has() -> None:
    swollen = observed(resident=9000 * MIB, dirty_rate=0.0)
    assert verdict(dossier(swollen), Mode.LIVE).bytes == DISKS + 512 * MIB


@given(
    rate=st.floats(1e5, 1e10),
    dirty=st.floats(0, 1e10),
    max_downtime=st.integers(1, 10_000),
    bandwidth=st.integers(0, 1 << 40),
)
@settings(max_examples=200, deadline=None)
def test_figures_are_sane_for_all_rates(rate: float, dirty: float, max_downtime: int, bandwidth: int) -> None:
    seen = replace(observed(), link_rate=rate, dirty_rate=dirty)
    for each in dossier(seen, max_downtime=max_downtime, bandwidth=bandwidth).verdicts:
        low, high = each.downtime_ms
        assert 0 <= low <= high
        assert each.total_seconds >= 0
        assert each.bytes >= DISKS
        assert each.possible or each.why


@given(rate=st.floats(1e5, 1e9), dirty=st.floats(0, 1e9))
@settings(max_examples=100, deadline=None)
def test_a_faster_link_never_takes_longer(rate: float, dirty: float) -> None:
    slow = dossier(replace(observed(), link_rate=rate, dirty_rate=dirty))
    fast = dossier(replace(observed(), link_rate=rate * 2, dirty_rate=dirty))
    for one, other in zip(slow.verdicts, fast.verdicts, strict=True):
        assert other.total_seconds <= one.total_seconds + 0.2
