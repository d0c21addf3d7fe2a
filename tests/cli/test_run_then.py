"""Modules named by ``then`` are there before the use-case has ended."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from novafleet.cli.run import run


def test_modules_are_loaded_while_hosts_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needed_afterwards.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def hosts_answer() -> str:
        async with asyncio.timeout(30):
            while "needed_afterwards" not in sys.modules:  # noqa: ASYNC110 - an import tells nobody
                await asyncio.sleep(0.01)
        return "answered"

    assert run(hosts_answer, then=("needed_afterwards",)) == "answered"
