"""Inventory programs, really run: what they print is not trusted, and nothing of them stays behind."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Sequence
from pathlib import Path

import pytest

from novafleet.errors import ConfigError
from novafleet.inventory import dynamic, load_fleet, program
from novafleet.inventory.dynamic import Ran
from novafleet.source.node import Vaulted
from tests.unit.inventory.places import write


def script(root: Path, body: str) -> Path:
    return write(root, {"inventory": f"#!/bin/sh\n{body}\n"}) / "inventory"


def ends(pid: int) -> bool:
    """Is the process gone, or does it go within five seconds?"""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5.0)[0])
    finally:
        os.close(descriptor)


def test_output_streams_and_status(tmp_path: Path) -> None:
    ran = program.run([str(script(tmp_path, 'echo "$@"; echo oops >&2; exit 3')), "--host", "a b"], 10)
    assert ran == Ran(3, b"--host a b\n", b"oops\n")


def test_a_long_answer_on_both_streams_does_not_block(tmp_path: Path) -> None:
    both = "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero"
    ran = program.run([str(script(tmp_path, both))], 20)
    assert (len(ran.stdout), len(ran.stderr)) == (300000, 300000)


def test_too_slow_is_killed_with_its_children(tmp_path: Path) -> None:
    path = script(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(TimeoutError):
        program.run([str(path)], 1.0)
    assert ends(int((tmp_path / "pid").read_text()))


def test_children_left_behind_are_killed(tmp_path: Path) -> None:
    program.run([str(script(tmp_path, f"sleep 60 >/dev/null 2>&1 & echo $! > {tmp_path}/pid"))], 10)
    assert ends(int((tmp_path / "pid").read_text()))


def test_endless_output_ends(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="more than 32 MiB"):
        program.run([str(script(tmp_path, "cat /dev/zero"))], 30)


def test_a_relative_name_is_not_looked_up_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(script(tmp_path, 'echo \'{"web": ["w1"]}\'').parent)
    assert list(load_fleet([Path("inventory")]).hosts) == ["w1"]


def answering(answers: dict[str, object]) -> dynamic.Runner:
    def run(argv: Sequence[str], timeout: float) -> Ran:
        answer = answers[" ".join(argv[1:])]
        return Ran(0, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), b"")

    return run


def test_every_form_of_a_group() -> None:
    listing = {
        "web": {"hosts": ["w1"], "vars": {"x": 1}, "children": ["inner"]},
        "list": ["w2"],
        "alone": {"y": 2},
        "_meta": {"hostvars": {"w1": {"ansible_host": "192.0.2.1"}}},
    }
    document = dynamic.read("./p", answering({"--list": listing}))
    assert [host.name for host in document.hosts] == ["w1", "w2", "alone"]
    assert [group.name for group in document.groups] == ["web", "list", "alone", "inner"]


def test_hosts_are_asked_for_one_by_one_without_meta() -> None:
    run = answering({"--list": {"web": ["w1", "w2"]}, "--host w1": {"x": 1}, "--host w2": b""})
    document = dynamic.read("./p", run)
    assert [{key: setting.value for key, setting in host.settings.items()} for host in document.hosts] == [
        {"vars.x": 1},
        {},
    ]


def test_texts_that_ansible_inventory_wraps() -> None:
    values = {
        "ansible_host": {"__ansible_unsafe": "192.0.2.1"},
        "tags": [{"__ansible_unsafe": "{{ x }}"}],
        "token": [{"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n6162"}],
    }
    document = dynamic.read("./p", answering({"--list": {"web": ["w1"], "_meta": {"hostvars": {"w1": values}}}}))
    found = {key: setting.value for key, setting in document.hosts[0].settings.items()}
    assert found == {"vars.ansible_host": "192.0.2.1", "vars.tags": ["{{ x }}"], "vars.token": Vaulted()}


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (b"", "NF-INV-014"),
        (b"\xff\xfe{}", "NF-INV-014"),
        (b"[" * 100_000, "NF-INV-014"),
        (b'{"web": {"hosts": [1]}}', "NF-INV-014"),
        (b'{"web": {"hosts": [], "vars": []}}', "NF-INV-014"),
        (b'{"web": {"children": "x"}}', "NF-INV-014"),
        (b'{"_meta": {"hostvars": []}}', "NF-INV-014"),
        (b'{"web;x": []}', "NF-INV-004"),
        (b'{"web": ["\\u001b[2J"]}', "NF-INV-004"),
        (b'{"web": {"children": ["../x"]}}', "NF-INV-004"),
    ],
)
def test_strange_output(output: bytes, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dynamic.read("./p", answering({"--list": output}))
    assert caught.value.code == code


def test_a_time_limit_is_an_error_with_a_command() -> None:
    def slow(argv: Sequence[str], timeout: float) -> Ran:
        raise TimeoutError

    with pytest.raises(ConfigError) as caught:
        dynamic.read("./p", slow)
    assert caught.value.code == "NF-INV-013"
    assert caught.value.hints[0] == "run it yourself: ./p --list"


def test_a_program_that_may_not_be_run(tmp_path: Path) -> None:
    path = script(tmp_path, "echo {}")
    path.chmod(0o644)
    if os.access(path, os.X_OK):
        pytest.skip("everything may be run here")
    with pytest.raises(ConfigError) as caught:
        load_fleet([path])
    assert caught.value.hints == (f"chmod +x {path}",)
