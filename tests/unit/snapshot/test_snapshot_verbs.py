"""Words and exit statuses of ``snapshot`` on a command line."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from novafleet.app.snapshotview import Listing, VmSnapshots
from novafleet.cli import snapshot
from novafleet.errors import ExitCode, UnreachableError

GONE = {"kvm9/db": UnreachableError("connection refused", where="kvm9")}
VM = VmSnapshots("db", "db", "kvm1", "", "running")


@pytest.mark.parametrize("verb", [("ls",), ("tree",), ("show", "db", "monday")], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("listing", "status"),
    [
        (Listing((VM,), {}), ExitCode.OK),
        (Listing((VM,), GONE), ExitCode.PARTIAL),
        (Listing((), GONE), ExitCode.UNREACHABLE),
    ],
)
def test_who_could_not_be_looked_at_is_in_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], listing: Listing, status: ExitCode
) -> None:
    def ended(_work: Any, **_more: Any) -> Listing:
        return listing

    monkeypatch.setattr(snapshot, "run", ended)
    monkeypatch.setattr(snapshot, "selected", lambda *_words: None)
    assert CliRunner().invoke(snapshot.app, verb).exit_code == int(status)


@pytest.mark.parametrize("verb", ["show", "revert"])
def test_a_second_snapshot_is_not_ignored(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(snapshot, "selected", lambda *_words: None)
    ended = CliRunner().invoke(snapshot.app, (verb, "db", "monday", "tuesday"))
    assert ended.exit_code == int(ExitCode.USAGE)
