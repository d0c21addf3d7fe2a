"""Notes, XML, moves and retention: what needs no host."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.capability.snapshot import note, xml
from novafleet.capability.snapshot.arrive import closed
from novafleet.capability.snapshot.images import Family, Image, Move, next_move
from novafleet.capability.snapshot.look import Survey, Taken
from novafleet.capability.snapshot.note import Note
from novafleet.capability.snapshot.plan import nearest, plan_creation, plan_return
from novafleet.capability.snapshot.retention import expired
from novafleet.capability.snapshot.xml import Disk
from novafleet.errors import SnapshotError, SpaceError
from novafleet.model.facts import Domain
from novafleet.model.policy import Keep
from novafleet.model.snapshot import DomainSnapshot
from novafleet.plan.firmware import NVRAM, TPM_STATE

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
BASE, ONE, TWO = "/p/d.qcow2", "/p/d.qcow2.nf-00000001", "/p/d.qcow2.nf-00000002"
DOMAIN = f"""<domain><name>db</name><uuid>u</uuid><memory unit="KiB">131072</memory><os><nvram>/n/db.fd</nvram></os>
<devices><disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="{BASE}" index="1"/>
<backingStore type="file"><source file="/p/old"/><backingStore/></backingStore><target dev="vda"/>
<alias name="ua-disk-root"/></disk>
<disk type="file" device="disk"><source file="/p/seed.iso"/><target dev="vdb"/><readonly/></disk>
<disk type="file" device="cdrom"><target dev="sda"/></disk><tpm><backend type="emulator"/></tpm></devices></domain>"""


@settings(max_examples=60)
@given(
    st.builds(
        Note,
        text=TEXT.map(str.strip),
        mode=st.sampled_from(("crash", "fs", "live", "offline")),
        why=TEXT,
        tags=st.lists(TEXT, max_size=3).map(tuple),
        expires=st.floats(0, 1e10, allow_nan=False),
        hold=st.booleans(),
        copies=st.dictionaries(TEXT, TEXT, max_size=2),
        images=st.dictionaries(TEXT, TEXT, max_size=2),
    )
)
def test_a_note_is_read_as_it_was_written(made: Note) -> None:
    assert note.read(note.write(made)) == made


@pytest.mark.parametrize("text", ["", "by hand", "novafleet: {", "novafleet: []", "a\nnovafleet: 3"])
def test_what_others_wrote_is_no_note(text: str) -> None:
    assert note.read(text) is None


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1" + "0" * 400, '"soon"'])
def test_a_time_that_is_none_is_no_time(number: str) -> None:
    read = note.read(f'novafleet: {{"mode": "fs", "expires": {number}}}')
    assert read is not None
    assert read.expires == 0.0


@settings(max_examples=60)
@given(TEXT)
def test_a_spoilt_note_does_no_harm(text: str) -> None:
    note.read(f"x\nnovafleet: {text}")
    assert note.read('novafleet: {"tags": 1, "expires": "never", "images": []}') == Note()


def test_only_disks_a_guest_writes_to_count() -> None:
    assert xml.disks(ElementTree.fromstring(DOMAIN)) == (Disk("vda", "root", "file", BASE, "raw", ("/p/old",)),)


@pytest.mark.parametrize(
    ("system", "wanted"),
    [
        ("<os/>", ()),
        ("<os firmware='efi'/>", (f"{NVRAM}/db_VARS.fd",)),
        ("<os firmware='efi'><nvram>/n/x.fd</nvram></os>", ("/n/x.fd",)),
        ("<os firmware='efi'><nvram type='file'><source file='/n/y.fd'/></nvram></os>", ("/n/y.fd",)),
    ],
)
def test_uefi_variables_are_found_where_libvirt_puts_them(system: str, wanted: tuple[str, ...]) -> None:
    assert xml.extras(ElementTree.fromstring(f"<domain><name>db</name>{system}</domain>")) == wanted


def test_a_definition_moves_to_other_images_and_forgets_what_lay_under_the_old() -> None:
    moved = xml.on_images(ElementTree.fromstring(DOMAIN), {"vda": (ONE, "qcow2")})
    assert xml.disks(moved) == (Disk("vda", "root", "file", ONE, "qcow2"),)
    assert "index" not in ElementTree.tostring(moved, encoding="unicode")


def test_a_snapshot_names_its_overlays_and_nothing_else() -> None:
    tree = xml.snapshot("a", "why & when", {"vda": ONE}, ("vdb",), "")
    assert xml.kind(tree) == "external"
    assert [(each.get("name"), each.get("snapshot")) for each in tree.iterfind("disks/disk")] == [
        ("vda", "external"),
        ("vdb", "no"),
    ]
    record = xml.record(tree, ElementTree.fromstring(DOMAIN), "p", 7)
    assert (record.findtext("parent/name"), record.findtext("creationTime")) == ("p", "7")
    assert xml.contents(record)["vda"].path == BASE
    assert xml.contents(xml.recorded_on(record, {"vda": (TWO, "qcow2")}))["vda"].path == TWO


def family(*images: Image, active: str, pinned: tuple[str, ...] = (), running: tuple[str, ...] = ()) -> Family:
    return Family("vda", {each.path: each for each in images}, active, running, pinned)


STEM = Image(BASE, format="raw")
FIRST, SECOND = Image(ONE, BASE), Image(TWO, ONE)
MOVES = {
    "nothing of ours": (family(STEM, active=BASE), None),
    "the snapshot needs its image": (family(STEM, FIRST, active=ONE, pinned=(BASE,)), None),
    "the last one went, off": (family(STEM, FIRST, active=ONE), ("fold", ONE, BASE, "")),
    "the last one went, running": (
        family(STEM, FIRST, active=ONE, running=(ONE, BASE)),
        ("pivot", ONE, BASE, ""),
    ),
    "the first of two went, running": (
        family(STEM, FIRST, SECOND, active=TWO, pinned=(ONE,), running=(TWO, ONE, BASE)),
        ("commit", ONE, BASE, TWO),
    ),
    "the second of two went": (family(STEM, FIRST, SECOND, active=TWO, pinned=(BASE,)), ("fold", TWO, ONE, "")),
    "a branch nobody needs": (
        family(STEM, FIRST, Image(TWO, BASE), active=TWO, pinned=(BASE,)),
        ("delete", ONE, "", ""),
    ),
    "two branches share a base": (family(STEM, FIRST, Image(TWO, BASE), active=TWO, pinned=(ONE,)), None),
    "an image with snapshots inside": (
        family(STEM, Image(ONE, BASE, internal=("x",)), active=ONE),
        None,
    ),
    "merged, to be settled": (
        family(STEM, Image(ONE, BASE, merge="done"), SECOND, active=TWO, pinned=(ONE,)),
        ("settle", ONE, BASE, ""),
    ),
    "committed by QEMU, unmarked": (
        family(STEM, Image(ONE, BASE, merge=f"begun {TWO}"), Image(TWO, BASE), active=TWO, pinned=(ONE,)),
        ("settle", ONE, BASE, ""),
    ),
    "begun and cut off": (
        family(STEM, Image(ONE, BASE, merge=f"begun {TWO}"), SECOND, active=TWO, pinned=(ONE,)),
        ("fold", ONE, BASE, ""),
    ),
    "the base belongs to others": (family(Image(ONE, "/p/golden.qcow2"), active=ONE), None),
    "another disk's image below": (
        family(Image("/p/e.qcow2"), Image(ONE, "/p/e.qcow2"), active=ONE),
        None,
    ),
}


@pytest.mark.parametrize("case", MOVES)
def test_the_next_move(case: str) -> None:
    given_family, wanted = MOVES[case]
    found = next_move(given_family)
    assert (found and (found.kind, found.image, found.into, found.above)) == wanted


def taken(name: str, at: int, known: Note | None, path: str = BASE) -> Taken:
    fact = DomainSnapshot(name, "", "shutoff", at, "<domainsnapshot/>")
    return Taken(fact, "external", {"vda": Disk("vda", "root", "file", path, "raw")}, known)


def survey(*snapshots: Taken, free: int = 1 << 40, kind: str = "file") -> Survey:
    path = BASE if kind == "file" else ""
    return Survey(
        Domain("db", "u", "shutoff", DOMAIN),
        {"vda": Disk("vda", "root", kind, path, "raw")},
        snapshots,
        {BASE: STEM, ONE: FIRST},
        free={"/p": free},
        extras=xml.extras(ElementTree.fromstring(DOMAIN)),
    )


def test_a_creation_lays_an_overlay_over_each_disk_and_copies_the_variables() -> None:
    made = plan_creation(survey(), "a", "crash", "0000000a")
    assert dict(made.overlays) == {"vda": f"{BASE}.nf-0000000a"}
    assert dict(made.under) == {"vda": (BASE, "raw")}
    kept = {"/n/db.fd": "/n/db.fd.nf-0000000a", f"{TPM_STATE}/u": f"{TPM_STATE}/u.nf-0000000a"}
    assert (made.copies, made.memory) == (kept, "")


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (survey(taken("a", 1, None)), "NF-SNAP-003"),
        (survey(kind="block"), "NF-SNAP-004"),
        (survey(free=1 << 20), "NF-SNAP-007"),
    ],
)
def test_what_cannot_be_made_is_refused(seen: Survey, code: str) -> None:
    with pytest.raises((SnapshotError, SpaceError)) as caught:
        plan_creation(seen, "a", "crash", "0000000a")
    assert caught.value.code == code


DRIVES = """<domain><name>db</name><devices>
<disk type="file" device="disk"><source file="/p/d.qcow2"/><target dev="vda"/>{}</disk>
<disk type="file" device="disk"><source file="/p/quorum"/><target dev="vdb"/><shareable/></disk>
<disk type="file" device="cdrom"><target dev="sda"/></disk>{}</devices></domain>"""
LUN = '<disk type="block" device="lun"><source dev="/dev/sdb"/><target dev="sdc"/></disk>'
SECRET = '<encryption format="luks"/>'


def looked(secret: str = "", more: str = "") -> Survey:
    tree = ElementTree.fromstring(DRIVES.format(secret, more))
    drives = {each.target: each for each in xml.disks(tree)}
    return Survey(Domain("db", "u", "running", ""), drives, (), others=xml.others(tree))


def test_libvirt_is_told_which_drives_to_leave_alone() -> None:
    made = plan_creation(looked(), "a", "crash", "0000000a")
    for asked in (
        xml.snapshot("a", "", made.overlays, made.others, ""),
        xml.internal("a", "", made.overlays, made.others),
    ):
        listed = {each.get("name"): each.get("snapshot") for each in asked.iterfind("disks/disk")}
        assert listed.pop("vda") in ("internal", "external")
        assert listed == {"vdb": "no", "sda": "no"}


@pytest.mark.parametrize("seen", [looked(SECRET), looked(more=LUN)], ids=["encrypted", "lun"])
def test_disks_no_overlay_can_stand_for(seen: Survey) -> None:
    with pytest.raises(SnapshotError) as caught:
        plan_creation(seen, "a", "crash", "0000000a")
    assert caught.value.code == "NF-SNAP-004"


def test_going_back_needs_the_images() -> None:
    back = plan_return(survey(), taken("a", 1, None), "0000000b")
    assert dict(back.under) == {"vda": (BASE, "raw")}
    with pytest.raises(SnapshotError, match="no snapshot nigthly"):
        nearest(survey(taken("nightly", 1, None)), "nigthly")


@pytest.mark.parametrize(
    ("seen", "aim", "cause"),
    [
        (survey(), taken("a", 1, None, TWO), f"{TWO} is missing"),
        (survey(), taken("a", 1, None, "/p/gone"), "was on /p/gone then, where the VM has no disk now"),
        (survey(), replace(taken("a", 1, None), contents={}), "it holds no disk"),
        (replace(survey(), domain=replace(survey().domain, persistent=False)), taken("a", 1, None), "transient"),
    ],
    ids=["missing", "detached", "memory-only", "transient"],
)
def test_what_cannot_be_gone_back_to_is_refused_with_the_reason(seen: Survey, aim: Taken, cause: str) -> None:
    with pytest.raises(SnapshotError, match="cannot be gone back to") as caught:
        plan_return(seen, aim, "0000000b")
    assert caught.value.code == "NF-SNAP-009"
    assert cause in caught.value.cause


def test_a_guest_that_panicked_and_is_preserved_has_its_disks_open() -> None:
    crashed = replace(survey(), domain=replace(survey().domain, state="crashed"))
    assert not crashed.off
    assert crashed.families()[0].running, "QEMU merges what it has open, nobody else"


NOW = 1_000_000.0
HELD = (
    taken("old", 1, Note(expires=NOW - 1)),
    taken("held", 2, Note(expires=NOW - 1, hold=True)),
    taken("foreign", 3, None),
    taken("young", 4, Note(expires=NOW + 1)),
    taken("plain", 5, Note()),
)


@pytest.mark.parametrize(
    ("keep", "gone"),
    [(Keep(), ["old"]), (Keep(last=1), ["old", "young"]), (Keep(last=2), ["old"])],
)
def test_prune_takes_what_is_late_or_not_kept_and_only_our_own(keep: Keep, gone: list[str]) -> None:
    assert expired(survey(*HELD), keep, NOW) == gone


def test_a_move_knows_its_bytes() -> None:
    assert next_move(family(STEM, Image(ONE, BASE, allocated=5), active=ONE)) == Move("fold", "vda", ONE, BASE, "", 5)


def test_a_definition_out_of_an_archive_reaches_nothing_else_of_a_host() -> None:
    told = closed(
        """<domain xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"><name>x</name><devices>
        <disk type="file" device="disk"><source file="/i/a"/><target dev="vda"/></disk>
        <disk type="block" device="disk"><source dev="/dev/sda"/><target dev="vdb"/></disk>
        <disk type="file" device="cdrom"><source file="/etc/shadow"/><target dev="sda"/></disk>
        <disk type="file" device="cdrom"><target dev="sdb"/></disk>
        <filesystem type="mount"><source dir="/"/><target dir="all"/></filesystem>
        <hostdev mode="subsystem" type="pci"/><shmem name="s"/>
        <interface type="ethernet"><script path="/tmp/evil"/></interface></devices>
        <qemu:commandline><qemu:arg value="-drive"/></qemu:commandline></domain>""",
        frozenset({"vda"}),
    )
    left = ElementTree.fromstring(told.xml)
    assert [each.get("dev") for each in left.iterfind("devices/disk/target")] == ["vda", "sda", "sdb"]
    assert [each.get("file") for each in left.iterfind("devices/disk/source")] == ["/i/a"]
    assert {each.tag for each in left} == {"name", "devices"}
    assert [each.tag for each in left.iterfind("devices/*")] == ["disk", "disk", "disk", "interface"]
    assert left.find("devices/interface/script") is None
    assert len(told.notes) == 7
