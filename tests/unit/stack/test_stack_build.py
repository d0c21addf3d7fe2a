"""Images that a Compose stack builds from its own bundle."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from novafleet.capability.stack import actions, bundle
from novafleet.ports import ActionContext
from tests.unit.stack.test_stack_kube import Host
from tests.unit.stack.test_stack_plan import EDGE, environment, files

BUILDS = {
    "build: .": True,
    "build: ./web": True,
    "build: {context: web/}": True,
    "build: {dockerfile_inline: FROM scratch}": True,
    "image: localhost/web": False,
    "build: /srv/web": False,
    "build: ./gone": False,
    "build: https://example.com/web.git": False,
    "build: ./web, image: app": False,  # its archive is shipped
}


@pytest.mark.parametrize("written", BUILDS)
def test_what_is_built_of_the_bundle_is_built_again(written: str) -> None:
    texts = {"c.yaml": f"services: {{db: {{image: db}}, web: {{{written}}}}}\n", "web/Dockerfile": "FROM scratch\n"}
    stack = replace(EDGE, files=files(**texts))
    assert bundle.builds(stack) is BUILDS[written]


@pytest.mark.parametrize("recreate", [True, False])
def test_only_a_change_builds(tmp_path: Path, recreate: bool) -> None:
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/log\n[ "$1" != ps ] || echo 1\n')
    program.chmod(0o755)
    texts = {"c.yaml": "services: {web: {build: .}}\n", "Dockerfile": "FROM scratch\n"}
    ctx = SimpleNamespace(environment=environment(replace(EDGE, files=files(**texts))), session=Host(tmp_path))
    args = {"stack": "edge", "engine": "docker", "provider": "docker compose", "recreate": recreate}
    asyncio.run(actions.start(cast("ActionContext", ctx), args))
    asked = (tmp_path / "log").read_text().splitlines()[0].split()
    assert ("--build" in asked) is recreate
