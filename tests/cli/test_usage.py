"""The command line as a user meets it, without any host: usage, exit statuses, what goes where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def novafleet(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own, with its state in ``cwd``."""
    variables = {**os.environ, "XDG_STATE_HOME": str(cwd / "state"), "XDG_CONFIG_HOME": str(cwd / "config")}
    variables.pop("NOVAFLEET_INVENTORY", None)
    return subprocess.run(
        [sys.executable, "-m", "novafleet", *words],
        cwd=cwd,
        env={**variables, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


INVENTORY = "hosts:\n  kvm1: {address: 127.0.0.1, port: 1}\n"
ENVIRONMENT = "environment: dev\nvms:\n  db: {host: kvm1, memory: 128MiB}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text(INVENTORY)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks/dev.yml").write_text(ENVIRONMENT)
    return tmp_path


def test_version(tmp_path: Path) -> None:
    shown = novafleet("--version", cwd=tmp_path)
    assert shown.returncode == 0
    assert shown.stdout.startswith("novafleet 0.")


@pytest.mark.parametrize(
    "verb", ["validate", "plan", "up", "status", "down", "resume", "init", "host", "vm", "runs", "lab"]
)
def test_help_of_every_verb(verb: str, tmp_path: Path) -> None:
    shown = novafleet(verb, "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert "Usage:" in shown.stdout


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    (here := tmp_path / "here").mkdir()
    for words in (("plan", "lab.yml"), ("repo", "init", "r", "--key-file", "k")):
        here.mkdir(exist_ok=True)
        argv = ("sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-m", "novafleet", *words)
        shown = subprocess.run(argv, cwd=here, capture_output=True, text=True, check=False)
        assert (shown.returncode, "error[NF-RUN-018]" in shown.stderr) == (2, True)
        assert "Traceback" not in shown.stderr


def test_state_that_cannot_be_kept_is_said_before_any_host_is_asked(project: Path) -> None:
    shown = novafleet("up", "--yes", cwd=project, XDG_STATE_HOME="/dev/null")
    assert (shown.returncode, "error[NF-RUN-016] /dev/null/novafleet: " in shown.stderr) == (2, True)
    nobody = novafleet("runs", "ls", cwd=project, XDG_STATE_HOME="relative", HOME=str(project))
    assert nobody.returncode == 0
    assert (project / ".local/state/novafleet/journal.db").exists()


SHOW_PROGRESS = """\
from novafleet.cli.streams import guard_streams
from novafleet.model.run import Event
from novafleet.report.progress import RunProgress
guard_streams()
with RunProgress(1) as show:
    for kind in ("notice", "step_started", "step_done"):
        show(Event(kind, 0.0, "r", "vm.db/start", "vm.db", "kvm1", "said"))
print("went on")
"""


def with_full_disk(project: Path, *words: str, full: str) -> subprocess.CompletedProcess[str]:
    """Run Python with one of its streams in a file on a full disk."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Path("/dev/full").open("w") as log:
        return subprocess.run(
            [sys.executable, *words], cwd=project, env={**os.environ, "XDG_STATE_HOME": str(project)}, text=True,
            check=False, timeout=60, **{**streams, full: log},
        )  # fmt: skip


def test_a_log_on_a_full_disk_ends_no_run(project: Path) -> None:
    ran = with_full_disk(project, "-c", SHOW_PROGRESS, full="stderr")
    assert (ran.returncode, ran.stdout) == (0, "went on\n")


@pytest.mark.parametrize("words", [("host", "ls"), ("host", "ls", "-o", "json"), ("--version",)])
def test_a_result_that_cannot_be_written_is_said(words: tuple[str, ...], project: Path) -> None:
    ran = with_full_disk(project, "-m", "novafleet", *words, full="stdout")
    assert (ran.returncode, ran.stderr.splitlines()[0][:38]) == (1, "error[NF-RUN-017] standard output: the")
    assert "Traceback" not in ran.stderr


def test_no_inventory_says_how_to_name_one(tmp_path: Path) -> None:
    shown = novafleet("host", "ls", cwd=tmp_path)
    assert shown.returncode == 2
    assert "error[NF-INV-001]" in shown.stderr
    assert "novafleet init" in shown.stderr
    assert shown.stdout == ""


def test_the_only_environment_file_needs_no_name(project: Path) -> None:
    shown = novafleet("validate", "-o", "json", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["environment"] == "dev"


def test_several_environment_files_must_be_named(project: Path) -> None:
    (project / "playbooks/other.yml").write_text(ENVIRONMENT)
    shown = novafleet("validate", cwd=project)
    assert shown.returncode == 2
    assert "NF-CFG-002" in shown.stderr
    assert "other.yml" in shown.stderr


def test_errors_are_json_when_json_is_asked_for(project: Path) -> None:
    (project / "playbooks/dev.yml").write_text(ENVIRONMENT.replace("memory", "memroy"))
    shown = novafleet("validate", "-o", "json", cwd=project)
    assert shown.returncode == 2
    errors = json.loads(shown.stdout)["errors"]
    assert errors[0]["where"].endswith("dev.yml:3:20")
    assert any("memory" in hint for hint in errors[0]["hints"])


def test_an_unreachable_host_is_status_4(project: Path) -> None:
    shown = novafleet("plan", cwd=project)
    assert shown.returncode == 4
    assert "kvm1" in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("variable", ["novalue", "=x"])
def test_a_malformed_variable(project: Path, variable: str) -> None:
    shown = novafleet("plan", "-e", variable, cwd=project)
    assert shown.returncode == 2
    assert "NF-CFG-005" in shown.stderr


def test_init_makes_a_project_once(tmp_path: Path) -> None:
    assert novafleet("init", "fleet", cwd=tmp_path).returncode == 0
    assert {path.name for path in (tmp_path / "fleet").iterdir()} == {
        "inventory",
        "playbooks",
        "templates",
        "collectors",
    }
    again = novafleet("init", "fleet", cwd=tmp_path)
    assert again.returncode == 2
    assert "NF-CFG-004" in again.stderr


def test_no_color_and_pipes_have_no_escapes(project: Path) -> None:
    shown = novafleet("plan", cwd=project, NO_COLOR="1")
    assert "\x1b" not in shown.stdout + shown.stderr


def test_runs_of_a_fresh_controller(tmp_path: Path) -> None:
    assert json.loads(novafleet("runs", "ls", "-o", "json", cwd=tmp_path).stdout) == {"runs": []}
    nothing = novafleet("resume", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "NF-RUN-020" in nothing.stderr


def test_state_is_private(tmp_path: Path) -> None:
    novafleet("runs", "ls", cwd=tmp_path)
    state = tmp_path / "state/novafleet"
    assert state.stat().st_mode & 0o077 == 0
    assert (state / "journal.db").stat().st_mode & 0o077 == 0


def test_an_overlay_that_is_no_xml_is_found_without_a_host(project: Path) -> None:
    (project / "playbooks/dev.yml").write_text(
        "environment: dev\nvms:\n  db:\n    host: kvm1\n    xml: <domain>\n  web: {host: kvm1, xml: <network/>}\n"
    )
    shown = novafleet("validate", "-o", "json", cwd=project)
    assert shown.returncode == 2
    found = [(error["code"], error["where"].rpartition("/")[2]) for error in json.loads(shown.stdout)["errors"]]
    assert found == [("NF-VM-004", "dev.yml:5:5"), ("NF-VM-004", "dev.yml:6:21")]


def test_init_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shown = novafleet("init", "file/project", cwd=tmp_path)
    assert (shown.returncode, shown.stderr.splitlines()[:2]) == (
        2,
        ["error[NF-CFG-004] file/project: cannot be made", "  cause: Not a directory"],
    )
