"""A host's facts as placement sees them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.model.facts import Domain, FileFact, HostFacts, NetworkFact, PoolFact, StackFact
from novafleet.placement.picture import Usage, picture, usage_of

GIB = 2**30
XML = """<domain><name>vm</name><memory unit='GiB'>2</memory><vcpu>2</vcpu>{more}<cpu mode='host-model'/><devices>
<disk type='file' device='disk'><source file='/pool/vm.qcow2'/></disk>
<disk type='file' device='cdrom'><source file='/pool/seed.iso'/></disk>
<disk type='file' device='disk'><source file='/elsewhere/x.img'/></disk>
<interface type='network'><source network='lan'/></interface><interface type='bridge'><source bridge='br0'/></interface>
{device}</devices></domain>"""


def facts(*, more: str = "", device: str = "", state: str = "running", autostart: bool = False) -> HostFacts:
    xml = XML.format(more=more, device=device)
    return HostFacts(
        "kvm1",
        7.0,
        cpus=8,
        memory_total=32 * GIB,
        memory_available=40 * GIB,
        domains={"vm": Domain("vm", "u", state, xml, autostart=autostart)},
        networks={"lan": NetworkFact("lan", "n", True, True, ""), "off": NetworkFact("off", "o", False, True, "")},
        pools={"default": PoolFact("default", True, "/pool", 100, 60), "gone": PoolFact("gone", False, "/g", 1, 1)},
        files={"/pool/vm.qcow2": FileFact("/pool/vm.qcow2", 9, 5, 0.0), "/elsewhere/x.img": FileFact("x", 9, 3, 0.0)},
        stacks={"edge": StackFact("edge", "dev", "", "docker", "compose")},
        bridges=("br0",),
    )


USAGE = Usage({"vm": 0.5}, 0.25, "intel")


def test_a_running_guest_and_its_host() -> None:
    seen = picture(facts(), USAGE, zone="r1", closed="is in maintenance")
    [vm] = seen.guests
    assert (vm.name, vm.memory, vm.vcpus, vm.cpu, vm.pressure) == ("kvm1/vm", 2 * GIB, 2, 0.5, 0.015625)
    assert (vm.disks, vm.networks, vm.cpu_class) == ({"default": 5, "": 3}, ("bridge br0", "network lan"), "intel")
    assert (seen.site.free, seen.site.pools) == (29 * GIB, {"default": 60})
    assert (seen.site.networks, seen.site.zone, seen.site.closed) == (
        ("network lan", "bridge br0"),
        "r1",
        "is in maintenance",
    )
    assert (seen.stacks, seen.site.taken_at) == (("edge",), 7.0)


def test_one_that_is_off_needs_memory_only_if_it_starts_with_its_host() -> None:
    assert picture(facts(state="shutoff"), USAGE).guests[0].memory == 0
    assert picture(facts(state="shutoff", autostart=True), USAGE).guests[0].memory == 2 * GIB


def test_a_host_that_promised_more_than_it_has_lacks_the_rest() -> None:
    vm = facts().domains["vm"]
    promised = picture(facts(), USAGE).guests[0].memory
    small = replace(facts(), memory_total=promised, domains={"vm": vm, "too": replace(vm, name="too")})
    assert picture(small, USAGE).site.free == -promised - promised // 32


def test_pinned_cpus_are_taken() -> None:
    seen = picture(facts(more="<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>"), USAGE)
    assert (seen.guests[0].pinned, seen.site.free_pinned) == (1, 7)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (
            "<hostdev type='pci'><source><address domain='0x0000' bus='0x03' slot='0x00' function='0x1'/>"
            "</source></hostdev>",
            "has a device of its host (pci 0000:03:00.1)",
        ),
        ("<hostdev mode='subsystem' type='usb'/>", "has a device of its host (usb )"),
        ("<disk type='block'><source dev='/dev/sdb'/></disk>", "has a block device of its host (/dev/sdb)"),
        ("<filesystem><source dir='/srv'/></filesystem>", "shares a directory of its host (/srv)"),
        ("<tpm><backend type='passthrough'/></tpm>", "has the TPM of its host"),
        ("<shmem name='x'/>", "shares memory on its host"),
    ],
)
def test_what_binds_a_guest_to_its_host(device: str, words: str) -> None:
    assert picture(facts(device=device), USAGE).guests[0].stuck == words


def test_a_definition_that_cannot_be_read_stays() -> None:
    broken = facts()
    domain = replace(broken.domains["vm"], xml="<domain")
    [vm] = picture(replace(broken, domains={"vm": domain}), USAGE).guests
    assert vm.stuck == "its definition cannot be read"


def test_usage_is_the_worst_of_what_is_waited_for() -> None:
    pressure = {"cpu": {"some": {"avg300": 12.5}}, "io": {"some": {"avg300": 50.0}}, "load": [1.0]}
    assert usage_of({"cpu": "x", "guests": {"vm": 1.5}}, pressure) == Usage({"vm": 1.5}, 0.5, "x")
    assert usage_of({}, {}) == Usage({}, 0.0, "")
