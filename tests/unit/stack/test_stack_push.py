"""What lies on the host after a push that ended halfway."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.capability.stack import actions
from novafleet.capability.stack.bundle import RECORD, recorded_files
from novafleet.errors import NotFoundError
from novafleet.model.command import Command, Completed
from novafleet.ports import ActionContext
from tests.unit.stack.test_stack_plan import EDGE, environment


class Host:
    """Keeps the files it is sent; ``broken``: the connection ends before any is removed."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.broken = False

    async def run(self, command: Command, **_: Any) -> Completed:
        if actions._DISCARD in command.argv:
            if self.broken:
                raise ConnectionError
            root, *paths = command.argv[command.argv.index(actions._DISCARD) + 2 :]
            for path in paths:
                self.files.pop(f"{root}/{path}", None)
        return Completed(command.argv, 0, b"", b"")

    async def push(self, content: bytes, path: str, **_: Any) -> bool:
        self.files[path] = content
        return True

    async def pull(self, path: str, **_: Any) -> bytes:
        if path not in self.files:
            raise NotFoundError("no such file", code="NF-FILE-404")
        return self.files[path]


def test_what_left_the_bundle_goes_though_the_push_before_was_cut_off() -> None:
    host = Host()

    def push(*kept: str) -> None:
        stack = replace(EDGE, files=tuple(file for file in EDGE.files if file.path in kept))
        ctx = cast("ActionContext", SimpleNamespace(environment=environment(stack), session=host))
        asyncio.run(actions.push(ctx, {"stack": "edge", "engine": "docker"}))

    push("c.yaml", "app.env")
    host.broken = True
    with pytest.raises(ConnectionError):
        push("c.yaml")
    host.broken = False
    push("c.yaml")
    root = "/var/lib/novafleet/stacks/lab-edge"
    assert sorted(host.files) == [f"{root}/{RECORD}", f"{root}/c.yaml"]
    assert "c.yaml" in recorded_files(host.files[f"{root}/{RECORD}"])
