"""From recorded output to facts of a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from novafleet import bundled
from novafleet.errors import HypervisorError, NovaFleetError, UnreachableError
from novafleet.model.facts import Engine, FileFact, HostFacts
from novafleet.observe.facts import error_of, host_facts, unobserved
from novafleet.observe.registry import collectors

FOLDER = bundled.folder("collectors")
IMAGES = "/var/lib/libvirt/images"


def documents(containers: str, **others: str) -> dict[str, Mapping[str, Any]]:
    recorded = {"containers": containers, **others}
    return {
        each.name: each.parse((FOLDER / each.name / "fixtures" / f"{recorded[each.name]}.txt").read_text(), "@@")
        for each in collectors(recorded)
    }


def trixie() -> HostFacts:
    names = dict.fromkeys(("system", "libvirt", "storage"), "trixie")
    return host_facts("kvm3", 7.0, documents("docker-compose", **names))


def test_a_recorded_host() -> None:
    facts = trixie()
    assert (facts.host, facts.taken_at, facts.error) == ("kvm3", 7.0, "")
    assert (facts.cpus, facts.memory_total) == (2, 24684096 * 1024)
    assert facts.values["libvirt_version"] == "11.3.0"
    states = {name: (domain.state, domain.autostart) for name, domain in facts.domains.items()}
    assert states["coltest-run"] == ("running", True)
    assert states["coltest-paused"] == ("paused", False)
    assert states["coltest-off"] == ("shutoff", False)
    assert (facts.networks["default"].active, facts.networks["coltest-net"].active) == (True, False)
    assert (facts.pools["default"].path, facts.pools["coltest-pool"].active) == (IMAGES, False)
    assert facts.subnets["eth0"] == ("172.31.250.13/24",)
    assert facts.bridges == ("docker0", "virbr0")


def test_recorded_files() -> None:
    facts = trixie()
    disk = facts.files[f"{IMAGES}/coltest.run.root.qcow2"]
    assert (disk.format, disk.virtual_size, disk.backing) == ("qcow2", 16 * 1024**2, "novafleet-image-00coltest")
    assert facts.digests[f"{IMAGES}/coltest.run.seed.iso"] == "11coltest"
    assert facts.files[f"{IMAGES}/coltest.empty.qcow2"] == FileFact(
        disk.path.replace("run.root", "empty"), 0, 0, disk.mtime
    )


def test_recorded_engines() -> None:
    engines = trixie().engines
    assert engines["docker"] == Engine("docker", "26.1.5+dfsg1", ("docker compose", "docker-compose"))


@pytest.mark.parametrize(
    ("error", "code", "what"),
    [
        ("no-virsh\n", "NF-LV-100", "virsh is not installed"),
        ("libvirt\nerror: Failed to connect socket", "NF-LV-101", "libvirt does not answer"),
        ("incomplete\nthe answer ended early", "NF-LV-101", "libvirt's answer is not whole"),
    ],
)
def test_a_host_whose_libvirt_is_silent(error: str, code: str, what: str) -> None:
    with pytest.raises(HypervisorError) as raised:
        host_facts("kvm1", 0.0, {"libvirt": {"error": error}})
    assert (raised.value.code, raised.value.what, raised.value.where) == (code, what, "kvm1")
    assert raised.value.hints


def test_odd_numbers_are_dropped() -> None:
    facts = host_facts("kvm1", 0.0, {"system": {"cpus": "9" * 5000, "memory_total_kib": "-1"}})
    assert (facts.cpus, facts.memory_total) == (0, 0)


def test_a_domain_whose_xml_cannot_be_read_is_dropped() -> None:
    broken = {"uuid": "u", "state": "running", "reason": "", "autostart": False, "xml": "<domain>\x01</domain>"}
    assert not host_facts("kvm1", 0.0, {"libvirt": {"domains": [broken]}}).domains


@pytest.mark.parametrize("error", [UnreachableError("gone", where="kvm1"), HypervisorError("x", hints=("y",))])
def test_an_unobserved_host_keeps_its_error(error: NovaFleetError) -> None:
    again = error_of(unobserved("kvm1", 0.0, error))
    assert (type(again), again.code, again.hints) == (type(error), error.code, error.hints)
