"""``require_backup_newer_than``: what may be destroyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.app.guard import Demand, demands, refuse_old
from novafleet.errors import GuardError
from novafleet.model.backup import Consistency, DiskCopy, Snapshot
from novafleet.model.environment import Environment
from novafleet.model.plan import Change, Impact, Plan, ResourceChange
from tests.unit.playbook.fleet import environment

NOW = 1_800_000_000.0
FILE = """\
environment: dev
backup: {repository: /backup, key_file: /key, require_backup_newer_than: 24h, exclude: [scratch]}
vms:
  db: {host: kvm1, disks: {root: {size: 1GiB}, data: {size: 1GiB}, scratch: {size: 1GiB}}}
  cache: {host: kvm1, disks: {root: {size: 1GiB}}, backup: false}
  old: {host: kvm1, disks: {root: {size: 1GiB}}, backup: {require_backup_newer_than: 7d}}
"""


def lost(kind: str, name: str) -> ResourceChange:
    return ResourceChange(f"{kind}.{name}", kind, name, "kvm1", Change.DELETE, Impact.DATA_LOSS)


def of(made: Environment, *changes: ResourceChange) -> dict[str, frozenset[str]]:
    return {each.vm: each.disks for each in demands(made, Plan("dev", "down", changes))}


def test_what_is_demanded(tmp_path: Path) -> None:
    made = environment(tmp_path, FILE)
    assert of(made, lost("volume", "db.root")) == {"db": frozenset({"root"})}
    assert of(made, lost("vm", "db")) == {"db": frozenset({"root", "data"})}, "what is excluded needs no backup"
    assert of(made, lost("volume", "db.scratch")) == {}
    assert of(made, lost("volume", "cache.root")) == {}, "backup: false"
    assert of(made, lost("volume", "gone.root")) == {"gone": frozenset({"root"})}, "no longer in the file"
    assert of(made, lost("stack", "edge")) == {"stack.edge": frozenset({"bundle"})}, "in every snapshot of a stack"
    harmless = ResourceChange("volume.db.root", "volume", "db.root", "kvm1", Change.UPDATE, Impact.REBOOT)
    assert of(made, harmless) == {}


def snapshot(age: float, *disks: str, vm: str = "db", env: str = "dev") -> Snapshot:
    copies = {disk: DiskCopy(disk, "vda", 1, "r") for disk in disks}
    return Snapshot(f"s{age}", vm, f"{env}-{vm}", "u", "kvm1", NOW - age, Consistency.CRASH, copies, environment=env)


HOUR = 3600.0


@pytest.mark.parametrize(("age", "cause"), [(None, "there is none"), (HOUR, ""), (25 * HOUR, "the newest is 25 h old")])
def test_volumes_of_a_stack(tmp_path: Path, age: float | None, cause: str) -> None:
    made = environment(tmp_path, FILE)
    [demand] = demands(made, Plan("dev", "down", (lost("stack", "edge"),)))
    found = [] if age is None else [snapshot(age, "bundle", "volume.dev-edge_data", vm="stack.edge")]
    if not cause:
        refuse_old(demand, found, NOW)
        return
    with pytest.raises(GuardError) as raised:
        refuse_old(demand, found, NOW)
    assert raised.value.cause == f"its volumes: {cause}"
    assert raised.value.hints == ("novafleet backup run dev/stack.edge --repo /backup --key-file /key",)


@pytest.mark.parametrize(
    ("snapshots", "said"),
    [
        ([], "disk data of db: there is none"),
        ([snapshot(HOUR, "data", "root")], ""),
        ([snapshot(25 * HOUR, "data", "root")], "disk data of db: the newest is 25 h old"),
        ([snapshot(25 * HOUR, "data", "root"), snapshot(HOUR, "data")], "disk root of db: the newest is 25 h old"),
        ([snapshot(HOUR, "data", "root", vm="web")], "there is none"),
        ([snapshot(HOUR, "data", "root", env="prod")], "there is none"),
        ([snapshot(-HOUR, "data", "root")], ""),
    ],
)
def test_what_is_refused(tmp_path: Path, snapshots: list[Snapshot], said: str) -> None:
    policy = environment(tmp_path, FILE).vms["db"].backup
    assert policy is not None
    demand = Demand("dev", "db", frozenset({"root", "data"}), policy)
    if not said:
        refuse_old(demand, snapshots, NOW)
        return
    with pytest.raises(GuardError) as raised:
        refuse_old(demand, snapshots, NOW)
    error = raised.value
    assert error.code == "NF-GUARD-005"
    assert said in error.cause
    assert "without a backup younger than 24 h" in error.what
    assert error.hints == ("novafleet backup run dev/db --repo /backup --key-file /key",)
    assert str(error.where) == f"{tmp_path}/env.yml:2:47"
