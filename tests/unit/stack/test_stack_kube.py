"""Pods that are made anew, with a podman that only writes down what it is asked for."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.capability.stack import actions
from novafleet.model.command import Command, Completed
from novafleet.ports import ActionContext
from tests.unit.stack.test_stack_plan import EDGE, POD, environment, files

PODMAN = """#!/bin/sh
echo "$@" >>%s
case $* in "pod ps"*) echo p1; echo p2 ;; "ps "*) printf '1\\n2\\n3\\n4\\n' ;; esac
"""


class Host:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def run(self, command: Command, **_: Any) -> Completed:
        env = {"PATH": f"{self.path}:{os.environ['PATH']}"}
        done = await asyncio.to_thread(subprocess.run, command.argv, capture_output=True, check=False, env=env)
        return Completed(command.argv, done.returncode, done.stdout, done.stderr)

    async def push(self, *_: object, **__: object) -> bool:
        return True


@pytest.mark.parametrize("recreate", [True, False])
def test_pods_that_left_the_file_go_when_the_others_are_made_anew(tmp_path: Path, recreate: bool) -> None:
    program = tmp_path / "podman"
    program.write_text(PODMAN % (tmp_path / "log"))
    program.chmod(0o755)
    stack = replace(EDGE, kind="kube", entry="p.yaml", files=files(**{"p.yaml": POD}))
    ctx = cast("ActionContext", SimpleNamespace(environment=environment(stack), session=Host(tmp_path)))
    args = {"stack": "edge", "engine": "podman", "provider": "podman kube play", "recreate": recreate}
    asyncio.run(actions.start(ctx, args))
    asked = (tmp_path / "log").read_text().splitlines()
    play = next(index for index, line in enumerate(asked) if line.startswith("kube play"))
    removed = ["pod ps -q --filter label=com.docker.compose.project=lab-edge", "pod rm -f p1 p2"]
    assert asked[:play] == (removed if recreate else [])
