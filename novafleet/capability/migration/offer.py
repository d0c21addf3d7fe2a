"""What a host offers to the data path of a migration: one look, and what its libvirt says of QEMU's user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.scripts import script
from novafleet.errors import MigrationError
from novafleet.together import together

SOCKETS = ("/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock")
"""Where libvirt listens for clients that may change something, modular daemons first."""
PORTS = range(49152, 49216)
"""QEMU's own for migrations (migration_port_min of qemu.conf): what confines QEMU lets it use them."""
DEVICE_SINCE = 8_000_000
CONFINING = frozenset({"selinux", "apparmor"})


@dataclass(frozen=True, slots=True)
class Offer:
    """``address``, ``port``: where its sshd was reached, as the host itself sees it ("" and 0: it does not say).
    ``socket``: libvirt's, as far as the login user may write to it. ``owner`` UID:GID of its QEMU; ``confined``: an
    LSM watches over QEMU, which may not use sockets that somebody else made. ``tls``: QEMU has certificates."""

    login: str = ""
    uid: int = -1
    groups: frozenset[str] = frozenset()
    address: str = ""
    port: int = 0
    programs: frozenset[str] = frozenset()
    socket: str = ""
    host_keys: tuple[str, ...] = ()
    tls: bool = False
    taken: frozenset[int] = field(default_factory=frozenset)
    owner: str = "0:0"
    confined: bool = False
    qemu: int = 0
    """Its QEMU's version, in libvirt's encoding."""

    @property
    def may_use_libvirt(self) -> bool:
        """May the login user, without becoming root? A socket anyone can write to still asks polkit."""
        return bool(self.socket) and (self.uid == 0 or "libvirt" in self.groups)

    @property
    def hands_faults(self) -> bool:
        """May QEMU hear of the guest's page faults? By the system call, or since QEMU 8.0 by its device."""
        return "userfaultfd" in self.programs or (self.opens_device and "/dev/userfaultfd" in self.programs)

    @property
    def opens_device(self) -> bool:
        """Does its QEMU know the device? (postcopy-ram.c and util/userfaultfd.c of QEMU 8.0)"""
        return self.qemu >= DEVICE_SINCE


async def offer(end: End) -> Offer:
    """Ask a host. Raises what its session and its libvirt raise."""
    done, capabilities, (_, qemu) = await together(
        end.session.run(script("route_look.sh", *SOCKETS, become=False), timeout=20.0),
        end.hypervisor.capabilities(),
        end.hypervisor.version(),
    )
    return replace(read(done.text.splitlines(), capabilities), qemu=qemu)


def read(lines: Iterable[str], capabilities: str) -> Offer:
    """The look's lines and libvirt's capabilities. What makes no sense is left out: hosts are not trusted."""
    words: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(" ")
        words.setdefault(name, []).append(value.strip())
    reached = _one(words, "reached").split()
    root = ElementTree.fromstring(capabilities)
    return Offer(
        login=_one(words, "login"),
        uid=_number(_one(words, "uid"), -1),
        groups=frozenset(_one(words, "groups").split()),
        address=reached[2] if len(reached) == 4 else "",
        port=_number(reached[3], 0) if len(reached) == 4 else 0,
        programs=frozenset(words.get("has", ())),
        socket=_one(words, "socket"),
        host_keys=tuple(each for each in words.get("hostkey", ()) if len(each.split()) == 2),
        tls=bool(words.get("tls")),
        taken=frozenset(_number(each, 0) for each in words.get("taken", ())),
        owner=_owner(root),
        confined=any(each.text in CONFINING for each in root.iterfind("host/secmodel/model")),
    )


def _owner(capabilities: ElementTree.Element) -> str:
    """``+64055:+106`` of the DAC model's base label; root where libvirt changes no owners."""
    for model in capabilities.iterfind("host/secmodel"):
        if model.findtext("model") == "dac":
            label = (model.findtext("baselabel[@type='qemu']") or model.findtext("baselabel") or "").replace("+", "")
            if label.replace(":", "", 1).isdecimal():
                return label
    return "0:0"


class Ports:
    """Ports that routes of one run are about to listen on: no look at a host shows them yet."""

    def __init__(self) -> None:
        self._promised: set[tuple[str, int]] = set()

    @contextmanager
    def promised(self, count: int, ends: Sequence[End], offers: Sequence[Offer]) -> Iterator[Sequence[int]]:
        """Ports of QEMU's range that nobody listens on, or is about to, on any of these hosts.

        Raises MigrationError NF-MIG-105.
        """
        names = [end.host.name for end in ends]
        taken = {port for name, port in self._promised if name in names}.union(*(each.taken for each in offers))
        free = [port for port in PORTS if port not in taken][:count]
        if len(free) < count:
            raise MigrationError(
                "no port is left for the migration",
                code="NF-MIG-105",
                cause=f"all of {PORTS.start} to {PORTS.stop - 1} are taken on one of the hosts",
                hints=("ss -lntp   # on both hosts: who has them",),
            )
        ours = {(name, port) for name in names for port in free}
        self._promised |= ours
        try:
            yield free
        finally:
            self._promised -= ours


def _one(words: dict[str, list[str]], name: str) -> str:
    return words.get(name, [""])[0]


def _number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() else default
