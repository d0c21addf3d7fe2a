"""The script that starts relays: a relay is kept while it serves what is asked, and replaced when it does not."""

from __future__ import annotations

import os
import subprocess
from importlib import resources
from pathlib import Path

SCRIPT = resources.files("novafleet.capability.backup").joinpath("instant_relay.sh").read_text()
SYSTEMCTL = """#!/bin/sh
case $* in
  *is-active*) [ -e "$WORLD/active" ] ;;
  stop*) rm -f "$WORLD/active" ;;
esac
"""
SYSTEMD_RUN = """#!/bin/sh
touch "$WORLD/active" "$WORLD/vda.sock"
echo "$*" >>"$WORLD/started"
"""


def relay(world: Path, export: str) -> list[str]:
    """Ask for a relay of that export; what was ever started."""
    for name, text in {"systemctl": SYSTEMCTL, "systemd-run": SYSTEMD_RUN}.items():
        (world / name).write_text(text)
        (world / name).chmod(0o755)
    words = ("sh", "-c", SCRIPT, "sh", str(world), "", "nf-instant-x", "60", "vda", export)
    variables = {**os.environ, "PATH": f"{world}:{os.environ['PATH']}", "WORLD": str(world)}
    subprocess.run(words, env=variables, check=True)
    return (world / "started").read_text().splitlines()


def test_one_that_runs_is_kept(tmp_path: Path) -> None:
    assert len(relay(tmp_path, "one")) == 1
    assert len(relay(tmp_path, "one")) == 1


def test_one_that_serves_another_snapshot_goes(tmp_path: Path) -> None:
    relay(tmp_path, "one")
    first, second = relay(tmp_path, "two")
    assert "--export-name=one" in first
    assert "--export-name=two" in second
