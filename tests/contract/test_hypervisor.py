"""What every hypervisor adapter does, fake or real (``ports.Hypervisor``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import pytest_asyncio

from novafleet.errors import NotFoundError
from novafleet.model.address import METADATA_KEY, METADATA_NS
from novafleet.model.facts import DomainEvent, DomainState
from novafleet.ports import Hypervisor
from tests.contract.hypervisors import LAB_HOSTS, NETWORKS, PREFIX, LabHosts, Subject, code_of, subject

NAME = f"{PREFIX}db"
NET, NET2 = NETWORKS
pytestmark = pytest.mark.asyncio(loop_scope="module")
SUBJECTS = ["fake", "test", *(pytest.param(name, marks=pytest.mark.lab) for name in LAB_HOSTS)]

RECORD = f'<n:resource xmlns:n="{METADATA_NS}" name="{{}}"><n:applied>{{{{}}}}</n:applied></n:resource>'
DISK = '<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="/dev/null"/>{}{}</disk>'
RNG = '<rng model="virtio"><backend model="random">/dev/urandom</backend><alias name="ua-rng-x"/></rng>'
MAC = '<mac address="52:54:00:4e:46:01"/>'
NIC = f'<interface type="network">{MAC}<source network="{{}}"/><model type="virtio"/></interface>'
LEASE = '<host mac="52:54:00:4e:46:01" name="db" ip="10.231.7.10"/>'
NAMED = '<host ip="10.231.7.10"><hostname>db</hostname></host>'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab_hosts() -> AsyncIterator[LabHosts]:
    async with AsyncExitStack() as stack:
        yield LabHosts(stack)


@pytest_asyncio.fixture(params=SUBJECTS, loop_scope="module")
async def under(request: pytest.FixtureRequest, lab_hosts: LabHosts) -> AsyncIterator[Subject]:
    if request.param in LAB_HOSTS:
        request.getfixturevalue("lab")
    async with subject(request.param, lab_hosts) as opened:
        yield opened


def domain_xml(under: Subject, name: str = NAME, *, uuid: str = "", devices: str = "", machine: str = "pc") -> str:
    identity = f"<name>{name}</name>" + (f"<uuid>{uuid}</uuid>" if uuid else "")
    kind = f'<type arch="{under.arch}"' + (f' machine="{machine}"' if under.domain_type == "qemu" else "")
    return (
        f'<domain type="{under.domain_type}">{identity}<memory unit="MiB">32</memory><vcpu>1</vcpu>'
        f"<os>{kind}>hvm</type></os><features><acpi/></features><devices>{devices}</devices></domain>"
    )


def network_xml(name: str = NET, cidr: str = "10.231.7", uuid: str = "") -> str:
    identity = f"<name>{name}</name>" + (f"<uuid>{uuid}</uuid>" if uuid else "")
    dhcp = f'<dhcp><range start="{cidr}.100" end="{cidr}.120"/></dhcp>'
    return (
        f'<network>{identity}<bridge name="nfhv{len(name)}"/>'
        f'<ip address="{cidr}.1" netmask="255.255.255.0">{dhcp}</ip></network>'
    )


async def tree(hypervisor: Hypervisor, name: str = NAME) -> Element:
    return ElementTree.fromstring((await hypervisor.domain(name)).xml)


Verb = Callable[[Hypervisor], Awaitable[object]]
ON_A_DOMAIN: dict[str, Verb] = {
    "read": lambda h: h.domain("nf-hv-none"),
    "start": lambda h: h.start_domain("nf-hv-none"),
    "shutdown": lambda h: h.shutdown_domain("nf-hv-none"),
    "destroy": lambda h: h.destroy_domain("nf-hv-none"),
    "reboot": lambda h: h.reboot_domain("nf-hv-none"),
    "suspend": lambda h: h.suspend_domain("nf-hv-none"),
    "resume": lambda h: h.resume_domain("nf-hv-none"),
    "autostart": lambda h: h.set_domain_autostart("nf-hv-none", True),
    "attach": lambda h: h.attach_device("nf-hv-none", DISK, live=False),
    "detach": lambda h: h.detach_device("nf-hv-none", DISK, live=False),
    "update": lambda h: h.update_device("nf-hv-none", DISK, live=False),
    "memory": lambda h: h.set_memory("nf-hv-none", 65536, live=False),
    "vcpus": lambda h: h.set_vcpus("nf-hv-none", 2, live=False),
    "metadata": lambda h: h.set_metadata("nf-hv-none", RECORD.format("a"), key=METADATA_KEY, uri=METADATA_NS),
    "agent": lambda h: h.agent("nf-hv-none", "{}"),
    "start network": lambda h: h.start_network("nf-hv-none"),
    "stop network": lambda h: h.stop_network("nf-hv-none"),
    "network autostart": lambda h: h.set_network_autostart("nf-hv-none", True),
    "network host": lambda h: h.update_network_host("nf-hv-none", LEASE, add=True),
    "refresh pool": lambda h: h.refresh_pool("nf-hv-none"),
}


async def test_what_does_not_exist_is_a_not_found_error_with_the_host_and_the_call(under: Subject) -> None:
    for verb, call in ON_A_DOMAIN.items():
        with pytest.raises(NotFoundError) as caught:
            await call(under.hypervisor)
        assert caught.value.code == "NF-LV-404", verb
        assert caught.value.where
        assert "does not exist" in caught.value.what
    await under.hypervisor.undefine_domain("nf-hv-none")
    await under.hypervisor.undefine_network("nf-hv-none")


async def test_it_tells_its_versions_and_capabilities(under: Subject) -> None:
    libvirt, _ = await under.hypervisor.version()
    assert libvirt >= 9_000_000
    assert ElementTree.fromstring(await under.hypervisor.capabilities()).tag == "capabilities"


async def test_a_defined_domain_is_completed_and_defining_its_xml_again_changes_nothing(under: Subject) -> None:
    disk = DISK.format('<target dev="vda" bus="virtio"/>', '<alias name="ua-disk-root"/>') + NIC.format("default")
    for machine in ("pc", "q35"):
        name = f"{NAME}-{machine}"
        first = await under.hypervisor.define_domain(domain_xml(under, name, devices=disk, machine=machine))
        assert (first.name, first.state, first.persistent, first.autostart) == (name, "shutoff", True, False)
        assert len(first.uuid) == 36
        again = await under.hypervisor.define_domain(first.xml)
        assert ElementTree.canonicalize(again.xml, strip_text=True) == ElementTree.canonicalize(
            first.xml, strip_text=True
        )
        assert await under.hypervisor.domain(name) == again


async def test_qemu_gives_devices_addresses_and_keeps_only_user_aliases(under: Subject) -> None:
    under.needs("qemu")
    disk = DISK.format('<target dev="vda" bus="virtio"/>', '<alias name="ua-disk-root"/>')
    other = DISK.format('<target dev="vdb" bus="virtio"/>', '<alias name="disk7"/>')
    defined = await under.hypervisor.define_domain(
        domain_xml(under, devices=disk + other + NIC.format("default"), machine="q35")
    )
    root = ElementTree.fromstring(defined.xml)
    machine = root.find("os/type")
    assert machine is not None
    assert machine.get("machine", "").startswith("pc-q35-")
    assert [alias.get("name") for alias in root.iterfind("devices/disk/alias")] == ["ua-disk-root"]
    slots = [tuple(sorted(found.attrib.items())) for found in root.iterfind("devices/*/address[@type='pci']")]
    assert len(slots) == len(set(slots))
    assert all(root.find(f"devices/{kind}/address") is not None for kind in ("disk", "interface", "memballoon"))
    assert root.findtext("currentMemory") == root.findtext("memory") == str(32 * 1024)


async def test_a_name_or_uuid_that_is_taken_is_refused(under: Subject) -> None:
    await under.hypervisor.define_domain(domain_xml(under, uuid="7b1c0e8e-0000-4000-8000-000000000001"))
    other = domain_xml(under, uuid="7b1c0e8e-0000-4000-8000-000000000002")
    assert await code_of(under.hypervisor.define_domain(other)) == "NF-LV-123"
    renamed = domain_xml(under, f"{NAME}2", uuid="7b1c0e8e-0000-4000-8000-000000000001")
    assert await code_of(under.hypervisor.define_domain(renamed)) == "NF-LV-123"
    await under.hypervisor.define_network(network_xml(uuid="7b1c0e8e-0000-4000-8000-000000000003"))
    clash = network_xml(uuid="7b1c0e8e-0000-4000-8000-000000000004")
    assert await code_of(under.hypervisor.define_network(clash)) == "NF-LV-123"
    await under.hypervisor.undefine_network(NET)


@pytest.mark.parametrize("xml", ["<domain", "<network/>", "<domain type='qemu'><name>nf-hv-x</name></domain>"])
async def test_xml_that_is_no_domain_is_refused(under: Subject, xml: str) -> None:
    assert await code_of(under.hypervisor.define_domain(xml)) == "NF-LV-121"


async def test_the_life_of_a_domain_and_every_step_of_it_twice(under: Subject) -> None:
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under))
    life = [
        (hypervisor.start_domain, "running", "booted"),
        (hypervisor.suspend_domain, "paused", "user"),
        (hypervisor.resume_domain, "running", "unpaused"),
        (hypervisor.destroy_domain, "shutoff", "destroyed"),
    ]
    for verb, state, reason in life:
        for _ in range(2):
            await verb(NAME)
            domain = await hypervisor.domain(NAME)
            assert (domain.state, domain.reason) == (state, reason)
            assert await hypervisor.domain_state(NAME) == DomainState(domain.uuid, state, reason)
    await hypervisor.shutdown_domain(NAME)
    assert await code_of(hypervisor.domain_state("nf-hv-nobody")) == "NF-LV-404"


async def test_a_stopped_domain_cannot_be_paused_or_rebooted(under: Subject) -> None:
    await under.hypervisor.define_domain(domain_xml(under))
    for verb in (under.hypervisor.suspend_domain, under.hypervisor.resume_domain):
        assert await code_of(verb(NAME)) == "NF-LV-122"
    if under.domain_type == "qemu":  # the test driver boots it
        assert await code_of(under.hypervisor.reboot_domain(NAME)) == "NF-LV-122"


async def test_a_running_domain_that_is_undefined_lives_on_until_it_stops(under: Subject) -> None:
    under.needs("undefine")
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under))
    await hypervisor.start_domain(NAME)
    for _ in range(2):
        await hypervisor.undefine_domain(NAME)
    domain = await hypervisor.domain(NAME)
    assert (domain.state, domain.persistent) == ("running", False)
    await hypervisor.destroy_domain(NAME)
    assert await code_of(hypervisor.domain(NAME)) == "NF-LV-404"
    await hypervisor.undefine_domain(NAME)


async def test_all_domains_are_read_in_bulk_with_what_one_by_one_tells(under: Subject) -> None:
    hypervisor = under.hypervisor
    names = [f"{NAME}-{number:02}" for number in range(12)]
    for name in reversed(names):
        await hypervisor.define_domain(domain_xml(under, name))
    await hypervisor.start_domain(names[3])
    await hypervisor.set_domain_autostart(names[5], True)
    found = [domain for domain in await hypervisor.domains() if domain.name in names]
    assert [domain.name for domain in found] == names
    assert found == [await hypervisor.domain(name) for name in names]
    assert [domain.name for domain in found if domain.autostart] == [names[5]]
    assert [domain.name for domain in found if domain.state == "running"] == [names[3]]
    await hypervisor.set_domain_autostart(names[5], False)
    assert not (await hypervisor.domain(names[5])).autostart


async def test_metadata_is_replaced_on_a_running_domain_and_outlives_it(under: Subject) -> None:
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under))
    await hypervisor.start_domain(NAME)
    for name in ("a", "b"):
        await hypervisor.set_metadata(NAME, RECORD.format(name), key=METADATA_KEY, uri=METADATA_NS)
        records = (await tree(hypervisor)).findall(f"metadata/{{{METADATA_NS}}}resource")
        assert [each.get("name") for each in records] == [name]
        assert records[0].findtext(f"{{{METADATA_NS}}}applied") == "{}"
    await hypervisor.destroy_domain(NAME)
    redefined = await hypervisor.define_domain((await hypervisor.domain(NAME)).xml)
    assert 'name="b"' in redefined.xml or "name='b'" in redefined.xml


@pytest.mark.parametrize("running", [False, True])
async def test_devices_come_and_go_on_definition_and_guest(under: Subject, running: bool) -> None:
    under.needs("devices")
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under))
    if running:
        await hypervisor.start_domain(NAME)
    await hypervisor.attach_device(NAME, RNG, live=True)
    assert (await tree(hypervisor)).find("devices/rng/address") is not None
    assert await code_of(hypervisor.attach_device(NAME, RNG, live=True)) == "NF-LV-126"
    if running:  # taking it from a running guest needs a guest that agrees
        await hypervisor.destroy_domain(NAME)
    await hypervisor.detach_device(NAME, RNG, live=True)
    assert (await tree(hypervisor)).find("devices/rng") is None
    assert await code_of(hypervisor.detach_device(NAME, RNG, live=True)) == "NF-LV-404"


async def test_two_disks_cannot_have_one_target(under: Subject) -> None:
    under.needs("devices")
    disk = DISK.format('<target dev="vda" bus="virtio"/>', "")
    await under.hypervisor.define_domain(domain_xml(under, devices=disk))
    assert await code_of(under.hypervisor.attach_device(NAME, disk, live=False)) == "NF-LV-126"


async def test_a_nic_is_moved_to_another_network_in_its_slot(under: Subject) -> None:
    under.needs("devices")
    hypervisor = under.hypervisor
    for name, cidr in ((NET, "10.231.7"), (NET2, "10.231.8")):
        await hypervisor.define_network(network_xml(name, cidr))
        await hypervisor.start_network(name)
    await hypervisor.define_domain(domain_xml(under, devices=NIC.format(NET)))
    await hypervisor.start_domain(NAME)
    slot = (await tree(hypervisor)).find("devices/interface/address")
    await hypervisor.update_device(NAME, NIC.format(NET2), live=True)
    moved = (await tree(hypervisor)).find("devices/interface")
    assert moved is not None
    source, address = moved.find("source"), moved.find("address")
    assert source is not None
    assert source.get("network") == NET2
    assert slot is not None
    assert address is not None
    assert address.attrib == slot.attrib
    stranger = NIC.format(NET).replace("46:01", "46:99")
    assert await code_of(hypervisor.update_device(NAME, stranger, live=True)) == "NF-LV-404"


async def test_memory_of_a_definition_moves_with_its_maximum_and_of_a_guest_within_it(under: Subject) -> None:
    under.needs("memory")
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under))
    for kib in (64 << 10, 32 << 10):
        await hypervisor.set_memory(NAME, kib, live=False)
        root = await tree(hypervisor)
        assert (root.findtext("memory"), root.findtext("currentMemory")) == (str(kib), str(kib))
    await hypervisor.start_domain(NAME)
    await hypervisor.set_memory(NAME, 24 << 10, live=True)
    root = await tree(hypervisor)
    assert (root.findtext("memory"), root.findtext("currentMemory")) == (str(32 << 10), str(24 << 10))
    assert await code_of(hypervisor.set_memory(NAME, 64 << 10, live=True)) == "NF-LV-125"


async def test_vcpus_of_a_definition_move_with_their_maximum_and_of_a_guest_within_it(under: Subject) -> None:
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under))
    for count in (2, 1, 3):
        await hypervisor.set_vcpus(NAME, count, live=False)
        assert (await tree(hypervisor)).findtext("vcpu") == str(count)
    await hypervisor.start_domain(NAME)
    assert await code_of(hypervisor.set_vcpus(NAME, 4, live=True)) == "NF-LV-125"


async def test_the_life_of_a_network_and_every_step_of_it_twice(under: Subject) -> None:
    hypervisor = under.hypervisor
    for _ in range(2):
        await hypervisor.define_network(network_xml(uuid="7b1c0e8e-0000-4000-8000-000000000005"))
    verbs = (hypervisor.start_network, hypervisor.stop_network, hypervisor.undefine_network)
    for verb in verbs:
        for _ in range(2):
            await verb(NET)
            if verb == hypervisor.start_network:
                await hypervisor.set_network_autostart(NET, True)
    assert await code_of(hypervisor.start_network(NET)) == "NF-LV-404"


@pytest.mark.parametrize("active", [False, True])
async def test_leases_and_names_of_a_network_are_added_and_deleted_once(under: Subject, active: bool) -> None:
    under.needs("network hosts")
    hypervisor = under.hypervisor
    await hypervisor.define_network(network_xml())
    if active:
        await hypervisor.start_network(NET)
    for add in (True, True, False, False):
        for entry in (LEASE, NAMED):
            await hypervisor.update_network_host(NET, entry, add=add)
        found = ElementTree.fromstring(await under.network_xml(NET))
        assert len(found.findall("ip/dhcp/host")) == len(found.findall("dns/host")) == int(add)


async def test_a_lease_that_contradicts_another_is_refused(under: Subject) -> None:
    under.needs("network hosts")
    await under.hypervisor.define_network(network_xml())
    await under.hypervisor.update_network_host(NET, LEASE, add=True)
    other = LEASE.replace("7.10", "7.11")
    assert await code_of(under.hypervisor.update_network_host(NET, other, add=True)) == "NF-LV-146"


async def test_a_network_with_the_subnet_of_an_active_one_does_not_start(under: Subject) -> None:
    under.needs("qemu")
    hypervisor = under.hypervisor
    for name in (NET, NET2):
        await hypervisor.define_network(network_xml(name))
    await hypervisor.start_network(NET)
    assert await code_of(hypervisor.start_network(NET2)) == "NF-LV-140"


async def test_a_domain_on_a_network_that_is_off_or_missing_says_so(under: Subject) -> None:
    under.needs("qemu")
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under, devices=NIC.format(NET)))
    assert await code_of(hypervisor.start_domain(NAME)) == "NF-LV-404"
    await hypervisor.define_network(network_xml())
    assert await code_of(hypervisor.start_domain(NAME)) == "NF-LV-142"
    await hypervisor.start_network(NET)
    await hypervisor.start_domain(NAME)


async def test_a_pool_is_made_once(under: Subject) -> None:
    hypervisor = under.hypervisor
    path = f"/var/lib/libvirt/{PREFIX}pool"
    for _ in range(2):
        await hypervisor.ensure_pool(f"{PREFIX}pool", path)
        await hypervisor.refresh_pool(f"{PREFIX}pool")
    if under.domain_type == "qemu":
        assert await code_of(hypervisor.ensure_pool(f"{PREFIX}pool2", path)) == "NF-LV-150"


async def test_events_tell_what_happens_from_now_on(under: Subject) -> None:
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under))
    async with hypervisor.events() as events:
        await hypervisor.start_domain(NAME)
        await hypervisor.suspend_domain(NAME)
        await hypervisor.resume_domain(NAME)
        await hypervisor.destroy_domain(NAME)
        async with asyncio.timeout(10.0):
            seen = await _until_stopped(events)
    kinds = [(event.kind, event.detail) for event in seen]
    assert ("started", "booted") in kinds[:2]  # QEMU's own "resumed" may come first
    assert any(event.kind == "suspended" for event in seen)
    assert kinds[-1] == ("stopped", "destroyed")
    assert [event.at for event in seen] == sorted(event.at for event in seen)


async def test_several_may_watch_events_at_once(under: Subject) -> None:
    hypervisor = under.hypervisor
    await hypervisor.define_domain(domain_xml(under))
    async with hypervisor.events() as first:
        async with hypervisor.events() as second:
            await hypervisor.start_domain(NAME)
            async with asyncio.timeout(60.0):
                while (await anext(second)).domain != NAME:
                    pass
        await hypervisor.destroy_domain(NAME)
        async with asyncio.timeout(60.0):
            seen = await _until_stopped(first)
    assert seen[-1].kind == "stopped"


async def _until_stopped(events: AsyncIterator[DomainEvent]) -> list[DomainEvent]:
    seen: list[DomainEvent] = []
    async for event in events:
        if event.domain == NAME:
            seen.append(event)
        if event.domain == NAME and event.kind == "stopped":
            break
    return seen


async def test_a_guest_without_an_agent_says_so(under: Subject) -> None:
    under.needs("qemu")
    channel = '<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>'
    await under.hypervisor.define_domain(domain_xml(under, devices=channel))
    assert await code_of(under.hypervisor.agent(NAME, '{"execute":"guest-ping"}', timeout=1)) == "NF-LV-122"
    await under.hypervisor.start_domain(NAME)
    assert await code_of(under.hypervisor.agent(NAME, '{"execute":"guest-ping"}', timeout=1)) == "NF-LV-160"


async def test_after_close_a_call_connects_again(under: Subject) -> None:
    await under.hypervisor.version()
    await under.hypervisor.close()
    await under.hypervisor.close()
    assert await under.hypervisor.version()
