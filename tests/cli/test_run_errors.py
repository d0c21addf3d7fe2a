"""Whatever fails at once, a document that was asked for is one document."""

from __future__ import annotations

import json

import pytest
import typer

from novafleet.cli.run import run
from novafleet.errors import UnreachableError


def test_errors_of_two_hosts_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    async def two() -> None:
        raise ExceptionGroup("both", [UnreachableError("gone", code="NF-SSH-001", where=host) for host in ("a", "b")])

    with pytest.raises(typer.Exit):
        run(two, form="json")
    assert [error["where"] for error in json.loads(capsys.readouterr().out)["errors"]] == ["a", "b"]
