"""Looking at a host: its script on this machine, what is made of its words, and storage proven to be shared."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from novafleet.capability.migration.guest import read
from novafleet.capability.migration.keep import keep, kept, move_of
from novafleet.capability.migration.look import Question, answer_of, arrivals, ask, chain_of, host_of, look
from novafleet.capability.migration.observed import Seen
from novafleet.capability.migration.proof import proven
from novafleet.capability.migration.survey import Surveys
from novafleet.errors import MigrationError
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.encode import encode
from novafleet.model.facts import HostFacts, PoolFact
from novafleet.model.fleet import Host
from novafleet.model.migration import Wanted
from novafleet.ports import HostSession, Hypervisor
from tests.localsession import local_session
from tests.unit.migration.dossiers import DATA, DISKS, NIC, POOL, ROOT, SEED, dossier, xml

needs_qemu = pytest.mark.skipif(not shutil.which("qemu-img"), reason="not installed: qemu-img (qemu-utils)")


@dataclass
class LocalEnd:
    """This machine as a host; libvirt is the fake."""

    host: Host
    session: HostSession
    hypervisor: Hypervisor


def ends(*names: str) -> tuple[LocalEnd, ...]:
    hosts = [Host(name, name) for name in names]
    return tuple(LocalEnd(host, local_session(Path.cwd(), host), FakeHypervisor(host.name)) for host in hosts)


def image(path: Path, *words: str) -> str:
    subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", *words, str(path), "8M"), check=True)
    return str(path)


@needs_qemu
async def test_a_host_tells_of_disks_files_room_and_itself(tmp_path: Path) -> None:
    base = image(tmp_path / "base.qcow2")
    overlay = image(tmp_path / "over one.qcow2", "-b", base, "-F", "qcow2")
    seed = tmp_path / "seed.iso"
    seed.write_bytes(b"seed")
    recorded = tmp_path / "novafleet-image-x"
    recorded.write_bytes(b"other")
    (tmp_path / "novafleet-image-x.sha256").write_text("ab" * 32 + "  x\n")
    asked = Question("", (str(tmp_path), "/nowhere"), (str(seed), str(recorded), "/nowhere/x"), (("qcow2", overlay),))
    (end,) = ends("kvm1")
    answer = await ask(end, asked)
    assert [each.path for each in answer.chains[overlay]] == [overlay, base]
    assert answer.chains[overlay][0].size == 8 << 20
    digest = hashlib.sha256(b"seed").hexdigest()
    assert answer.files == {
        str(seed): Seen(4, digest, seed.stat().st_ino),
        str(recorded): Seen(5, "ab" * 32, recorded.stat().st_ino),
    }
    assert set(answer.room) == {str(tmp_path)}
    assert answer.room[str(tmp_path)] > 0
    assert answer.devices["lo"] > 0
    assert "fpu" in answer.values["flags"] or answer.values["flags"]


@needs_qemu
async def test_an_image_nobody_can_read_says_why(tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.qcow2"
    spoilt.write_bytes(b"no image")
    (end,) = ends("kvm1")
    answer = await ask(end, Question("", (), (), (("qcow2", str(spoilt)),)))
    [found] = answer.chains[str(spoilt)]
    assert found.error


def test_words_of_a_host_are_read_and_others_do_no_harm() -> None:
    asked = Question("", ("/a",), ("/a/x",), (("raw", "/a/y"),))
    text = (
        "noise\n@@m kvm yes\n@@m mtu 1500 br0\n@@m mtu many\n@@m room 0 77\n@@m file 0 5 9 -\n@@m disk 0 0\nno json\n"
    )
    answer = answer_of(text, "@@m", asked)
    assert answer.values["kvm"] == "yes"
    assert (answer.devices, answer.room) == ({"br0": 1500}, {"/a": 77})
    assert answer.files == {"/a/x": Seen(9, "", 5)}
    assert answer.chains["/a/y"][0].error


def test_a_disk_that_cannot_be_opened_keeps_the_last_words() -> None:
    [found] = chain_of("/x", "qcow2", 1, "warning: slow\nqemu-img: cannot open /x: gone\n")
    assert found.error == "qemu-img: cannot open /x: gone"


def test_machines_by_name_and_alias_of_one_architecture() -> None:
    text = """<capabilities><host><uuid>u-1</uuid></host><guest><arch name="x86_64">
    <machine canonical="pc-q35-10.0">q35</machine><domain type="kvm"><machine>pc-q35-7.2</machine></domain>
    </arch></guest><guest><arch name="aarch64"><machine>virt</machine></arch></guest></capabilities>"""
    assert host_of(text, "x86_64") == ("u-1", frozenset(("q35", "pc-q35-10.0", "pc-q35-7.2")))


def test_the_destination_is_asked_for_what_would_arrive() -> None:
    guest = read(xml())
    pools = {"default": PoolFact("default", True, POOL, 1, 1)}
    there = {"default": PoolFact("default", True, "/srv/vm", 1, 1)}
    asked = arrivals(guest, (ROOT, DATA, SEED), pools, there, Wanted())
    assert asked.directories == ("/srv/vm",)
    assert {"/srv/vm/lab.db.root.qcow2", ROOT, guest.emulator} <= set(asked.files)


def test_what_is_no_definition_is_refused() -> None:
    with pytest.raises(MigrationError) as caught:
        read("<domain>")
    assert caught.value.code == "NF-MIG-300"


def test_devices_that_hold_a_vm_to_its_host() -> None:
    lun = '<disk type="block" device="lun"><source dev="/dev/sda"/><target dev="sda"/></disk>'
    vdpa = '<interface type="vdpa"><mac address="52:54:00:00:00:01"/><source dev="/dev/vhost"/></interface>'
    passed = '<tpm model="tpm-tis"><backend type="passthrough"/></tpm>'
    guest = read(xml(lun + vdpa + passed))
    assert len(guest.tied) == 3
    assert guest.tpm == ""


def test_variables_of_a_firmware_libvirt_chose_are_where_it_puts_them() -> None:
    definition = xml().replace("<os>", '<os firmware="efi">')
    assert read(definition).nvram == "/var/lib/libvirt/qemu/nvram/lab-db_VARS.fd"


@pytest.mark.parametrize(
    ("text", "size"), [('unit="GiB">2', 2 << 30), (">1024", 1 << 20), ('unit="MB">3', 3_000_000), (">much", 0)]
)
def test_memory_in_every_unit(text: str, size: int) -> None:
    definition = xml().replace('<memory unit="MiB">512', f"<memory {text}" if text[0] != ">" else f"<memory{text}")
    assert read(definition).memory == size


async def test_only_what_is_written_here_and_read_there_is_shared(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    own.mkdir()
    own.chmod(0o500)
    source, destination = ends("kvm1", "kvm2")
    found = await proven(source, destination, [str(own), str(shared), "/nowhere"])
    assert await proven(source, destination, []) == frozenset()
    expected = {str(shared)} | ({str(own)} if os.geteuid() == 0 else set())
    assert found == expected
    assert list(shared.iterdir()) == []


async def test_a_move_is_kept_beside_its_manifest_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novafleet.capability.migration.keep.FOLDER", str(tmp_path))
    move = dossier(consent=frozenset(("snapshots",))).move
    (end,) = ends("kvm2")
    assert await kept(end, move.job) is None
    await keep(end, move)
    found = await kept(end, move.job)
    (tmp_path / move.job / "move.json").write_text('{"job": 5}')
    assert await kept(end, move.job) is None
    assert found == move
    assert (tmp_path / move.job).stat().st_mode & 0o077 == 0
    assert move_of(encode(move)) == move


CUSTOM = "<cpu mode='custom' match='exact'><model>Nehalem</model><feature policy='require' name='{}'/></cpu>"


async def test_a_cpu_the_destination_lacks_is_told() -> None:
    source, destination = ends("kvm1", "kvm2")
    facts = {name: HostFacts(name, 0.0) for name in ("kvm1", "kvm2")}
    await source.hypervisor.define_domain(xml("", CUSTOM.format("avx512f")))
    asked = ((source, destination), facts, "lab-db", Wanted(), Surveys())
    seen = await look(*asked, job="0a1b2c3d", vm="db", environment="lab")
    assert "avx512f" in seen.boot_cpu


class Asked(FakeHypervisor):
    """Knows machine types, and which one it was asked about; libvirt refuses one it does not know."""

    machine = ""

    async def capabilities(self) -> str:
        types = "".join(f"<machine>{each}</machine>" for each in ("q35", "pc-q35-7.2"))
        return (await super().capabilities()).replace("</arch>", f"{types}</arch>")

    async def compare_cpu(
        self, cpu: str, *, emulator: str = "", arch: str = "", machine: str = "", kind: str = ""
    ) -> str:
        self.machine = machine
        return await super().compare_cpu(cpu, emulator=emulator, arch=arch, machine=machine, kind=kind)


@pytest.mark.parametrize(
    ("had", "asked"), [("pc-q35-7.2", "pc-q35-7.2"), ("pc-q35-10.0", "q35"), ("pc-i440fx-10.0", "")]
)
async def test_a_cpu_is_compared_for_a_machine_type_the_destination_knows(had: str, asked: str) -> None:
    source, destination = ends("kvm1", "kvm2")
    there = Asked("kvm2")
    facts = {name: HostFacts(name, 0.0) for name in ("kvm1", "kvm2")}
    await source.hypervisor.define_domain(xml("", CUSTOM.format("sse2")).replace("pc-q35-7.2", had))
    both = (source, LocalEnd(destination.host, destination.session, there))
    await look(both, facts, "lab-db", Wanted(), Surveys(), job="0a1b2c3d", vm="db", environment="lab")
    assert there.machine == asked


async def test_a_vm_is_looked_at_on_both_hosts() -> None:
    source, destination = ends("kvm1", "kvm2")
    facts = {name: HostFacts(name, 0.0, memory_available=1 << 30) for name in ("kvm1", "kvm2")}
    fake = source.hypervisor
    await fake.define_domain(xml(DISKS + NIC.replace('network"', 'bridge"').replace("network=", "bridge=")))
    await fake.start_domain("lab-db")
    asked = ((source, destination), facts, "lab-db", Wanted(), Surveys())
    seen = await look(*asked, job="0a1b2c3d", vm="db", environment="lab")
    assert (seen.running, seen.busy, seen.boot_cpu) == (True, "", "")
    assert seen.source.uuid != seen.destination.uuid
    assert seen.destination.memory_available == 1 << 30
    assert set(seen.source.chains) == {ROOT, DATA, SEED}
