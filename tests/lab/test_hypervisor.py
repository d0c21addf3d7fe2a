"""libvirt on real hosts when something is wrong with it: stopped, frozen, forbidden; and that others do not notice."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from novafleet.app.wiring import open_world
from novafleet.errors import DeadlineError, HypervisorError, NotFoundError
from novafleet.execute.gather import collect
from novafleet.hypervisor.dial import Dialer
from novafleet.hypervisor.hypervisor import LibvirtHypervisor
from novafleet.hypervisor.session import Session
from novafleet.model.fleet import Become, Fleet, Host
from novafleet.observe.registry import collectors
from novafleet.transport.pool import SshPool
from tests.contract.hypervisors import LAB, LAB_HOSTS, PREFIX, lab_session, no_password, reachable
from tests.labfixture import Lab
from tests.unit.hypervisor.test_session import until

pytestmark = [pytest.mark.lab, pytest.mark.disturbs]
UNITS = ("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd.service")
USER = f"{PREFIX}user"

ADD_USER = """\
useradd --create-home --shell /bin/sh "$1" && install -d -m 700 -o "$1" "/home/$1/.ssh" &&
  install -m 600 -o "$1" /dev/stdin "/home/$1/.ssh/authorized_keys" &&
  echo "$1 ALL=(ALL:ALL) NOPASSWD: ALL" > "/etc/sudoers.d/$1"
"""


@pytest.fixture
def without_libvirtd(lab: Lab) -> Iterator[str]:
    lab.on("kvm2", "systemctl", "stop", *UNITS)
    try:
        yield "kvm2"
    finally:
        lab.on("kvm2", "systemctl", "start", *UNITS[:3])


async def test_a_stopped_libvirtd_is_named_with_its_fix_and_its_return_is_noticed(
    lab: Lab, without_libvirtd: str
) -> None:
    async with lab_session(LAB_HOSTS[without_libvirtd]) as (_, hypervisor):
        with pytest.raises(HypervisorError) as caught:
            await hypervisor.domains()
        assert (caught.value.code, caught.value.where) == ("NF-LV-101", "kvm2")
        assert caught.value.hints == ("sudo systemctl start libvirtd   # on kvm2",)
        lab.on("kvm2", "systemctl", "start", *UNITS[:3])
        await hypervisor.domains()


async def test_a_libvirtd_that_stops_in_between_is_a_lost_connection_and_then_connected_again(lab: Lab) -> None:
    async with lab_session(LAB_HOSTS["kvm2"]) as (_, hypervisor):
        await hypervisor.domains()
        async with hypervisor.events() as events:
            lab.on("kvm2", "systemctl", "restart", "libvirtd.service")
            with pytest.raises(HypervisorError) as caught:
                async with asyncio.timeout(30.0):
                    async for _ in events:
                        pass
            assert caught.value.code == "NF-LV-103"
        await hypervisor.domains()


@pytest.fixture
def frozen_libvirtd(lab: Lab) -> Iterator[str]:
    lab.on("kvm2", "systemctl", "start", "libvirtd.service")
    pid = lab.on("kvm2", "systemctl", "show", "--value", "--property", "MainPID", "libvirtd.service").strip()
    lab.on("kvm2", "kill", "-STOP", pid)
    try:
        yield pid
    finally:
        lab.on("kvm2", "kill", "-CONT", pid, check=False)


async def test_a_frozen_libvirtd_costs_a_deadline_and_no_thread(lab: Lab, frozen_libvirtd: str) -> None:
    host = reachable(LAB_HOSTS["kvm2"])
    async with SshPool(Fleet({host.name: host}, {}), known_hosts=LAB / "known_hosts", passwords=no_password) as pool:
        hypervisor = LibvirtHypervisor(Session(host.name, Dialer(pool, host), deadline=5.0))
        session = await pool.get(host)
        began = time.monotonic()
        with pytest.raises(DeadlineError) as caught:
            await hypervisor.version()
        assert time.monotonic() - began < 25.0, "the default deadline is 30 s"
        assert caught.value.code == "NF-LV-110"
        await until(lambda: not [each for each in threading.enumerate() if each.name.startswith("libvirt-kvm2-")])
        assert await session.pull("/etc/hostname"), "the SSH connection is as usable as before"
        lab.on("kvm2", "kill", "-CONT", frozen_libvirtd)
        assert await hypervisor.version()
        await hypervisor.close()


@pytest.fixture
def outsider(lab: Lab) -> Iterator[Host]:
    """A user of kvm3 who is not in the group libvirt; polkit refuses what the open socket lets through."""
    public = lab.key.with_suffix(".pub").read_text()
    lab.on("kvm3", "sh", "-c", ADD_USER, "novafleet", USER, stdin=public)
    try:
        yield Host("kvm3", LAB_HOSTS["kvm3"].address, user=USER)
    finally:
        lab.on("kvm3", "userdel", "--force", "--remove", USER, check=False)
        lab.on("kvm3", "rm", "-f", f"/etc/sudoers.d/{USER}")


async def test_a_user_whom_polkit_refuses_is_told_so(outsider: Host) -> None:
    async with lab_session(outsider) as (_, hypervisor):
        with pytest.raises(HypervisorError) as caught:
            await hypervisor.version()
    assert (caught.value.code, caught.value.where) == ("NF-LV-102", "kvm3")
    assert "usermod -aG libvirt" in caught.value.hints[0]


async def test_with_become_that_user_goes_through_root(outsider: Host) -> None:
    root = Host(outsider.name, outsider.address, user=outsider.user, become=Become(True))
    async with lab_session(root) as (_, hypervisor):
        assert (await hypervisor.version())[0] >= 9_000_000
        assert isinstance(await hypervisor.domains(), tuple)
        await hypervisor.close()
        assert await hypervisor.version()


@pytest.fixture
def without_forwarding(lab: Lab) -> Iterator[None]:
    config = "/etc/ssh/sshd_config.d/00-nf-hv.conf"
    lab.on("kvm1", "sh", "-c", 'echo "AllowStreamLocalForwarding no" > "$1"', "novafleet", config)
    lab.on("kvm1", "systemctl", "reload", "ssh")
    listening(LAB_HOSTS["kvm1"].address)
    try:
        yield
    finally:
        lab.on("kvm1", "rm", "-f", config)
        lab.on("kvm1", "systemctl", "reload", "ssh")
        listening(LAB_HOSTS["kvm1"].address)


def listening(address: str, seconds: float = 10.0) -> None:
    """Wait until sshd, reloaded, listens again."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(ConnectionRefusedError):
            return socket.create_connection((address, 22), timeout=seconds).close()
        assert time.monotonic() < deadline, f"sshd on {address} did not come back"


async def test_where_sshd_forwards_no_sockets_a_program_relays(without_forwarding: None) -> None:
    async with lab_session(LAB_HOSTS["kvm1"]) as (_, hypervisor):
        assert (await hypervisor.version())[0] >= 9_000_000
        assert isinstance(await hypervisor.domains(), tuple)


BIOS = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
UEFI = "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os>"
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
LACKING = {
    "NF-LV-131": ("<os><type arch='x86_64' machine='pc-q35-99.0'>hvm</type></os>", ""),
    "NF-LV-137": ("<os><type arch='s390x'>hvm</type></os>", ""),
    "NF-LV-144": (BIOS, "<interface type='bridge'><source bridge='nf-none'/></interface>"),
    "NF-LV-133": (BIOS, "<disk type='file'><source file='/srv/no such'/><target dev='vda' bus='virtio'/></disk>"),
    "NF-LV-132": (BIOS, "<disk type='file'><source file='/root/x'/><target dev='vda' bus='virtio'/></disk>"),
}


def domain(system: str, devices: str) -> str:
    """An emulated domain."""
    plain = f"<name>{USER}</name><memory>65536</memory><features><acpi/></features>"
    return f"<domain type='qemu'>{plain}{system}<devices>{devices}</devices></domain>"


@pytest.mark.parametrize("name", ["kvm1", "kvm2"])
async def test_what_a_host_lacks_is_named(lab: Lab, name: str) -> None:
    lab.on(name, "sh", "-c", "chmod 700 /root; truncate -s 1M /root/x")
    codes: dict[str, str] = {}
    async with lab_session(LAB_HOSTS[name]) as (_, hypervisor):
        for code, (system, devices) in LACKING.items():
            try:
                await hypervisor.define_domain(domain(system, devices))
                await hypervisor.start_domain(USER)
            except HypervisorError as error:
                codes[code] = error.code
            with suppress(NotFoundError):
                await hypervisor.destroy_domain(USER)
            await hypervisor.undefine_domain(USER)
    lab.on(name, "rm", "-f", "/root/x")
    assert codes == {code: code for code in LACKING}


@pytest.mark.parametrize("name", ["kvm1", "kvm2"])
async def test_undefining_takes_firmware_variables_and_tpm_state_along(lab: Lab, name: str) -> None:
    left = ("find", "/var/lib/libvirt/qemu/nvram", "/var/lib/libvirt/swtpm", "-name", f"*{USER}*", "-o", "-name")
    async with lab_session(LAB_HOSTS[name]) as (_, hypervisor):
        defined = await hypervisor.define_domain(domain(UEFI, TPM))
        try:
            await hypervisor.start_domain(USER)
            assert len(lab.on(name, *left, defined.uuid).split()) == 2
        finally:
            await hypervisor.destroy_domain(USER)
            await hypervisor.undefine_domain(USER)
    assert lab.on(name, *left, defined.uuid) == ""


async def test_a_frozen_libvirtd_is_what_did_not_answer(lab: Lab, frozen_libvirtd: str, fleet_home: Path) -> None:
    async with open_world([lab.inventory]) as world:
        with pytest.raises(DeadlineError) as caught:
            await collect(world.sessions, world.fleet.hosts["kvm2"], collectors(("system", "libvirt")), seconds=2)
    assert (caught.value.code, caught.value.where) == ("NF-COL-003", "kvm2")
    assert caught.value.what == "libvirt did not answer within 2 s"
    assert "virsh" not in lab.on("kvm2", "ps", "-eo", "comm"), "nothing is left waiting"
