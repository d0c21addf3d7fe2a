"""What was tried with a snapshot is told with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.report import backup
from tests.unit.report import backups


def test_drills_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    [good] = backups.PROOFS
    bad = replace(good, ok=False, facts={"host": "kvm1", "error": "NF-GATE-001: vm is not ready"})
    backup.show_snapshot(backups.SNAPSHOT, (good, bad), "table")
    said = capsys.readouterr().out
    assert "drill on kvm2, 2026-11-21 19:11:11Z: proven, back after 31 s" in said
    assert "drill on kvm1, 2026-11-21 19:11:11Z: NOT proven: NF-GATE-001: vm is not ready" in said
