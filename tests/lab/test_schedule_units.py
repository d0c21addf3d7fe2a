"""The units of a schedule on a real systemd: of a lab host, where words of a test's own stand for NovaFleet."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from novafleet.timer.systemd import Systemd
from novafleet.timer.unit import Task, command, service, timer
from tests.e2e.controller import wait_for
from tests.labfixture import Lab

HOST = "kvm3"
NAME = "h-units"
FOLDER = "/run/novafleet-h-units"
WORDS = (
    "plain",
    "with blank",
    "50%",
    "%h",
    "$HOME",
    "${HOME}",
    'a "quoted" word',
    "back\\slash",
    "tab\there",
    "ünï",
    "",
)
RECORD = (
    'out=$1; shift; printf "%s\\0" "$@" >"$out"; '
    'printf "%s\\0" "$NF_STATE" "$NF_SECRET" "$CREDENTIALS_DIRECTORY" >"$out.environment"'
)
ENVIRONMENT = ["/srv/a b/%n/$X", "correct horse", f"/run/credentials/novafleet-{NAME}.service"]
"""The directory itself needs a mount, which the lab's containers may not make; systemd only says so later."""

pytestmark = pytest.mark.lab


@pytest.fixture
def units(lab: Lab) -> Iterator[Lab]:
    """A schedule whose run writes down what it was given, and what comes after it too."""
    lab.on(HOST, "mkdir", "-p", FOLDER)
    lab.on(HOST, "tee", f"{FOLDER}/secrets", stdin="NF_SECRET=correct horse\n")
    lab.on(HOST, "tee", f"{FOLDER}/credential", stdin="battery staple")
    program = ("/bin/sh", "-c", RECORD, "sh")
    task = Task(
        name=NAME,
        description="100% of a test",
        run=(*program, f"{FOLDER}/run", *WORDS),
        settle=(*program, f"{FOLDER}/settled"),
        calendar=("*-*-* 1:00:00", "Mon *-*-* 2:00:00"),
        delay=600,
        environment={"NF_STATE": ENVIRONMENT[0]},
        secrets=f"{FOLDER}/secrets",
        credentials={"fleet": f"{FOLDER}/credential"},
    )
    of_user = service(task, system=False)  # what is encrypted is tested by systemd itself
    lab.on(HOST, "tee", f"/run/systemd/system/novafleet-{NAME}.service", stdin=of_user)
    lab.on(HOST, "tee", f"/run/systemd/system/novafleet-{NAME}.timer", stdin=timer(task))
    lab.on(HOST, "systemctl", "daemon-reload")
    yield lab
    lab.on(HOST, "systemctl", "stop", f"novafleet-{NAME}.timer", f"novafleet-{NAME}.service", check=False)
    lab.on(HOST, "sh", "-c", f"rm -rf {FOLDER} /run/systemd/system/novafleet-{NAME}.*")
    lab.on(HOST, "rm", "-f", f"/var/lib/systemd/timers/stamp-novafleet-{NAME}.timer")
    lab.on(HOST, "systemctl", "daemon-reload")


def recorded(lab: Lab, name: str) -> list[str]:
    """Words a run wrote down."""
    return lab.on(HOST, "cat", f"{FOLDER}/{name}").split("\0")[:-1]


def test_every_word_arrives_as_it_was_meant(units: Lab) -> None:
    units.on(HOST, "systemctl", "start", f"novafleet-{NAME}.service")
    assert recorded(units, "run") == list(WORDS)
    assert recorded(units, "run.environment") == ENVIRONMENT
    assert recorded(units, "settled.environment")[:2] == ENVIRONMENT[:2]
    assert units.on(HOST, "systemctl", "show", "-P", "Description", f"novafleet-{NAME}").strip() == "100% of a test"


def test_the_timer_waits_for_the_right_moment(units: Lab) -> None:
    units.on(HOST, "systemctl", "start", f"novafleet-{NAME}.timer")
    shown = units.on(HOST, "systemctl", "show", f"novafleet-{NAME}.timer").splitlines()
    properties = dict(line.partition("=")[::2] for line in shown)
    assert properties["ActiveState"] == "active"
    assert (properties["Persistent"], properties["RandomizedDelayUSec"]) == ("yes", "10min")
    assert re.search(r" 01:(0|10:00)|^Mon \S+ 02:(0|10:00)", properties["NextElapseUSecRealtime"])


def test_a_killed_run_is_settled(units: Lab) -> None:
    """``ExecStopPost`` comes after a kill too."""
    path = f"/run/systemd/system/novafleet-{NAME}.service"
    lines = units.on(HOST, "cat", path).splitlines()
    killed = command(("/bin/sh", "-c", "kill -KILL $$"))
    lines = [f"ExecStart={killed}" if line.startswith("ExecStart=") else line for line in lines]
    units.on(HOST, "tee", path, stdin="\n".join(lines) + "\n")
    units.on(HOST, "systemctl", "daemon-reload")
    units.on(HOST, "systemctl", "start", f"novafleet-{NAME}.service", check=False)
    state = ("systemctl", "show", "-P", "SubState", f"novafleet-{NAME}.service")
    wait_for(lambda: units.on(HOST, *state).strip() == "failed", 30, "the unit has failed")
    assert recorded(units, "settled.environment")[:2] == ENVIRONMENT[:2]


SYSTEMCTL = """\
#!/bin/sh
# systemctl of a lab host: its units are those of a folder here.
if [ "$1" = daemon-reload ]; then
  docker exec {container} sh -c 'rm -f /etc/systemd/system/novafleet-h-*'
  tar -C {folder} -c . | docker exec --interactive {container} tar -C /etc/systemd/system -x --no-overwrite-dir
fi
exec docker exec {container} systemctl "$@"
"""


def test_installed_listed_and_removed(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, program = tmp_path / "units", tmp_path / "bin/systemctl"
    folder.mkdir()
    program.parent.mkdir()
    program.write_text(SYSTEMCTL.format(container=lab.hosts[HOST].container, folder=folder))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    timers = Systemd(folder, system=True)
    words = ("/bin/true",)
    task = Task("h-installed", "a test", words, words, ("*-*-* 1:00:00",), 600)
    try:
        assert timers.install(task) == ()
        assert timers.install(task) == (), "again: nothing is done twice"
        assert timers.states(["h-installed", "h-never"]) == {"h-installed": "active", "h-never": "inactive"}
        enabled = ("systemctl", "is-enabled", "novafleet-h-installed.timer")
        assert lab.on(HOST, *enabled).strip() == "enabled"
        lab.on(HOST, "systemctl", "start", "novafleet-h-installed.service")
    finally:
        timers.remove("h-installed")
    assert timers.states(["h-installed"]) == {"h-installed": "inactive"}
    assert list(folder.iterdir()) == []
    assert lab.on(HOST, *enabled, check=False).strip() in {"", "not-found"}
    timers.remove("h-installed")
    lab.on(HOST, "rm", "-f", "/var/lib/systemd/timers/stamp-novafleet-h-installed.timer")
