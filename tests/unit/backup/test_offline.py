"""The disks of a VM that is off, whose export the host let go when our connection was lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from novafleet.capability.backup import offline
from novafleet.capability.backup.image import Image, Layer
from novafleet.capability.backup.look import Sight
from novafleet.capability.backup.plan import plan
from novafleet.capability.backup.xml import around, disks_of
from novafleet.errors import CommandError
from novafleet.model.command import Command, Completed
from novafleet.model.facts import Domain
from novafleet.model.fleet import Host
from novafleet.ports import ActionContext

XML = """<domain type='qemu'><name>db</name><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/p/a$.qcow2'/><target dev='vda'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/p/b.qcow2'/><target dev='vdb'/></disk>
</devices></domain>"""


@dataclass
class Paper:
    """A host whose guard lives or not, and whose images can be read or not."""

    guarded: bool
    locked: bool = False
    ran: list[tuple[str, ...]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    host: Host = field(default_factory=lambda: Host("kvm1", "192.0.2.1"))

    @property
    def session(self) -> Paper:
        return self

    def progress(self, text: str) -> None:
        self.told.append(text)

    async def run(self, command: Command, **_options: Any) -> Completed:
        self.ran.append(command.argv)
        if "qemu-nbd" in " ".join(command.argv) and self.locked:
            raise CommandError("it ended with 1", status=1, stderr='qemu-nbd: Failed to get "write" lock\n')
        return Completed(command.argv, int("is-active" in command.argv and not self.guarded), b"", b"")


async def again(host: Paper) -> str:
    disks = disks_of(XML)
    images = {each.target: Image((Layer(each.path, "qcow2", 100, 40, {}, version=3),)) for each in disks}
    sight = Sight(Domain("db", "uuid", "shutoff", XML), XML, disks, around(XML), "", images, (), None)
    plans = plan(disks, images, None, (), running=False, full=False)
    return await offline._again(cast("ActionContext", host), sight, plans, "/lease")


async def test_while_the_guard_lives_nothing_is_done() -> None:
    host = Paper(guarded=True)
    assert await again(host) == ""
    assert len(host.ran) == 1


async def test_what_the_guard_let_go_is_exported_once_more() -> None:
    host = Paper(guarded=False)
    assert await again(host) == ""
    stopped, guard, *served = host.ran[1:]
    assert stopped[:2] == ("systemctl", "stop")
    assert len(stopped) == 2 + 3
    assert "--unit=nf-guard-uuid" in guard
    assert [each[4:6] for each in served] == [
        ("nf-read-uuid-vda", "nf-guard-uuid"),
        ("nf-read-uuid-vdb", "nf-guard-uuid"),
    ]
    assert "/p/a$$.qcow2" in served[0], "systemd expands a dollar"
    assert host.told


async def test_a_vm_that_was_started_meanwhile_is_not_read_any_more() -> None:
    said = await again(Paper(guarded=False, locked=True))
    assert said == 'the connection was lost, and now qemu-nbd: Failed to get "write" lock'
