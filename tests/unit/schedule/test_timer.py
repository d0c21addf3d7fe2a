"""Timers: units that systemd takes as they are meant, a crontab that keeps what is not ours."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.errors import ScheduleError
from novafleet.timer import crontab, unit
from novafleet.timer.systemd import Systemd
from novafleet.timer.unit import Task, quoted, service, text, timer

TASK = Task(
    name="devlab",
    description="NovaFleet schedule devlab",
    run=("/bin/echo", "run", "devlab"),
    settle=("/bin/echo", "settle", "devlab"),
    calendar=("Mon *-*-* 1:00:00", "*-*-1 1:00:00"),
    delay=600,
    environment={"XDG_STATE_HOME": "/srv/with blank/100%/$HOME"},
    secrets="/root/.config/novafleet/schedule.env",
    credentials={"fleet": "/etc/credstore.encrypted/fleet"},
)
SERVICE = """\
[Unit]
Description=NovaFleet schedule devlab
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart="/bin/echo" "run" "devlab"
ExecStopPost="/bin/echo" "settle" "devlab"
UMask=0077
Environment="XDG_STATE_HOME=/srv/with blank/100%%/$HOME"
EnvironmentFile=-/root/.config/novafleet/schedule.env
LoadCredentialEncrypted=fleet:/etc/credstore.encrypted/fleet
"""
TIMER = """\
[Unit]
Description=NovaFleet schedule devlab

[Timer]
OnCalendar=Mon *-*-* 1:00:00
OnCalendar=*-*-1 1:00:00
Persistent=true
RandomizedDelaySec=600
FixedRandomDelay=true

[Install]
WantedBy=timers.target
"""
systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def test_the_units_whole() -> None:
    assert service(TASK, system=True) == SERVICE
    assert timer(TASK) == TIMER
    assert "network-online" not in service(TASK, system=False)
    assert "\nLoadCredential=fleet:" in service(TASK, system=False)


def verified(folder: Path, **units: str) -> None:
    for kind, content in units.items():
        (folder / f"novafleet-devlab.{kind}").write_text(content)
    paths = [str(folder / f"novafleet-devlab.{kind}") for kind in units]
    done = subprocess.run(
        ["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@systemd
@pytest.mark.parametrize("system", [True, False])
def test_systemd_takes_them(tmp_path: Path, system: bool) -> None:
    verified(tmp_path, service=service(TASK, system=system), timer=timer(TASK))


@systemd
@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), min_size=1, max_size=4))
def test_systemd_takes_any_words(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    folder = tmp_path_factory.mktemp("units")
    body = [("Type", "oneshot"), ("ExecStart", unit.command(("/bin/echo", *words)))]
    body += [("Environment", quoted(f"A={words[0]}"))]
    (folder / "novafleet-x.service").write_text(
        text({"Unit": [("Description", unit.plain(words[0]))], "Service": body})
    )
    shown = subprocess.run(
        ["systemd-analyze", "verify", str(folder / "novafleet-x.service")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")


def test_without_systemd_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    with pytest.raises(ScheduleError) as raised:
        Systemd.here()
    assert raised.value.code == "NF-SCHED-003"
    assert raised.value.hints
    assert "--cron" in raised.value.hints[0]


PROGRAM = """\
#!/bin/sh
# A stand-in for crontab(1): one file, the words of Debian's cron.
case $1 in
-l) [ -e "$CRONTAB" ] || { echo "no crontab for tester" >&2; exit 1; }; cat "$CRONTAB" ;;
-) cat >"$CRONTAB" ;;
esac
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The crontab of a user."""
    program = tmp_path / "bin/crontab"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CRONTAB", str(tmp_path / "crontab"))
    return tmp_path / "crontab"


RUN, SETTLE = ("/opt/nova fleet/python", "run", "100%"), ("/bin/true",)
BLOCK = """\
# novafleet schedule dev: begin (novafleet schedule rm dev)
0 1 * * * '/opt/nova fleet/python' run 100\\% || /bin/true
# novafleet schedule dev: end
"""


def test_a_crontab_keeps_what_is_not_ours(table: Path) -> None:
    table.write_text("MAILTO=ops\n0 5 * * * /bin/backup\n")
    crontab.install("dev", "0 1 * * *", RUN, SETTLE)
    assert crontab.installed("dev")
    assert table.read_text() == "MAILTO=ops\n0 5 * * * /bin/backup\n" + BLOCK
    crontab.install("dev-db", "0 2 * * *", RUN, SETTLE)
    crontab.install("dev", "0 3 * * *", RUN, SETTLE)
    assert table.read_text().count("begin") == 2
    crontab.remove("dev")
    crontab.remove("dev-db")
    assert table.read_text() == "MAILTO=ops\n0 5 * * * /bin/backup\n"


def test_the_first_line_of_a_crontab(table: Path) -> None:
    crontab.install("dev", "0 1 * * *", RUN, SETTLE)
    assert table.read_text() == BLOCK


def test_bytes_of_others_stay_as_they_are(table: Path) -> None:
    others = b"# caf\xe9\x0c\x85 \xe2\x80\xa8\n0 5 * * * /bin/backup\r\n\n"
    table.write_bytes(others)
    crontab.install("dev", "0 1 * * *", RUN, SETTLE)
    assert table.read_bytes() == others + BLOCK.encode()
    crontab.remove("dev")
    assert table.read_bytes() == others


def test_a_block_whose_end_was_cut_off_takes_nothing_with_it() -> None:
    lines = [*BLOCK.splitlines()[:2], "0 5 * * * /bin/backup", "# mine"]
    assert crontab.without("dev", lines) == ["0 5 * * * /bin/backup", "# mine"]


def test_an_unreadable_crontab_is_not_overwritten(table: Path) -> None:
    program = table.parent / "bin/crontab"
    program.write_text("#!/bin/sh\necho 'cannot open the spool' >&2\nexit 1\n")
    with pytest.raises(ScheduleError) as raised:
        crontab.install("dev", "0 1 * * *", RUN, SETTLE)
    assert raised.value.code == "NF-SCHED-004"
    assert raised.value.cause == "cannot open the spool"


def test_no_crontab_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScheduleError) as raised:
        crontab.installed("dev")
    assert raised.value.code == "NF-SCHED-003"


def test_a_user_without_a_session_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScheduleError) as raised:
        Systemd(tmp_path / "units", system=False).install(TASK)
    assert raised.value.cause == "Failed to connect to bus: No medium found"
    assert "XDG_RUNTIME_DIR" in raised.value.hints[0]
