"""``migrate`` where nothing can be moved: words, options, statuses."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_usage import novafleet

NOWHERE = "hosts:\n  lost: {address: 127.0.0.1, port: 1, user: nobody}\n"


def test_a_history_nobody_wrote_yet_is_empty(tmp_path: Path) -> None:
    done = novafleet("migrate", "history", "-o", "json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["migrations"]) == (0, [])


def test_recover_says_which_hosts_it_could_not_ask(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(NOWHERE)
    words = ("-i", "hosts.yml", "migrate", "recover", "-o", "json")
    done = novafleet(*words, cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (done.returncode, told["jobs"], list(told["unreachable"])) == (3, [], ["lost"])


def test_a_vm_on_a_host_nobody_reaches_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(NOWHERE)
    words = ("-i", "hosts.yml", "migrate", "lost/db", "--to", "lost", "--plan", "-o", "json")
    done = novafleet(*words, cwd=tmp_path)
    assert done.returncode == 4
    assert json.loads(done.stdout)["errors"][0]["code"].startswith("NF-SSH-")
