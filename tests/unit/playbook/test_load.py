"""Loading: variables and their overrides, includes, and every error of a file at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.errors import ConfigError, ConfigErrors
from novafleet.model.environment import Condition
from novafleet.playbook import load_draft, load_environment
from tests.unit.playbook.fleet import ENV, FLEET, draft, environment, written

ONE_VM = "environment: e\nvars: {size: 64MiB}\nvms: {db: {host: kvm1, memory: '${size}'}}\n"
MANY = """\
environment: bad
networks:
  lab: {cidr: 10.0.0.0/33}
  two: {cidr: 10.0.0.0/24}
vms:
  db:
    host: kvm9
    memroy: 1GiB
    vcpus: 0
    nics: {lan: {network: lab}}
  web:
    host: kvm9
    disks: {root: {image: none}}
    nics: {lan: {network: two, ip: 10.9.0.1}}
    depends_on: [db, nobody]
"""


def test_every_error_is_reported_at_once_in_file_order(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as raised:
        draft(written(tmp_path, MANY))
    found = [(error.code, error.where.line) for error in raised.value.errors if not isinstance(error.where, str)]
    assert found == [
        ("NF-CFG-023", 3), ("NF-CFG-020", 8), ("NF-CFG-023", 9), ("NF-ENV-001", 12), ("NF-ENV-001", 13),
        ("NF-ENV-011", 14), ("NF-ENV-001", 15),
    ]  # fmt: skip


def test_override(tmp_path: Path) -> None:
    assert environment(tmp_path, ONE_VM).vms["db"].memory == 64 * 2**20
    assert environment(tmp_path, ONE_VM, size="1GiB").vms["db"].memory == 2**30


def test_override_of_what_is_not_declared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="declares no variable 'siez'") as raised:
        environment(tmp_path, ONE_VM, siez="1GiB")
    assert (raised.value.code, raised.value.hints[0]) == ("NF-CFG-030", "did you mean 'size'?")


def test_an_override_that_is_a_version_keeps_its_zeros(tmp_path: Path) -> None:
    text = "environment: e\nvars: {v: x}\nvms: {db: {host: kvm1, serial_log: '/var/log/${v}'}}\n"
    assert environment(tmp_path, text, v="1.20").vms["db"].serial_log == "/var/log/1.20"


def test_override_is_not_substituted_again(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'\$\{size\}' is not a size"):
        environment(tmp_path, ONE_VM, size="${size}")


def test_variable_files_in_order_then_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, ONE_VM)
    files = [written(tmp_path, "size: 100MiB\n", "a.yml"), written(tmp_path, "size: 200MiB\n", "b.yml")]
    made = load_environment(path, fleet=FLEET, overrides={}, var_files=files, env={})
    assert made.vms["db"].memory == 200 * 2**20


def test_included_files_see_the_including_files_variables(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    written(tmp_path / "parts", "vars: {size: 32MiB}\nvms: {web: {host: kvm2, memory: '${size}'}}\n", "web.yml")
    made = environment(tmp_path, "include: parts/web.yml\n" + ONE_VM)
    assert {name: vm.memory for name, vm in made.vms.items()} == {"web": 64 * 2**20, "db": 64 * 2**20}
    assert made.vms["web"].source.file.endswith("parts/web.yml")


@pytest.mark.parametrize("empty", ["vms:", "vars:", "defaults:"])
def test_an_empty_key_takes_nothing_of_what_is_included_away(tmp_path: Path, empty: str) -> None:
    written(tmp_path, "vars: {n: 2}\ndefaults: {vm: {vcpus: 3}}\nvms: {db: {host: 'kvm${n}'}}\n", "part.yml")
    db = environment(tmp_path, f"environment: e\ninclude: part.yml\n{empty}\n").vms["db"]
    assert (db.host, db.vcpus) == ("kvm2", 3)


def test_an_include_that_is_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "part.yml").symlink_to("part.yml")
    with pytest.raises(ConfigError, match="cannot read") as raised:
        environment(tmp_path, "environment: e\ninclude: part.yml\n")
    assert raised.value.code == "NF-CFG-002"


def test_home_directory_in_include(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "vms: {web: {host: kvm2}}\n", "home.yml")
    (tmp_path / "project").mkdir()
    assert set(environment(tmp_path / "project", "environment: e\ninclude: ~/home.yml\n").vms) == {"web"}


@pytest.mark.parametrize(
    ("written_as", "value"),
    [("${n}", 3), ("${n}x", "3x"), ("${flag}", True), ("a${flag}", "atrue"), ("$${n}", "${n}"), ("${no:-7}", 7),
     ("${no:-}", None), ("$n", "$n"), ("$$", "$$"), ("${n}${n}", "33")],
)  # fmt: skip
def test_references(tmp_path: Path, written_as: str, value: object) -> None:
    guest = f'{{host: kvm1, cloud_init: {{user_data: {{x: "{written_as}"}}}}}}'
    text = f"environment: e\nvars: {{n: 3, flag: true}}\nvms: {{db: {guest}}}\n"
    cloud_init = environment(tmp_path, text).vms["db"].cloud_init
    assert cloud_init is not None
    assert cloud_init.user_data["x"] == value


def test_secrets_from_files_lose_their_last_newline(tmp_path: Path) -> None:
    written(tmp_path, "hidden\n", "secret")
    text = 'environment: e\nvms: {db: {host: kvm1, cloud_init: {user_data: {x: "<${file:secret}>"}}}}\n'
    cloud_init = environment(tmp_path, text).vms["db"].cloud_init
    assert cloud_init is not None
    assert cloud_init.user_data["x"].reveal() == b"<hidden>"


def test_short_dependencies(tmp_path: Path) -> None:
    text = (
        "environment: e\nvms:\n  a: {host: kvm1, ready: [ssh]}\n  b: {host: kvm1}\n"
        "  c: {host: kvm1, depends_on: [a, b, vm.a]}\n"
    )
    found = environment(tmp_path, text).vms["c"].depends_on
    assert [(each.target, each.condition) for each in found] == [
        ("vm.a", Condition.HEALTHY),
        ("vm.b", Condition.STARTED),
    ]


def test_the_digest_is_of_what_is_asked_for(tmp_path: Path) -> None:
    first = environment(tmp_path, ONE_VM)
    moved = environment(tmp_path, "# a comment\n\n" + ONE_VM)
    other = environment(tmp_path, ONE_VM, size="65MiB")
    assert first.digest == moved.digest != other.digest


def test_the_digest_knows_secrets_and_disk_order(tmp_path: Path) -> None:
    text = 'environment: e\nvms: {db: {host: kvm1, disks: {%s}, cloud_init: {user_data: {x: "${env:PASSWORD}"}}}}\n'
    path = written(tmp_path, text % "a: {size: 1MiB}, b: {size: 1MiB}")
    digests = {
        load_environment(path, fleet=FLEET, overrides={}, var_files=(), env={"PASSWORD": word}).digest
        for word in ("one", "two")
    }
    path = written(tmp_path, text % "b: {size: 1MiB}, a: {size: 1MiB}")
    digests.add(load_environment(path, fleet=FLEET, overrides={}, var_files=(), env={"PASSWORD": "one"}).digest)
    assert len(digests) == 3


def test_hosts_of_a_draft(tmp_path: Path) -> None:
    pinned = "environment: e\nvms: {a: {host: kvm3}}\n"
    assert draft(written(tmp_path, pinned)).hosts() == ("kvm3",)
    placed = "environment: e\nvms: {a: {host: kvm3}, b: {place: {group: kvm}}}\n"
    assert draft(written(tmp_path, placed)).hosts() == ("kvm1", "kvm2", "kvm3")
    bound = "environment: e\nnetworks: {n: {cidr: 10.0.0.0/24, hosts: kvm2}}\nvms: {b: {nics: {x: {network: n}}}}\n"
    assert draft(written(tmp_path, bound)).hosts() == ("kvm2",)


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "env.yml"
    path.write_bytes(b"environment: e\nvms: {db: {host: \xff}}\n")
    with pytest.raises(ConfigError, match="is not UTF-8") as raised:
        draft(path)
    assert (raised.value.code, str(raised.value.where)) == ("NF-CFG-002", f"{path}:2")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_draft(tmp_path / "none.yml", fleet=FLEET, overrides={}, var_files=(), env=ENV)
    assert raised.value.code == "NF-CFG-002"
