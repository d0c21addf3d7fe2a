"""The scripts that install Quadlets and take them away, run against a systemctl and a podman that only write down."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.capability.stack import actions
from novafleet.capability.stack.bundle import Expected, expected
from tests.unit.stack.test_stack_plan import EDGE, files

SPY = '#!/bin/sh\necho "$@" >>%s\n'


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    made.mkdir()
    (made / "web.container").write_text("[Container]\n")
    for name in ("systemctl", "podman"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(SPY % (tmp_path / f"{name}.log"))
        program.chmod(0o755)
    return made


def run(tmp_path: Path, script: str, *arguments: str) -> list[str]:
    """What systemctl was asked for, without forgetting what failed."""
    log = tmp_path / "systemctl.log"
    log.unlink(missing_ok=True)
    text = actions._script(script).replace("/etc/containers/systemd", f"{tmp_path}/systemd")
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", text, "sh", *arguments], check=True, env={"PATH": path}, umask=0o022)
    return [line for line in log.read_text().splitlines() if not line.startswith("reset-failed ")]


def install(tmp_path: Path, bundle: Path) -> list[str]:
    return run(tmp_path, "quadlet.sh", str(bundle), "lab-edge", "recreate")


def test_env_comes_with_the_units_and_the_record_does_not(tmp_path: Path, bundle: Path) -> None:
    (bundle / ".env").write_text("A=b\n")
    (bundle / ".env").chmod(0o600)
    (bundle / ".novafleet.json").write_text("{}")
    assert install(tmp_path, bundle) == ["daemon-reload", "restart web.service"]
    installed = tmp_path / "systemd" / "lab-edge"
    assert sorted(path.name for path in installed.iterdir()) == [".env", "web.container"]
    assert (installed / ".env").stat().st_mode & 0o777 == 0o600


def test_a_unit_that_left_the_bundle_is_stopped(tmp_path: Path, bundle: Path) -> None:
    for name in ("old.container", "old.pod", "lan.network"):
        (bundle / name).write_text("")
    install(tmp_path, bundle)
    for name in ("old.container", "old.pod", "lan.network"):
        (bundle / name).unlink()
    stops = ["stop lan-network.service", "stop old-pod.service", "stop old.service"]
    asked = install(tmp_path, bundle)
    assert sorted(asked[:-2]) == stops
    assert asked[-2:] == ["daemon-reload", "restart web.service"]


def test_networks_and_volumes_are_made_again_after_down(tmp_path: Path, bundle: Path) -> None:
    (bundle / "lan.network").write_text("[Network]\n")
    (bundle / "data.volume").write_text("[Volume]\n")
    install(tmp_path, bundle)
    asked = run(tmp_path, "stop.sh", "podman", "lab-edge", "keep", "quadlet", str(bundle))
    assert asked[0] == "stop web.service"
    assert sorted(asked[1:]) == ["daemon-reload", "stop data-volume.service", "stop lan-network.service"]


def test_what_is_installed_is_for_root_alone(tmp_path: Path, bundle: Path) -> None:
    install(tmp_path, bundle)
    installed = tmp_path / "systemd" / "lab-edge"
    assert [oct(path.stat().st_mode & 0o777) for path in (installed.parent, installed)] == ["0o755", "0o700"]


def test_only_what_is_installed_is_waited_for() -> None:
    made = files(**{"web.container": "[Container]\n", "disabled/old.container": "[Container]\n"})
    assert expected(replace(EDGE, kind="quadlet", entry="", files=made)) == Expected({"web": True}, 1)
