"""A container stack that counts in a named volume, from host to host and back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.controller import Controller, wait_for
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]
ROOT = "/var/lib/novafleet/stacks/mc-web"
IMAGE = "localhost/novafleet/httpd:1"
COUNT = (
    "i=$$(cat /data/n 2>/dev/null || echo 0); while :; do i=$$((i+1)); echo $$i >/data/n.new; "
    "mv /data/n.new /data/n; sleep 0.2; done"
)
SERVICE = {"image": IMAGE, "command": ["sh", "-c", COUNT], "volumes": ["data:/data"], "restart": "always"}
COMPOSE = {"services": {"count": SERVICE}, "volumes": {"data": {}}}
RECORD = {"environment": "mc", "digest": "x", "runtime": "docker", "kind": "compose", "entry": "compose.yaml"}
REMOVE = """\
docker ps -aq --filter label=com.docker.compose.project=mc-web | xargs -r docker rm -f
docker volume ls -q | grep '^mc-web_' | xargs -r docker volume rm -f
docker network ls -q --filter label=com.docker.compose.project=mc-web | xargs -r docker network rm
rm -rf "$1" "${1%/*}"/.novafleet-quarantine/*/mc-web
for each in /var/lib/novafleet/quarantine/* /var/lib/novafleet/migrate/*; do
  grep -qs 'stack[.]mc-web' "$each"/* && rm -rf "$each"
done
exit 0
"""
LEFT = """\
ls -d "$1" 2>/dev/null
grep -lF stack.mc-web /var/lib/novafleet/migrate/*/* 2>/dev/null
[ -d "$1" ] || docker volume ls -q | grep '^mc-web_'
exit 0
"""
READ = 'cat "$(docker volume inspect --format "{{.Mountpoint}}" mc-web_data)/n"'


@pytest.fixture
def controller(lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """The stack runs on kvm2; afterwards nothing is left of it anywhere."""
    clean(lab)
    subprocess.run(
        ["docker", "exec", "-i", lab.hosts["kvm2"].container, "docker", "load", "-q"],
        stdin=lab.httpd.open("rb"), check=True, capture_output=True,
    )  # fmt: skip
    for name, content in (("compose.yaml", COMPOSE), (".novafleet.json", {**RECORD, "files": ["compose.yaml"]})):
        put = 'mkdir -p "${1%/*}" && cat >"$1"'
        lab.on("kvm2", "sh", "-c", put, "sh", f"{ROOT}/{name}", stdin=json.dumps(content))
    lab.on("kvm2", "sh", "-c", 'cd "$1" && docker-compose -p mc-web -f compose.yaml up -d 2>&1', "sh", ROOT)
    yield Controller(lab, tmp_path / "home")
    clean(lab)


def clean(lab: Lab) -> None:
    for host in ("kvm2", "kvm3"):
        lab.on(host, "sh", "-c", REMOVE, "sh", ROOT)


def number(lab: Lab, host: str) -> int:
    """What its volume on a host says."""
    return int(lab.on(host, "sh", "-c", READ, check=False).strip() or 0)


def running(lab: Lab, host: str) -> bool:
    return bool(lab.on(host, "docker", "ps", "-q", "--filter", "label=com.docker.compose.project=mc-web").strip())


def test_a_stack_goes_with_its_volume_and_comes_back(lab: Lab, controller: Controller) -> None:
    wait_for(lambda: number(lab, "kvm2") > 3, 60, "it counts")
    moved = controller.json("migrate", "stack", "mc/web", "--to", "kvm3", "--yes")
    assert (moved["state"], moved["source"], moved["destination"], moved["verified"]) == ("done", "kvm2", "kvm3", True)
    last = number(lab, "kvm2")
    assert (running(lab, "kvm2"), running(lab, "kvm3")) == (False, True)
    wait_for(lambda: number(lab, "kvm3") > last, 60, "it goes on counting")
    back = controller.json("migrate", "undo", "mc/web", "--yes")
    assert (back["source"], back["destination"]) == ("kvm3", "kvm2")
    last = number(lab, "kvm3")
    wait_for(lambda: number(lab, "kvm2") > last, 60, "it goes on counting at home")
    assert (running(lab, "kvm2"), running(lab, "kvm3")) == (True, False)
    kept = [each for each in controller.json("migrate", "ls")["kept"] if each["domain"] == "stack.mc-web"]
    assert [each["source"] for each in kept] == ["kvm3"]


@pytest.mark.thorough
def test_a_stack_that_does_not_come_up_there_runs_on_here(lab: Lab, controller: Controller) -> None:
    lab.on("kvm3", "docker", "volume", "create", "mc-web_data")
    lab.on("kvm3", "sh", "-c", READ.replace("cat ", "echo 1 >"))
    refused = controller.json("migrate", "stack", "kvm2/mc-web", "--to", "kvm3", "--yes", status=1)
    assert refused["errors"][0]["code"] == "NF-MIG-420"
    assert running(lab, "kvm2")
    assert number(lab, "kvm3") == 1


def left_over(lab: Lab, host: str) -> str:
    """What a migration that ended should not have left there."""
    return lab.on(host, "sh", "-c", LEFT, "sh", ROOT).strip()


def test_the_dossier_of_a_stack_measures_and_changes_nothing(lab: Lab, controller: Controller) -> None:
    wait_for(lambda: number(lab, "kvm2") > 3, 60, "it counts")
    found = controller.json("migrate", "stack", "mc/web", "--to", "kvm3", "--plan")
    assert (found["possible"], found["up"], found["engine"], found["runs_by"]) == (True, 1, "docker", "docker")
    assert [each["name"] for each in found["volumes"]] == ["mc-web_data"]
    assert [each["name"] for each in found["images"]] == [IMAGE]
    assert found["link_rate"] > 0
    assert found["bytes"] > 0
    assert found["room"]
    assert left_over(lab, "kvm3") == ""
    lab.on("kvm3", "docker", "volume", "create", "mc-web_data")
    lab.on("kvm3", "sh", "-c", READ.replace("cat ", "echo 1 >"))
    barred = controller.json("migrate", "stack", "mc/web", "--to", "kvm3", "--plan", status=1)
    [blocker] = [each for each in barred["findings"] if each["severity"] == "blocker"]
    assert (blocker["code"], barred["possible"]) == ("NF-MIG-420", False)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("moment", "home", "rule"),
    [
        ("preparing", "kvm2", "runs-here"),
        ("copying", "kvm2", "runs-here"),
        ("copied", "kvm2", "runs-here"),
        ("stopped", "kvm2", "not-switched"),
        ("switching", "kvm3", "newest-there"),
        ("started", "kvm3", "runs-there"),
        ("switched", "kvm3", "runs-there"),
        ("put-away", "kvm3", "runs-there"),
    ],
)
def test_a_controller_killed_at_any_moment_leaves_one_copy(
    lab: Lab, controller: Controller, tmp_path: Path, moment: str, home: str, rule: str
) -> None:
    wait_for(lambda: number(lab, "kvm2") > 3, 60, "it counts")
    last = number(lab, "kvm2")
    reached = tmp_path / "reached"
    words = controller.argv("migrate", "stack", "mc/web", "--to", "kvm3", "--yes")[3:]
    held = [sys.executable, "-m", "tests.lab.heldstack", moment, str(reached), *words]
    process = subprocess.Popen(held, env=controller.variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: reached.exists() or process.poll() is not None, 200, moment)
        assert process.poll() is None, process.communicate()[1]
    finally:
        process.kill()
        process.communicate()
    [row] = controller.json("migrate", "recover", "mc/web", "--explain", "--lock-wait", "30")["jobs"]
    assert (row["rule"], row["done"]) == (rule, False), row
    done = controller.json("migrate", "recover", "mc/web", "--lock-wait", "30")["jobs"]
    assert [each["done"] for each in done] == [True], done
    away = "kvm2" if home == "kvm3" else "kvm3"
    assert (running(lab, home), running(lab, away)) == (True, False)
    assert number(lab, home) >= last
    now = number(lab, home)
    wait_for(lambda: number(lab, home) > now, 60, "it goes on counting")
    assert left_over(lab, "kvm3") == ("" if home == "kvm2" else ROOT)
    assert controller.json("migrate", "recover", "mc/web")["jobs"] == []
