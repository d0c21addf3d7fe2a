"""How each disk is read, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.capability.backup.image import IN_ORDER, Image, Layer, read
from novafleet.capability.backup.names import checkpoint_name, transient
from novafleet.capability.backup.plan import plan, without
from novafleet.capability.backup.xml import GuestDisk
from novafleet.model.backup import Consistency, CopyMode, DiskCopy, Snapshot
from novafleet.model.snapshot import Checkpoint
from novafleet.nbd.pulljob import checkpoint_xml

MARK = "nf-1-a"
PATH = "/pool/a.qcow2"
SIZE = 100
DISK = GuestDisk("vda", "root", "file", "qcow2", PATH)
LAYER = Layer(PATH, "qcow2", SIZE, 40, {MARK: IN_ORDER}, version=3)
IMAGE = Image((LAYER,))
COPY = DiskCopy("root", "vda", SIZE, "r", path=PATH, checkpoint=MARK)
KNOWN = (Checkpoint(MARK, "", 0, checkpoint_xml(MARK, ["vda"], ["vdb"])),)
PARENT = Snapshot("s1", "vm", "vm", "u", "h", 0.0, Consistency.CRASH, {"root": COPY})


def _plan(
    disk: GuestDisk = DISK,
    image: Image = IMAGE,
    copy: DiskCopy | None = COPY,
    known: tuple[Checkpoint, ...] = KNOWN,
    *,
    running: bool = True,
    full: bool = False,
) -> tuple[CopyMode, str, str]:
    parent = replace(PARENT, disks={copy.name: copy} if copy else {})
    [found] = plan([disk], {"vda": image}, parent, known, running=running, full=full)
    return found.mode, found.since, found.why


def _layers(*layers: Layer) -> Image:
    return Image(layers)


ONLINE = [
    ("as before", {}, CopyMode.INCREMENTAL, "changes since"),
    ("grown", {"image": _layers(replace(LAYER, size=200))}, CopyMode.INCREMENTAL, "grew from 100 to 200"),
    ("shrunk", {"image": _layers(replace(LAYER, size=50))}, CopyMode.HASH_INCREMENTAL, "shrank"),
    ("asked to", {"full": True}, CopyMode.FULL, "--full"),
    ("new disk", {"copy": None}, CopyMode.HASH_INCREMENTAL, "not part of the last backup"),
    ("another image", {"copy": replace(COPY, path="/pool/b")}, CopyMode.HASH_INCREMENTAL, "another image"),
    ("an overlay on it", {"disk": replace(DISK, path="/o", chain=(PATH,))}, CopyMode.INCREMENTAL, "changes since"),
    ("no bitmap then", {"copy": replace(COPY, checkpoint="")}, CopyMode.HASH_INCREMENTAL, "left no bitmap"),
    (
        "raw",
        {"disk": replace(DISK, format="raw"), "image": _layers(replace(LAYER, format="raw"))},
        CopyMode.HASH_INCREMENTAL,
        "raw images record no changes",
    ),
    ("old qcow2", {"image": _layers(replace(LAYER, version=2))}, CopyMode.HASH_INCREMENTAL, "of version 2 record no"),
    ("forgotten", {"known": ()}, CopyMode.HASH_INCREMENTAL, "does not know"),
    (
        "not covered",
        {"known": (replace(KNOWN[0], xml=checkpoint_xml(MARK, ["vdb"], ["vda"])),)},
        CopyMode.HASH_INCREMENTAL,
        "does not cover vda",
    ),
]
TORN = frozenset({"auto", "in-use"})
OFFLINE = [
    ("as before", {}, True, "changes since"),
    ("no bitmap", {"image": _layers(replace(LAYER, bitmaps={}))}, False, "has no bitmap"),
    ("torn", {"image": _layers(replace(LAYER, bitmaps={MARK: TORN}))}, False, "not closed cleanly (auto, in-use)"),
    ("disabled", {"image": _layers(replace(LAYER, bitmaps={MARK: frozenset()}))}, False, "not closed cleanly"),
    ("an overlay", {"disk": replace(DISK, path="/o", chain=(PATH,))}, False, "another image"),
    (
        "only below",
        {"image": _layers(replace(LAYER, bitmaps={}), replace(LAYER, path="/base"))},
        False,
        "has no bitmap",
    ),
    ("in two images", {"image": _layers(LAYER, replace(LAYER, path="/base"))}, False, "spread over several"),
]


@pytest.mark.parametrize(("case", "differs", "mode", "why"), ONLINE, ids=[case[0] for case in ONLINE])
def test_running(case: str, differs: dict[str, object], mode: CopyMode, why: str) -> None:
    found = _plan(**differs)  # type: ignore[arg-type]
    assert found[0] is mode, case
    assert found[1] == (MARK if mode is CopyMode.INCREMENTAL else "")
    assert why in found[2]


@pytest.mark.parametrize(("case", "differs", "believed", "why"), OFFLINE, ids=[case[0] for case in OFFLINE])
def test_off(case: str, differs: dict[str, object], believed: bool, why: str) -> None:
    found = _plan(running=False, **differs)  # type: ignore[arg-type]
    assert (found[0], found[1]) == (CopyMode.OFFLINE, MARK if believed else ""), case
    assert why in found[2]


def test_the_first_backup_is_full() -> None:
    [found] = plan([DISK], {"vda": IMAGE}, None, (), running=True, full=False)
    assert (found.mode, found.why, found.parent) == (CopyMode.FULL, "first backup of this VM", None)


def test_one_broken_bitmap_costs_one_disk() -> None:
    other = replace(DISK, target="vdb", name="data")
    parent = replace(PARENT, disks={"root": COPY, "data": replace(COPY, name="data", target="vdb")})
    known = (replace(KNOWN[0], xml=checkpoint_xml(MARK, ["vda", "vdb"], [])),)
    plans = plan([DISK, other], {"vda": IMAGE, "vdb": IMAGE}, parent, known, running=True, full=False)
    first, second = without(plans, {"vda": "broken"})
    assert (first.mode, first.why, first.since) == (CopyMode.HASH_INCREMENTAL, "broken", "")
    assert second.mode is CopyMode.INCREMENTAL
    assert first.parent is not None


def test_what_the_host_says() -> None:
    said = """@@ home /q/domain-1-a
@@ disk vda 0 10 20
[{"filename": "/a", "format": "qcow2", "virtual-size": 5, "actual-size": 3, "format-specific":
  {"data": {"compat": "1.1", "bitmaps": [{"name": "b", "flags": ["auto"], "granularity": 1}]}}}]
@@ disk vdb 1 10 20
qemu-img: Could not open
@@ disk vdc 0 0 0
[]
@@ disk vdd 0 0 0
[{"nonsense": 1}]
"""
    seen = read(said, "@@")
    assert seen.home == "/q/domain-1-a"
    assert seen.images["vda"] == Image((Layer("/a", "qcow2", 5, 3, {"b": IN_ORDER}, 3),), 10, 20)
    assert seen.images["vdb"].error == "qemu-img: Could not open"
    assert seen.images["vdc"] == Image()
    assert "nonsense" in seen.images["vdd"].error


def test_names() -> None:
    first, second = checkpoint_name("0123456789ab", 1.0), checkpoint_name("0123456789ab", 2.0)
    assert first.startswith("nf-01234567-")
    assert first < second
    assert transient("u", ("sh", "-c", "echo $x"))[-1] == "echo $$x"
