"""What is decided of a VM between two hosts: the move, the findings each with its fix, and the refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from novafleet.capability.migration.decide import refuse
from novafleet.capability.migration.known_bad import entries, number, shown
from novafleet.capability.migration.observed import Image, Observed, Seen
from novafleet.errors import MigrationError, Retry
from novafleet.model.facts import Domain, PoolFact
from novafleet.model.migration import Mode, Path, Phase, Severity
from novafleet.model.snapshot import Checkpoint, DomainSnapshot
from novafleet.plan import moving
from novafleet.plan.moving import Moving
from tests.unit.migration.dossiers import (
    BASE,
    CPU,
    DATA,
    DIGEST,
    DISKS,
    EMULATOR,
    GIB,
    LEASE,
    MIB,
    NETWORK,
    NIC,
    POOL,
    ROOT,
    SEED,
    UUID,
    codes,
    dossier,
    here,
    network,
    observed,
    there,
    xml,
)

RUNNING = (Mode.LIVE, Mode.POSTCOPY)
ALL = (Mode.LIVE, Mode.POSTCOPY, Mode.WARM, Mode.COLD)


def test_a_vm_nothing_stands_in_the_way_of() -> None:
    found = dossier()
    assert codes(found) == []
    assert found.move.ladder == ALL
    assert (found.move.source, found.move.destination, found.move.path) == ("kvm1", "kvm2", Path.RELAY)
    assert [(disk.target, disk.path, disk.allocated, disk.backing) for disk in found.move.disks] == [
        ("vda", ROOT, 100 * MIB, BASE),
        ("vdb", DATA, 300 * MIB, ""),
        ("vdz", SEED, 57344, ""),
    ]
    assert [(each.kind, each.source, each.present, each.sha256) for each in found.move.files] == [
        ("image", BASE, False, DIGEST)
    ]
    assert {name: [" ".join(each.split()) for each in hosts] for name, hosts in found.move.leases.items()} == {
        "lan": ['<host mac="52:54:00:aa:bb:cc" name="db" ip="10.9.0.10" />']
    }
    assert found.move.autostart
    refuse(found)


def test_a_base_image_with_the_same_digest_is_not_brought() -> None:
    seen = there(observed(), files={EMULATOR: Seen(1), BASE: Seen(800 * MIB, DIGEST)})
    [image] = dossier(seen).move.files
    assert image.present
    assert dossier(seen).verdicts[3].bytes == 400 * MIB + 57344


def test_an_image_of_that_name_with_another_digest_is_not_stood_on() -> None:
    seen = there(observed(), files={EMULATOR: Seen(1), BASE: Seen(7, "cd" * 32)})
    [root, *_] = dossier(seen).move.disks
    assert (root.backing, root.allocated) == ("", 900 * MIB)
    assert dossier(seen).move.files == ()


def test_what_is_under_snapshots_is_brought_with_them() -> None:
    overlay = f"{ROOT}.nf-0a1b2c3d"
    chain = (Image(overlay, "qcow2", 2 * GIB, 9 * MIB, ROOT), *observed().source.chains[ROOT])
    definition = xml(DISKS.replace(f'"{ROOT}"', f'"{overlay}"') + NIC)
    seen = observed(definition, snapshots=(DomainSnapshot("one", "", "running", 5, "<domainsnapshot/>"),))
    seen = here(seen, chains={**seen.source.chains, overlay: chain}, files={**seen.source.files, overlay: Seen(9)})
    found = dossier(seen)
    assert codes(found) == []
    assert found.move.disks[0].backing == ROOT
    assert [(each.kind, each.path) for each in found.move.files] == [("layer", ROOT), ("image", BASE)]
    assert found.move.snapshots == ("<domainsnapshot/>",)


def test_shared_storage_is_believed_by_proof_and_inode_only() -> None:
    same = {ROOT: Seen(1, inode=1), DATA: Seen(1, inode=99), SEED: Seen(1, inode=3), BASE: Seen(1, DIGEST, 4)}
    seen = there(observed(), files={EMULATOR: Seen(1), **same})
    assert [disk.shared for disk in dossier(seen).move.disks] == [False, False, False]
    proven = replace(seen, shared=frozenset((POOL,)))
    assert [disk.shared for disk in dossier(proven).move.disks] == [True, False, True]
    assert codes(dossier(proven)) == ["NF-MIG-323"]


def test_a_read_only_disk_with_the_same_content_stays_where_it_is() -> None:
    seen = there(observed(), files={EMULATOR: Seen(1), SEED: Seen(57344, "5e" * 32, 77)})
    found = dossier(seen)
    assert codes(found) == []
    assert found.move.disks[2].shared


def test_another_pool_takes_the_disks_and_leaves_base_images_where_they_belong() -> None:
    pools = {**observed().destination.pools, "fast": PoolFact("fast", True, "/srv/fast", GIB, GIB)}
    seen = there(observed(), pools=pools, room={POOL: 50 * GIB, "/srv/fast": 50 * GIB})
    found = dossier(seen, pool="fast")
    assert found.move.disks[0].path == "/srv/fast/lab.db.root.qcow2"
    assert found.move.disks[0].backing == BASE


@dataclass(frozen=True)
class Case:
    """Something wrong, the code that says so, and the modes it refuses (none named: all)."""

    name: str
    code: str
    seen: Observed
    modes: tuple[Mode, ...] = ()
    wanted: dict[str, Any] = field(default_factory=dict)
    says: str = ""


def _domain(**changed: Any) -> Callable[[Observed], Domain]:
    return lambda seen: replace(seen.domain, **changed)


def with_domain(**changed: Any) -> Observed:
    seen = observed()
    return replace(seen, domain=replace(seen.domain, **changed))


def _unfinished() -> Observed:
    note = moving.text(Moving("ffffffff", Phase.COPYING, Mode.LIVE, "kvm1", "kvm3"))
    return with_domain(xml=xml(head=f"<metadata>{note}</metadata>"))


def _other(name: str, uuid: str) -> Observed:
    return there(observed(), domains={name: Domain(name, uuid, "shutoff", "<domain/>")})


def _overlaps(entry: str = "", text: str = NETWORK) -> Observed:
    return there(observed(), networks={"lan": network(entry, text=text)})


def _chain(path: str, *chain: Image) -> Observed:
    seen = observed()
    return here(seen, chains={**seen.source.chains, path: chain})


FLATTENED = (Image(DATA, "qcow2", GIB, 9, f"{POOL}/golden.qcow2"), Image(f"{POOL}/golden.qcow2", "qcow2", GIB, 9))
INSIDE = Image(DATA, "qcow2", GIB, 9, internal=("before",))
SNAPSHOT = (DomainSnapshot("one", "", "running", 5, "<domainsnapshot/>"),)
BRIDGE = '<interface type="bridge"><mac address="52:54:00:aa:bb:cc"/><source bridge="br9"/></interface>'
HOSTDEV = '<hostdev mode="subsystem" type="pci"><source><address bus="1"/></source></hostdev>'
VIRTIOFS = '<filesystem type="mount"><driver type="virtiofs"/><source dir="/srv"/><target dir="srv"/></filesystem>'
BLOCK = '<disk type="block" device="disk"><source dev="/dev/vg/db"/><target dev="vda"/></disk>'
PASSTHROUGH = '<cpu mode="host-passthrough"/>'
EFI = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>"
TPM = '<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm>'
BRIDGED = """<network><name>lan</name><forward mode="bridge"/><bridge name="br9"/></network>"""

REFUSED = [
    Case("a backup runs", "NF-MIG-303", observed(busy="a backup"), says="a backup"),
    Case("an earlier migration did not end", "NF-MIG-304", _unfinished(), says="ffffffff"),
    Case("the name is taken", "NF-MIG-305", _other("lab-db", "another"), says="name"),
    Case("the UUID is taken", "NF-MIG-305", _other("renamed", UUID), says="UUID"),
    Case("both hosts are the same one", "NF-MIG-306", there(observed(), uuid="uuid-of-kvm1"), RUNNING),
    Case("no data path", "NF-MIG-307", observed(paths={"relay": "refused", "tunnel": "no sshd"}, path=""), RUNNING),
    Case("transient", "NF-MIG-308", with_domain(persistent=False)),
    Case("in-shutdown", "NF-MIG-309", with_domain(state="in-shutdown")),
    Case("paused by an I/O error", "NF-MIG-309", with_domain(state="paused", reason="ioerror"), says="ioerror"),
    Case("a CPU that cannot go on", "NF-MIG-310", observed(cpu="lacks amx-tile"), RUNNING, says="amx-tile"),
    Case("a CPU that cannot start", "NF-MIG-310", observed(boot_cpu="lacks amx-tile"), says="amx-tile"),
    Case(
        "host-passthrough on a lesser CPU",
        "NF-MIG-310",
        there(observed(xml(cpu=PASSTHROUGH)), cpu_flags=frozenset(("sse2",))),
        RUNNING,
        says="avx",
    ),
    Case("an unknown machine type", "NF-MIG-311", there(observed(), machines=frozenset(("pc-q35-6.2",))), says="6.2"),
    Case(
        "a machine type of a newer QEMU",
        "NF-MIG-311",
        there(observed(), machines=frozenset(("q35", "pc-q35-6.2"))),
        RUNNING,
        says="6.2",
    ),
    Case("no KVM", "NF-MIG-312", there(observed(xml(kind="kvm")), kvm=False)),
    Case("no emulator", "NF-MIG-313", there(observed(), files={}), says=EMULATOR),
    Case("no firmware", "NF-MIG-313", observed(xml(system=EFI)), says="OVMF_CODE.fd"),
    Case("no swtpm", "NF-MIG-314", there(observed(xml(DISKS + NIC + TPM)), swtpm=False)),
    Case("too little memory", "NF-MIG-315", there(observed(), memory_available=100 * MIB), says="512 MiB"),
    Case("no such pool", "NF-MIG-320", observed(), wanted={"pool": "fast"}, says="fast"),
    Case(
        "no such directory",
        "NF-MIG-320",
        there(observed(), pools={"default": PoolFact("default", True, "/srv/vm", 1, 1)}, room={}),
    ),
    Case("no space", "NF-MIG-321", there(observed(), room={POOL: 500 * MIB}), says="500 MiB free"),
    Case("a block device", "NF-MIG-322", observed(xml(BLOCK + NIC))),
    Case("an unreadable image", "NF-MIG-322", _chain(DATA, Image(DATA, "qcow2", error="not a qcow2 file"))),
    Case("a file in the way", "NF-MIG-323", there(observed(), files={EMULATOR: Seen(1), DATA: Seen(5)}), says=DATA),
    Case("snapshots inside an image", "NF-MIG-324", _chain(DATA, INSIDE), (Mode.LIVE, Mode.POSTCOPY, Mode.WARM)),
    Case("copied onto itself", "NF-MIG-326", observed(shared=frozenset((POOL,))), wanted={"copy_storage": True}),
    Case("nothing shared, not to be copied", "NF-MIG-326", observed(), wanted={"copy_storage": False}),
    Case("no network", "NF-MIG-330", there(observed(), networks={}), says="lan"),
    Case("no network of the name asked for", "NF-MIG-330", observed(), wanted={"networks": {"lan": "wan"}}, says="wan"),
    Case(
        "an inactive network", "NF-MIG-330", there(observed(), networks={"lan": network(active=False)}), says="active"
    ),
    Case("no bridge", "NF-MIG-331", observed(xml(DISKS + BRIDGE)), says="br9"),
    Case("a network whose bridge is missing", "NF-MIG-331", _overlaps(text=BRIDGED), says="br9"),
    Case("a host device", "NF-MIG-340", observed(xml(DISKS + NIC + HOSTDEV)), says="pci"),
    Case("a shared folder", "NF-MIG-341", observed(xml(DISKS + NIC + VIRTIOFS)), RUNNING, says="srv"),
    Case("a guest too busy for the link", "NF-MIG-344", observed(dirty_rate=90.0 * MIB), (Mode.LIVE,)),
    Case("off", "NF-MIG-345", observed(running=False), (Mode.LIVE, Mode.POSTCOPY, Mode.WARM)),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_is_refused_with_its_fix_before_anything_is_touched(case: Case) -> None:
    found = dossier(case.seen, **case.wanted)
    blockers = [each for each in found.findings if each.severity is Severity.BLOCKER]
    assert [each.code for each in blockers if each.code == case.code], [each.code for each in blockers]
    mine = next(each for each in blockers if each.code == case.code)
    assert mine.modes == case.modes
    assert case.says in mine.what + mine.fix
    assert mine.fix
    assert not set(found.move.ladder) & set(case.modes or ALL)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_nothing_else_is_found_wrong_with_it(case: Case) -> None:
    assert set(codes(dossier(case.seen, **case.wanted))) == {case.code}


def test_a_guest_that_boots_as_another_machine_is_told_of() -> None:
    found = dossier(there(observed(), machines=frozenset(("q35", "pc-q35-6.2"))))
    [warned] = [each for each in found.findings if (each.severity, each.code) == (Severity.WARNING, "NF-MIG-311")]
    assert warned.modes == (Mode.WARM, Mode.COLD)
    assert "newest q35" in warned.what


def test_a_refusal_is_an_error_with_every_fix() -> None:
    seen = there(observed(busy="a backup"), networks={})
    with pytest.raises(MigrationError) as caught:
        refuse(dossier(seen))
    error = caught.value
    assert (error.code, error.where, error.retry) == ("NF-MIG-303", "kvm1/lab-db", Retry.AFTER_FIX)
    assert "network lan" in error.cause
    assert len(error.hints) == 2


def test_what_passes_by_itself_can_be_tried_later() -> None:
    with pytest.raises(MigrationError) as caught:
        refuse(dossier(observed(busy="a backup")))
    assert caught.value.retry is Retry.LATER
    with pytest.raises(MigrationError) as caught:
        refuse(dossier(observed(busy="a backup", cpu="lacks amx-tile")))
    assert caught.value.retry is Retry.LATER


def test_a_mode_that_was_asked_for_is_refused_though_another_would_do() -> None:
    found = dossier(observed(cpu="lacks amx-tile"), mode=Mode.LIVE)
    with pytest.raises(MigrationError) as caught:
        refuse(found)
    assert caught.value.code == "NF-MIG-310"
    refuse(dossier(observed(cpu="lacks amx-tile"), mode=Mode.WARM))


def test_auto_falls_to_what_is_left() -> None:
    assert dossier(observed(cpu="lacks amx-tile")).move.ladder == (Mode.WARM, Mode.COLD)
    assert dossier(observed(running=False)).move.ladder == (Mode.COLD,)
    assert dossier(observed(dirty_rate=90.0 * MIB)).move.ladder == (Mode.POSTCOPY, Mode.WARM, Mode.COLD)


def test_snapshots_may_be_given_up() -> None:
    seen = replace(_chain(DATA, INSIDE), snapshots=SNAPSHOT)
    assert dossier(seen).move.ladder == (Mode.COLD,)
    found = dossier(seen, consent=frozenset(("snapshots",)))
    assert found.move.ladder == ALL
    assert "NF-MIG-324" in codes(found, "warning")


@pytest.mark.parametrize(
    ("code", "severity", "seen", "wanted"),
    [
        ("NF-MIG-315", "warning", observed(xml(head="<memoryBacking><hugepages/></memoryBacking>")), {}),
        ("NF-MIG-316", "warning", observed(), {}),
        ("NF-MIG-324", "warning", replace(_chain(DATA, *FLATTENED), snapshots=SNAPSHOT), {}),
        ("NF-MIG-325", "note", observed(checkpoints=(Checkpoint("one", "", 5, "<c/>"),)), {}),
        ("NF-MIG-332", "note", observed(), {}),
        ("NF-MIG-333", "warning", there(observed(), devices={"virbr7": 1400}), {}),
        ("NF-MIG-334", "warning", _overlaps(LEASE.replace("aa:bb:cc", "00:00:01")), {}),
        ("NF-MIG-334", "warning", _overlaps(text=NETWORK.replace("10.9.0.1", "10.8.0.1")), {}),
        ("NF-MIG-343", "note", observed(), {}),
        ("NF-MIG-354", "note", observed(), {"path": Path.TUNNEL}),
    ],
)
def test_what_is_worth_knowing_is_said_and_refuses_nothing(
    code: str, severity: str, seen: Observed, wanted: dict[str, Any]
) -> None:
    if code == "NF-MIG-324":
        seen = there(seen, files={EMULATOR: Seen(1), f"{POOL}/golden.qcow2": Seen(4, "ee" * 32)})
        wanted = {"consent": frozenset(("snapshots",))}
    found = dossier(seen, **wanted)
    assert code in codes(found, severity)
    assert found.move.ladder == ALL


def test_shared_disks_without_a_lock_manager_are_mentioned() -> None:
    same = {ROOT: Seen(1, inode=1), DATA: Seen(1, inode=2), SEED: Seen(1, inode=3), BASE: Seen(1, DIGEST, 4)}
    seen = there(observed(shared=frozenset((POOL,))), files={EMULATOR: Seen(1), **same})
    assert "NF-MIG-342" in codes(dossier(seen), "note")
    locked = there(here(seen, lock_manager="lockd"), lock_manager="lockd")
    assert "NF-MIG-342" not in codes(dossier(locked), "note")
    assert dossier(locked).protected


def test_known_bad_pairs_have_a_source_and_fit_their_versions() -> None:
    for entry in entries():
        assert entry["source"]
        assert number(entry["from"]) < number(entry["below"])
    assert shown(number("11.4.2")) == "11.4.2"
    old = there(observed(), versions=(9_000_000, 7_002_000))
    assert "NF-MIG-316" not in codes(dossier(old), "warning")
    crashing = there(observed(), versions=(11_004_000, 8_001_001))
    assert dossier(crashing).move.ladder == (Mode.LIVE, Mode.WARM, Mode.COLD)


@pytest.mark.parametrize(
    ("kind", "version", "warned"), [("qemu", "7.2.0", 1), ("qemu", "10.0.0", 0), ("kvm", "7.2.0", 0)]
)
def test_an_emulated_guest_that_leaves_an_old_qemu_is_warned_of(kind: str, version: str, warned: int) -> None:
    seen = here(there(observed(xml(kind=kind)), kvm=True), versions=(11_004_000, number(version)))
    found = [each for each in dossier(seen).findings if "without KVM" in each.what]
    assert len(found) == warned
    assert all((each.code, each.modes) == ("NF-MIG-316", (Mode.LIVE, Mode.POSTCOPY)) for each in found)


def test_host_model_on_qemu_10_is_warned_of() -> None:
    seen = observed(xml(cpu='<cpu mode="host-model"/>'))
    running = replace(seen, running_xml=xml(cpu=CPU))
    assert any("ht" in each.what for each in dossier(running).findings if each.code == "NF-MIG-316")
