"""Disks, files, room, snapshots and checkpoints. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from posixpath import dirname

from novafleet.capability.migration.build import MADE_LATER, Case, plain
from novafleet.capability.migration.findings import COPIES, blocker, note, warning
from novafleet.capability.migration.guest import read
from novafleet.capability.migration.observed import Image
from novafleet.model.migration import Finding, Mode
from novafleet.plan.storage import DEFAULT_PATH

HEADROOM = 1.02
"""Of what is copied: images grow a little while the guest writes."""
SNAPSHOTS = "snapshots"
"""Consent: the snapshots may be lost."""


def _readable(case: Case) -> Iterator[Finding]:
    kinds = {disk.target: disk.kind for disk in case.guest.disks}
    for disk in case.copied:
        chain = case.source.chains.get(disk.source, ())
        if kinds[disk.target] == "block" or disk.source.startswith("/dev/"):
            fix = "use --mode cold after converting it to a file: qemu-img convert"
            yield blocker("NF-MIG-322", f"disk {disk.target} is a device ({disk.source}), which is not copied", fix)
        elif chain and chain[0].error:
            fix = f"qemu-img check {disk.source}   # on {case.source.host}"
            yield blocker("NF-MIG-322", f"disk {disk.target} cannot be read: {chain[0].error}", fix)
    for drive in case.guest.disks:
        if drive.kind == "volume":
            what = f"disk {drive.target} is a volume of pool {drive.volume[0]}, which has no directory"
            yield blocker("NF-MIG-322", what, "move it to a directory pool first: virsh vol-clone")


def _copyable(case: Case) -> Iterator[Finding]:
    """Is a copy the same disk?"""
    drives = {disk.target: disk for disk in case.guest.disks if not disk.medium}
    for disk in case.copied:
        if drives[disk.target].shareable and not disk.readonly:
            what = (
                f"disk {disk.target} ({disk.source}) is shareable: other VMs write to it, and a copy would be another"
            )
            yield blocker("NF-MIG-322", what, "move it to storage that both hosts share")
        if drives[disk.target].encrypted:
            what = f"disk {disk.target} is encrypted: what a running guest's copy is written to would not be"
            yield blocker("NF-MIG-322", what, "use --mode cold", COPIES)
        for image, below in pairwise(case.source.chains.get(disk.source, ())):
            yield from _stands(disk.target, image, below)


def _stands(target: str, image: Image, below: Image) -> Iterator[Finding]:
    if not plain(below.path):
        what = f"disk {target} stands on {below.path}, which is no file"
        yield blocker("NF-MIG-322", what, "use --mode live or warm: it is made one image", (Mode.COLD,))
    elif image.untold:
        what = f"disk {target}: {image.path} does not say what format the image under it has"
        fix = f"qemu-img rebase -u -f qcow2 -b {below.path} -F {below.format} {image.path}   # with the VM off"
        yield blocker("NF-MIG-322", what, fix, (Mode.COLD,))


def _defined_only(case: Case) -> Iterator[Finding]:
    """A disk that comes with the next start is not seen in what runs."""
    running = {disk.target for disk in case.guest.disks}
    defined = read(case.observed.domain.xml).disks if case.observed.running else ()
    for disk in defined:
        if disk.target not in running and not disk.medium and (disk.path or any(disk.volume)):
            what = f"disk {disk.target} is in the definition only: it comes with the next start, and is not copied"
            fix = f"shut it down, then --mode cold; or: virsh detach-disk {case.word} {disk.target} --config"
            yield blocker("NF-MIG-322", what, fix)


def _gone(case: Case) -> Iterator[Finding]:
    """Files it names that neither host has: a medium that was deleted while it is in the drive, a kernel."""
    guest, there = case.guest, {*case.source.files, *case.destination.files}
    for disk in guest.disks:
        if disk.medium and disk.kind == "file" and plain(disk.path) and disk.path not in there:
            fix = (
                f"virsh change-media {case.word} {disk.target} --eject --config --force   # --live, too, while it runs"
            )
            modes = {"mandatory": (), "requisite": (Mode.WARM, Mode.COLD)}
            if disk.startup in modes:
                what = f"{disk.path}, which is in {disk.device} {disk.target}, is not there any more"
                yield blocker("NF-MIG-313", what, fix, modes[disk.startup])
    for path in (guest.kernel, guest.initrd, guest.dtb, *guest.tables):
        if path and path not in there:
            yield blocker(
                "NF-MIG-313", f"{path}, which it starts with, is not there any more", f"virsh edit {case.word}"
            )


def _pools(case: Case) -> Iterator[Finding]:
    there = case.destination
    asked = case.wanted.pool
    if asked and asked not in there.pools:
        known = ", ".join(sorted(there.pools)) or "none"
        fix = f"virsh pool-define-as {asked} dir --target /srv/{asked}   # on {there.host}; pools there: {known}"
        yield blocker("NF-MIG-320", f"{there.host} has no storage pool {asked}", fix)
    homes = {dirname(disk.path) for disk in case.copied if not disk.source.startswith("/dev/")}
    homes |= {dirname(each.path) for each in case.brought if each.kind not in MADE_LATER}
    for home in sorted(homes - there.room.keys() - {DEFAULT_PATH}):
        fix = "novafleet migrate … --pool POOL   # or make the directory there"
        yield blocker("NF-MIG-320", f"{there.host} has no directory {home}", fix)


def needed(case: Case) -> dict[str, int]:
    """Bytes by directory of the destination."""
    room: dict[str, int] = {}
    for path, size in (
        *((disk.path, disk.allocated) for disk in case.copied),
        *((f.path, f.size) for f in case.brought),
    ):
        room[dirname(path)] = room.get(dirname(path), 0) + size
    return room


def _space(case: Case) -> Iterator[Finding]:
    for home, size in sorted(needed(case).items()):
        free = case.destination.room.get(home)
        if free is not None and size * HEADROOM > free:
            what = f"{case.destination.host} has {free >> 20} MiB free in {home}; {size >> 20} MiB are needed"
            yield blocker("NF-MIG-321", what, "make room there, or choose another pool: --pool POOL")


def _in_the_way(case: Case) -> Iterator[Finding]:
    arriving = {disk.path for disk in case.copied} | {each.path for each in case.brought}
    for path in sorted(arriving & case.destination.files.keys()):
        same = "" if path not in case.source.files else ", which is another file than the one here"
        fix = f"see what it is, then: mv {path} {path}.old   # on {case.destination.host}"
        yield blocker("NF-MIG-323", f"{case.destination.host} has a file {path}{same}", fix)


def _storage_wish(case: Case) -> Iterator[Finding]:
    if case.wanted.copy_storage is False and case.copied:
        what = f"disk {case.copied[0].target} ({case.copied[0].source}) is not on storage both hosts share"
        yield blocker("NF-MIG-326", what, "leave --no-copy-storage out, and it is copied")
    if case.wanted.copy_storage is True:
        for disk in case.copied:
            if disk.path == disk.source and dirname(disk.source) in case.observed.shared:
                what = f"disk {disk.target} would be copied onto itself: {disk.source} is shared"
                yield blocker("NF-MIG-326", what, "leave --copy-storage out, or choose another pool: --pool POOL")


def _snapshots(case: Case) -> Iterator[Finding]:
    lost = tuple(_losing(case)) if case.observed.snapshots or _internal(case) else ()
    if not lost:
        return
    what = f"its snapshots do not survive the copy: {lost[0]}"
    if SNAPSHOTS in case.wanted.consent:
        yield warning("NF-MIG-324", what, "", COPIES)
    else:
        fix = f"--mode cold keeps them; --consent {SNAPSHOTS} gives them up; or: novafleet snapshot rm {case.word}"
        yield blocker("NF-MIG-324", what, fix, COPIES)


def _internal(case: Case) -> bool:
    return any(image.internal for disk in case.copied for image in case.source.chains.get(disk.source, ())[:1])


def _losing(case: Case) -> Iterator[str]:
    for disk in case.copied:
        active = case.source.chains.get(disk.source, ())[:1]
        if active and active[0].internal:
            yield f"{', '.join(active[0].internal)} inside {disk.source}"
        elif len(disk.chain) > 1 and not disk.backing:
            yield f"disk {disk.target} is made one image of {len(disk.chain)}"


def _checkpoints(case: Case) -> Iterator[Finding]:
    if case.observed.checkpoints and any(disk.format != "qcow2" and not disk.readonly for disk in case.copied):
        what = "changed blocks are not known any more after the copy: the next backup reads everything"
        yield warning("NF-MIG-325", what, "", COPIES)
    elif case.observed.checkpoints:
        yield note("NF-MIG-325", "its checkpoints follow; where they cannot be used the next backup reads everything")


DISK_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _readable,
    _copyable,
    _defined_only,
    _gone,
    _pools,
    _space,
    _in_the_way,
    _storage_wish,
    _snapshots,
    _checkpoints,
)
