"""One complete environment, and the one of DESIGN.md, read to the last field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from novafleet.model.encode import encode
from novafleet.model.environment import Condition, Environment, GateKind, NetworkMode
from tests.unit.playbook.fleet import draft, environment

SAMPLE = Path(__file__).parents[2] / "content" / "sample" / "devlab.yml"
DESIGN = """
environment: devlab
vars: {domain: lab.test}
images:
  mini: {url: "https://example.org/image.qcow2", sha256: "%s"}
networks:
  lab: {mode: nat, cidr: 10.20.0.0/24, dhcp: true}
vms:
  db:
    host: kvm1
    memory: 256MiB
    vcpus: 1
    firmware: bios
    disks: {root: {image: mini, size: 2GiB}, data: {size: 1GiB, protect: true}}
    nics: {lan: {network: lab, ip: 10.20.0.10}}
    cloud_init: {user_data: {hostname: db}, rerun: never}
    ready: [{tcp: 22, timeout: 2m}, {serial: "login:"}]
  web:
    count: 2
    depends_on: {db: {condition: service_healthy}}
stacks:
  edge:
    host: kvm3
    compose: stacks/edge/compose.yaml
    depends_on: [web]
""" % ("ab" * 32)


@pytest.fixture(scope="module")
def sample() -> Environment:
    return draft(SAMPLE).place({}, {})


def test_the_example_of_the_design(tmp_path: Path) -> None:
    folder = tmp_path / "stacks" / "edge"
    folder.mkdir(parents=True)
    (folder / "compose.yaml").write_text("services: {web: {image: web}}\n")
    made = environment(tmp_path, DESIGN)
    assert list(made.vms) == ["db", "web-1", "web-2"]
    assert [str(gate.label) for gate in made.vms["db"].ready] == ["tcp:22", "serial:login:"]
    assert [each.target for each in made.stacks["edge"].depends_on] == ["vm.web-1", "vm.web-2"]


def test_size_of_the_sample(sample: Environment) -> None:
    assert len(sample.vms) == 7
    assert sample.hosts() == ("kvm1", "kvm2", "kvm3")
    assert len(sample.stacks) == 2
    assert set(sample.networks) == {"lab", "store", "office"}


def test_identity(sample: Environment) -> None:
    db = sample.vms["db"]
    assert db.domain == "devlab-db"
    assert db.uuid == "4f7b55f1-472a-594c-8531-f8cd8207bc85"
    assert db.nics["lan"].mac == "52:54:00:0a:23:93"
    assert db.nics["back"].mac == "52:54:00:aa:bb:cc"
    assert db.disks["data"].path == "devlab.db.data.qcow2"
    assert list(db.disks) == ["root", "data"]
    assert db.cloud_init is not None
    assert db.cloud_init.path == "devlab.db.seed.iso"
    assert (db.source.line, db.origins["memory"].line) == (22, 25)


def test_variables_defaults_and_merge_keys(sample: Environment) -> None:
    assert sample.vms["web-2"].memory == 192 * 2**20
    assert sample.vms["web-2"].stop_timeout == 20.0
    assert sample.vms["secure"].agent
    assert not sample.vms["db"].agent
    assert sample.vms["cache"].nics["lan"].ip == "10.20.0.30"
    assert sample.networks["lab"].domain == "lab.test"
    assert sample.vms["web-3"].ready[1].target["path"] == "/id-3"
    assert sample.vms["db"].cloud_init is not None
    assert sample.vms["db"].cloud_init.user_data["runcmd"] == [["sh", "-c", "echo ${HOME} hello from lab.test"]]


def test_networks(sample: Environment) -> None:
    lab, store, office = (sample.networks[name] for name in ("lab", "store", "office"))
    assert (lab.gateway, lab.dhcp_start, lab.dhcp_end, lab.mtu) == ("10.20.0.1", "10.20.0.100", "10.20.0.199", 1450)
    assert (store.gateway, store.dhcp_start, store.dhcp_end) == ("10.21.0.254", "10.21.0.1", "10.21.0.253")
    assert (store.hosts, store.autostart) == (("kvm1",), False)
    assert (office.mode, office.bridge, office.vlan, office.hosts) == (NetworkMode.BRIDGE, "br0", 120, ("kvm3",))
    assert {host: [entry.name for entry in entries] for host, entries in lab.leases.items()} == {
        "kvm1": ["db", "web-3"], "kvm2": ["cache", "web-1"], "kvm3": ["web-2"],
    }  # fmt: skip
    assert [sample.vms[f"web-{n}"].nics["lan"].ip for n in (1, 2, 3)] == ["10.20.0.20", "10.20.0.21", "10.20.0.22"]


def test_images(sample: Environment) -> None:
    mini, big = sample.images["mini"], sample.images["big"]
    assert mini.disk is not None
    assert mini.kernel is not None
    assert mini.kernel.path == str(SAMPLE.parent / "networks.yml")
    assert len(mini.kernel.sha256) == 64
    assert mini.initrd is not None
    assert mini.initrd.sha256.startswith("e3b0")
    assert (big.format, big.source.file) == ("raw", str(SAMPLE.parent / "images.yml"))


def test_vm_fields(sample: Environment) -> None:
    vm = sample.vms["secure"]
    assert (vm.firmware, vm.tpm, vm.machine, vm.cpu, vm.vcpus) == ("uefi-secure", True, "q35", "host-passthrough", 2)
    assert (vm.memory, vm.autostart, vm.xml) == (3 * 2**29, True, "<domain/>")
    disk = vm.disks["root"]
    assert (disk.copy, disk.bus, disk.pool, disk.size) == ("full", "scsi", "fast", 10 * 2**30)
    assert [gate.kind for gate in vm.ready] == [GateKind.AGENT, GateKind.CLOUD_INIT, GateKind.EXEC]
    assert vm.ready[2].target == {"argv": ("test", "-e", "/run/ok")}


def test_dependencies(sample: Environment) -> None:
    web = {each.target: each.condition for each in sample.vms["web-1"].depends_on}
    assert web == {"vm.db": Condition.HEALTHY, "vm.migrate": Condition.COMPLETED}
    (migrate,) = sample.vms["migrate"].depends_on
    assert (migrate.target, migrate.condition) == ("vm.db", Condition.HEALTHY)
    assert {each.target for each in sample.stacks["edge"].depends_on} == {"vm.web-1", "vm.web-2", "vm.web-3"}


def test_stacks(sample: Environment) -> None:
    edge, metrics = sample.stacks["edge"], sample.stacks["metrics"]
    files = {file.path: file for file in edge.files}
    assert (edge.entry, edge.project, edge.kind, edge.runtime) == ("compose.yaml", "devlab-edge", "compose", "docker")
    assert list(files) == [".env", "compose.yaml", "conf/proxy.conf"]
    assert b"upstream 10.20.0.21 kvm3\n" in files["conf/proxy.conf"].content.reveal()
    assert files[".env"].content.reveal() == b"TOKEN=s3cr3t\nLEVEL=info\n"
    assert files[".env"].mode == 0o600
    assert (metrics.kind, metrics.entry, [file.path for file in metrics.files]) == (
        "quadlet",
        "",
        ["metrics.container"],
    )


def test_no_secret_leaves(sample: Environment) -> None:
    assert "s3cr3t" not in json.dumps(encode(sample))
    assert "s3cr3t" not in repr(sample)
