"""Predictions against outcomes, and the file they are kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from novafleet.app.migratehistory import history, remember
from novafleet.app.wiring import Places
from novafleet.capability.migration.score import scored, summary
from novafleet.model.migration import Mode, Outcome
from novafleet.model.migration import Path as Way
from novafleet.report import migratehistory as report
from novafleet.store import lines
from tests.unit.migration.dossiers import dossier, observed

DONE: dict[str, Any] = {
    "job": "0a1b2c3d",
    "vm": "db",
    "domain": "lab-db",
    "source": "kvm1",
    "destination": "kvm2",
    "mode": Mode.LIVE,
    "path": Way.RELAY,
    "total_ms": 36_400.0,
    "downtime_ms": 250.0,
    "downtimes": {"libvirt": 250.0},
    "verified": True,
    "undo_until": 9.0,
}


def outcome(**changed: Any) -> Outcome:
    return Outcome(**{**DONE, **changed})


def test_a_migration_is_scored_against_what_was_foretold_of_its_mode() -> None:
    row = scored(dossier(observed(dirty_rate=0.0)), outcome(), 5.0)
    assert row.foretold_seconds == pytest.approx(18.0, abs=0.1)
    assert row.factor == pytest.approx(36.4 / 18.0, abs=0.02)
    assert row.within is True
    assert scored(dossier(), outcome(downtime_ms=900.0), 5.0).within is False
    assert scored(dossier(), outcome(mode=Mode.COLD), 5.0).foretold_downtime[0] > 1000


def test_what_was_not_measured_or_foretold_is_not_judged() -> None:
    unmeasured = scored(dossier(observed(link_rate=0.0)), outcome(), 5.0)
    assert (unmeasured.factor, unmeasured.within) == (0.0, None)
    assert scored(dossier(), outcome(downtime_ms=-1.0), 5.0).within is None
    total = summary([unmeasured])
    assert (total.count, total.factor, total.within) == (1, 0.0, 0.0)


def test_the_latest_are_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = Places(tmp_path, tmp_path / "known_hosts")
    assert history(places, 20).rows == ()
    for number in range(3):
        remember(places, dossier(), outcome(job=f"0000000{number}"), float(number))
    found = history(places, 2)
    assert [row.job for row in found.rows] == ["00000001", "00000002"]
    assert found.summary.count == 2
    report.show(found, "table")
    printed = capsys.readouterr().out
    assert "36.4 s" in printed
    assert "times as long as foretold" in printed
    assert report.document(found)["migrations"][0]["within"] is True


def test_a_torn_line_is_left_out_and_the_file_is_private(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    lines.append(file, {"a": 1})
    with file.open("a") as torn:
        torn.write('{"b": ')
    assert lines.read(file) == ({"a": 1},)
    assert file.stat().st_mode & 0o077 == 0


def test_a_migration_that_cannot_be_remembered_has_ended_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "migrations.jsonl").mkdir()
    remember(Places(tmp_path, tmp_path / "known_hosts"), dossier(), outcome(), 5.0)
