"""A stack's backup is proven by a copy that is cut off; and where a policy says so, only what is backed up may go."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from novafleet.objectstore.open import open_store
from novafleet.repository import KeySource, Repository, records
from novafleet.repository.records import Proof
from tests.lab.backupbench import Shop, kill, until
from tests.lab.restorebench import new_shop
from tests.lab.stackbench import CASES, COMPOSE, PROJECT, Stack, brought_up, row
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.thorough]
PORT = "18097"
COPY = f"drill-{PROJECT}"
HEALTH = """
    ports: ["${PORT}:80"]
    container_name: bkstk-web
    healthcheck:
      test: wget -q -O /dev/null http://127.0.0.1/sub/deep/file
      interval: 2s
      retries: 30
volumes:"""
ENV = """\
    env: {PORT: "%s"}
"""
READY = """\
    ready: [{compose: true, timeout: 3m}, {http: {port: %s, path: %s}, timeout: %s}, {exec: ["true"]}]
"""
THERE = """\
label=label=com.docker.compose.project=$2
"$1" ps -aq --filter "$label"; "$1" volume ls -q --filter "$label"; "$1" network ls -q --filter "$label"
ls -d "/var/lib/novafleet/stacks/$2" 2>/dev/null; :
"""


@pytest.fixture
async def house(lab: Lab, fleet_home: Path, tmp_path: Path) -> Any:
    """Makes stacks that publish a port and say whether they have what is in their volume."""
    with ExitStack() as after:

        async def made(engine: str, path: str = "/sub/deep/file", timeout: str = "1m", more: str = "") -> Stack:
            shop = await new_shop(lab, CASES[engine], fleet_home, tmp_path)
            compose = COMPOSE.replace("\nvolumes:", HEALTH, 1)
            env = ENV % PORT
            text = env + more.format(shop=shop)
            stack = after.enter_context(brought_up(shop, engine, tmp_path, COPY, compose=compose, more=text))
            stack.file.write_text(stack.file.read_text().replace(env, env + READY % (PORT, path, timeout)))
            return stack

        yield made


def ids(stack: Stack) -> str:
    """Its containers."""
    return stack.sh('"$1" ps -q --no-trunc --filter "$2"', f"label=com.docker.compose.project={PROJECT}")


def there(stack: Stack) -> str:
    """What a drill should have taken away again."""
    return stack.sh(THERE, COPY).strip()


@pytest.mark.parametrize("engine", CASES)
async def test_a_copy_is_proven_beside_the_original(house: Any, engine: str) -> None:
    stack: Stack = await house(engine)
    taken, before = row(stack.shop.run("backup", "run", "bkstk/stack.app")), ids(stack)
    words = ("--host", stack.shop.host, "--file", str(stack.file))
    done = stack.shop.run("backup", "drill", "bkstk/stack.app", *words)
    assert (done["ok"], done["snapshot"], done["host"]) == (True, taken["snapshot"], stack.shop.host)
    assert done["rto"] > 0
    assert done["gates"].keys() == {"compose", f"http:{PORT}", "exec"}
    assert "answers 200" in done["gates"][f"http:{PORT}"]
    assert f"127.0.0.1:{PORT}" not in done["gates"][f"http:{PORT}"], "that is the original's"
    assert "not asked" in done["gates"]["exec"]
    assert there(stack) == ""
    assert (ids(stack), stack.states()) == (before, {"running"})
    [proof] = await proofs(stack.shop)
    assert (proof.snapshot, proof.kind, proof.ok) == (taken["snapshot"], "drill", True)


async def proofs(shop: Shop) -> tuple[Proof, ...]:
    """What the repository holds."""
    store = open_store(str(shop.repository))
    try:
        return await records.proofs(await Repository.open(store, KeySource(shop.key, "")))
    finally:
        await store.close()


@pytest.mark.parametrize("engine", CASES)
async def test_a_copy_reaches_nothing_and_a_gate_that_is_not_met_says_so(house: Any, engine: str) -> None:
    stack: Stack = await house(engine, path="/nothing", timeout="20s")
    shop = stack.shop
    row(shop.run("backup", "run", "bkstk/stack.app"))
    process = shop.start("backup", "drill", "bkstk/stack.app", "--host", shop.host, "--file", str(stack.file))
    label = f"label=com.docker.compose.project={COPY}"
    until(lambda: stack.sh('"$1" ps -q --filter "$2"', label).strip() != "", 120)
    routes = stack.sh('"$1" exec "$("$1" ps -q --filter "$2")" ip route', label)
    assert "default" not in routes, routes
    assert stack.sh('"$1" port "$("$1" ps -q --filter "$2")"', label).strip() == ""
    process.communicate(timeout=300)
    assert process.returncode == 1
    assert [proof.ok for proof in await proofs(shop)] == [False]
    assert there(stack) == ""


async def test_a_killed_drill_is_removed_by_the_next(house: Any) -> None:
    stack: Stack = await house("docker")
    shop = stack.shop
    row(shop.run("backup", "run", "bkstk/stack.app"))
    words = ("backup", "drill", "bkstk/stack.app", "--host", shop.host)
    process = shop.start(*words)
    until(lambda: "volume" in there(stack) or COPY in there(stack), 120)
    kill(process)
    assert there(stack)
    assert shop.run(*words, "--lock-wait", "60")["ok"]
    assert there(stack) == ""


async def test_no_copy_of_a_stack_that_writes_to_its_host(house: Any) -> None:
    stack: Stack = await house("docker")
    compose = stack.file.parent / "bundle" / "compose.yaml"
    compose.write_text(compose.read_text().replace("volumes: [data", "volumes: [/srv:/host, data"))
    stack.novafleet("up", str(stack.file))
    row(stack.shop.run("backup", "run", "bkstk/stack.app"))
    process = stack.shop.start("backup", "drill", "bkstk/stack.app", "--host", stack.shop.host)
    _, said = process.communicate(timeout=300)
    assert b"NF-BAK-051" in said
    assert b"service web mounts /srv" in said
    assert there(stack) == ""


POLICY = "backup: {{repository: {shop.repository}, key_file: {shop.key}, require_backup_newer_than: 1h}}\n"


async def test_volumes_go_only_when_a_backup_holds_them(house: Any) -> None:
    stack: Stack = await house("docker", more=POLICY)
    shop = stack.shop
    refused = stack.complaint("down", str(stack.file), "--volumes")
    assert "NF-GUARD-005" in refused
    assert "its volumes: there is none" in refused
    assert stack.states() == {"running"}
    row(shop.run("backup", "run", "bkstk/stack.app"))
    stack.novafleet("down", str(stack.file), "--volumes")
    assert stack.volume not in shop.on(stack.engine, "volume", "ls", "-q")
