"""Paths are told from the working directory, where that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.report import console


def test_paths_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert console.text(f"{tmp_path}/a: {tmp_path}/b").plain == "a: b"
    monkeypatch.chdir("/")
    assert console.text("/srv/a: /b").plain == "/srv/a: /b", "timers run here, and mails are read elsewhere"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert console.text("/srv/a").plain == "/srv/a"
