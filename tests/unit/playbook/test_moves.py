"""``policies`` of files and inventories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.errors import ConfigError, Location
from novafleet.model.fleet import Host
from novafleet.model.policies import Balance, Policies, Separation
from novafleet.model.policy import Window
from novafleet.playbook import load_draft
from novafleet.playbook.moves import class_of, meant, policies_of
from tests.unit.playbook.fleet import FLEET

FULL = """\
environment: dev
vms:
  web: {count: 2, place: {anti_affinity: [db]}}
  db: {host: kvm1}
policies:
  window: "22:00-05:00"
  bandwidth: 100MiB
  parallel: {host: 4, link: 1}
  modes: [live, warm]
  max_downtime: 300ms
  classes:
    vital: {vms: db, priority: 10, max_downtime: 100ms, modes: live}
    rest: {vms: ["*"]}
  anti_affinity: [["web-*"], {vms: [web, db], across: domain}]
  affinity: [[web-1]]
  failure_domain: room
  spare: 1
  rebalance: {tolerance: 15%, cooldown: 6h}
"""


def load(folder: Path, text: str) -> Policies:
    file = folder / "environment.yml"
    file.write_text(text)
    draft = load_draft(file, fleet=FLEET, overrides={}, var_files=(), env={})
    assert draft.sheet.policies is not None
    assert draft.place({}, {}).policies == draft.sheet.policies
    return draft.sheet.policies


def test_every_key_is_read(tmp_path: Path) -> None:
    found = load(tmp_path, FULL)
    assert (found.window, found.bandwidth, found.per_host, found.per_link) == (Window(1320, 300), 100 * 2**20, 4, 1)
    assert (found.modes, found.max_downtime, found.failure_domain, found.spare) == (("live", "warm"), 300, "room", 1)
    assert found.anti_affinity == (Separation(("web-*",)), Separation(("web", "db"), "domain"))
    assert (found.affinity, found.balance) == ((("web-1",),), Balance(tolerance=0.15, cooldown=21600.0))
    vital = found.classes["vital"]
    assert (vital.vms, vital.priority, vital.max_downtime, vital.modes) == (("db",), 10, 100, ("live",))
    assert found.origins["spare"].line == 17


def test_what_is_not_written_has_defaults(tmp_path: Path) -> None:
    assert replace(load(tmp_path, "environment: dev\npolicies: {}\n"), source=Location(""), origins={}) == Policies()


def test_a_vm_is_of_the_first_class_that_means_it(tmp_path: Path) -> None:
    found = load(tmp_path, FULL)
    assert class_of(found, "db", "db") == found.classes["vital"]
    assert class_of(found, "web-1", "web") == found.classes["rest"]


def test_a_name_in_the_file_means_every_copy() -> None:
    vms = {"web-1": "web", "web-2": "web", "db": "db"}
    assert meant(["web"], vms) == ("web-1", "web-2")
    assert meant(["*-2", "db"], vms) == ("web-2", "db")


def test_pairs_kept_apart_by_place_are_told(tmp_path: Path) -> None:
    file = tmp_path / "environment.yml"
    file.write_text(FULL)
    assert load_draft(file, fleet=FLEET, overrides={}, var_files=(), env={}).apart() == (
        ("web-1", "db"),
        ("web-2", "db"),
    )


def test_the_inventory_has_the_same_keys_and_says_where_it_is_wrong() -> None:
    where = Location("inventory.yml", 7)
    host = Host("a", "a", vars={"novafleet_policies": {"spare": 2}}, origins={"vars.novafleet_policies": (where,)})
    assert policies_of(Host("a", "a")) is None
    found = policies_of(host)
    assert found is not None
    assert found.spare == 2
    wrong = replace(host, vars={"novafleet_policies": {"spare": "two"}})
    with pytest.raises(ConfigError, match=r"novafleet_policies\.spare") as raised:
        policies_of(wrong)
    assert (raised.value.code, raised.value.where) == ("NF-CFG-021", where)
