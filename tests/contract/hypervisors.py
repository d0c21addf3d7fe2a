"""The hypervisors the contract suite runs over: the fake, libvirt's test driver through the real session, lab hosts."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from novafleet.errors import NotFoundError, NovaFleetError
from novafleet.hypervisor.connect import Connections
from novafleet.hypervisor.dial import Direct, Line
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.hypervisor.hypervisor import LibvirtHypervisor
from novafleet.hypervisor.session import Session
from novafleet.model.command import Command
from novafleet.model.fleet import Become, Fleet, Host
from novafleet.model.secret import Secret
from novafleet.ports import Channel, HostSession, Hypervisor
from novafleet.transport.pool import SshPool

PREFIX = "nf-hv-"
"""Everything the suite makes on a host is called so, and removed after each test."""

NETWORKS = (f"{PREFIX}lan", f"{PREFIX}lan2")

LAB = Path.home() / ".local/state/novafleet/lab"
LAB_HOSTS = {
    "kvm1": Host("kvm1", "172.31.250.11", user="root"),
    "kvm2": Host("kvm2", "172.31.250.12", user="root"),
    "kvm3": Host("kvm3", "172.31.250.13", user="ops", become=Become(True)),
    "qemu+ssh": Host("qemu+ssh", "172.31.250.12", user="root", vars={"libvirt": "qemu+ssh"}),
}
SSH = f"""\
#!/bin/sh
exec {shutil.which("ssh")} -F none -o IdentitiesOnly=yes -o UserKnownHostsFile={LAB / "known_hosts"} "$@"
"""
"""libvirt runs the ``ssh`` it finds, which would ask the user's known_hosts."""

TEST_DRIVER_LACKS = {
    "undefine": "libvirt's test driver refuses the flags of virDomainUndefineFlags",
    "memory": "libvirt's test driver changes one layer of memory at a time",
    "devices": "libvirt's test driver attaches no devices",
    "network hosts": "libvirt's test driver has no inactive network XML",
    "qemu": "the test driver completes definitions less than QEMU's",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A hypervisor under test."""

    hypervisor: Hypervisor
    network_xml: Callable[[str], Awaitable[str]]
    domain_type: str = "qemu"
    arch: str = "x86_64"
    lacks: dict[str, str] = field(default_factory=dict)

    def needs(self, feature: str) -> None:
        """Skip the test where the driver lacks it."""
        if feature in self.lacks:
            pytest.skip(self.lacks[feature])


class TestDriver:
    """A ``Dial`` to ``test:///default``: real libvirt, in process."""

    __test__ = False

    def __init__(self, uri: str = "test:///default") -> None:
        self.uri = uri
        self.dialled = 0

    async def __call__(self) -> Line:
        self.dialled += 1
        return Direct(self.uri)

    async def channel(self) -> Channel:
        raise AssertionError("the test driver has no daemon")

    def elevate(self) -> bool:
        return False


class LabHosts:
    """Connections to the lab's hosts, made when first asked for and kept."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._open: dict[str, tuple[HostSession, Hypervisor]] = {}

    async def get(self, name: str) -> tuple[HostSession, Hypervisor]:
        """One host, or a skip."""
        if name not in self._open:
            session, hypervisor = await self._stack.enter_async_context(lab_session(LAB_HOSTS[name]))
            await sweep(session)
            self._stack.push_async_callback(sweep, session)
            self._open[name] = session, hypervisor
        return self._open[name]


@asynccontextmanager
async def subject(name: str, lab: LabHosts) -> AsyncIterator[Subject]:
    """Open a hypervisor by name, clean; skip where it is not there."""
    if name == "fake":
        fake = FakeHypervisor()

        async def described(network: str) -> str:
            return fake.networks[network].xml

        yield Subject(fake, described)
    elif name == "test":
        hypervisor = LibvirtHypervisor(Session("test", TestDriver()))
        yield Subject(hypervisor, _unseen, "test", "i686", TEST_DRIVER_LACKS)
        await hypervisor.close()
    else:
        session, real = await lab.get(name)
        yield Subject(real, lambda network: _dumped(session, network))
        await clean(real)


async def _unseen(network: str) -> str:
    raise AssertionError(f"the test driver does not tell of {network}")


async def _dumped(session: HostSession, network: str) -> str:
    return (await session.run(Command(("virsh", "-c", "qemu:///system", "net-dumpxml", network)))).text


@asynccontextmanager
async def lab_session(host: Host) -> AsyncIterator[tuple[HostSession, Hypervisor]]:
    """A lab host over the real transport; skips where the lab is not up."""
    host = reachable(host)
    fleet = Fleet({host.name: host}, {})
    with ssh_of_the_lab():
        async with (
            SshPool(fleet, known_hosts=LAB / "known_hosts", passwords=no_password) as pool,
            Connections(pool) as hypervisors,
        ):
            yield await pool.get(host), await hypervisors.get(host)


@contextmanager
def ssh_of_the_lab() -> Iterator[None]:
    """``ssh`` is a program that knows the lab's hosts."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        program = Path(folder, "ssh")
        program.write_text(SSH)
        program.chmod(0o700)
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield


def reachable(host: Host) -> Host:
    """The host with the lab's key, or a skip."""
    try:
        socket.create_connection((host.address, 22), timeout=2.0).close()
    except OSError as exc:
        pytest.skip(f"the lab is not up ({host.name}: {exc}); `novafleet lab up`")
    return replace(host, key=str(LAB / "id_ed25519"), known_hosts=str(LAB / "known_hosts"))


def no_password(host: Host) -> Secret:
    """The lab's users need none."""
    raise AssertionError(f"{host.name} asked for a password")


SWEEP = """\
export LIBVIRT_DEFAULT_URI=qemu:///system
for pool in $(virsh pool-list --all --name | grep "^$1"); do
  virsh pool-destroy "$pool"; virsh pool-undefine "$pool"
done
rm -rf "/var/lib/libvirt/$1"*
"""


async def sweep(session: HostSession) -> None:
    """Remove pools tests made: the port has no verb for that."""
    await session.run(Command.script(SWEEP, PREFIX, become=session.host.become.enabled), check=False)


async def clean(hypervisor: Hypervisor) -> None:
    """Remove domains and networks a test made."""
    for domain in await hypervisor.domains():
        if domain.name.startswith(PREFIX):
            await hypervisor.destroy_domain(domain.name)
            await hypervisor.undefine_domain(domain.name)
    for network in NETWORKS:
        with suppress(NotFoundError):
            await hypervisor.stop_network(network)
            await hypervisor.undefine_network(network)


async def code_of(call: Awaitable[object]) -> str:
    """The code of the error a call raises."""
    with pytest.raises(NovaFleetError) as caught:
        await call
    return caught.value.code
