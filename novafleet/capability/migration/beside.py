"""What is part of a VM that is off beside its disks: UEFI variables, TPM state, saved memory."""

from __future__ import annotations

import json

from novafleet.capability.migration.carry import Cargo, carry
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.manifest import make
from novafleet.capability.migration.moved import images, kept_files, kept_place, relocations, snapshot_images
from novafleet.capability.migration.through import ThroughController
from novafleet.errors import NotFoundError
from novafleet.model.command import Command
from novafleet.model.migration import Move, MoveFile
from novafleet.plan.storage import on_overlay
from novafleet.swtpm import own

SAVED = "/var/lib/libvirt/qemu/save"
"""Where libvirt keeps a managed save image (qemuDomainManagedSavePath)."""
FOLDER = 'mkdir -p -- "$1"'
THERE = '[ -e "$1" ]'
KINDS = """\
for path; do
  if [ -f "$path" ]; then echo "file $path"; elif [ -d "$path" ]; then echo "beside $path"; fi
done
"""
INFO = ("qemu-img", "info", "-U", "-f", "qcow2", "--output=json")
"""Only of images that have one below: what a raw disk begins with is the guest's choice."""
REBASE = 'qemu-img rebase -u -f qcow2 -b "$2" -F "$3" "$1"'
PACK = '[ ! -d "$1" ] || exec tar -cf - --numeric-owner -C "$1" .'
UNPACK = 'rm -rf -- "$1" && mkdir -m 711 -p -- "$1" && exec tar -xf - -C "$1" --no-same-owner'


async def carry_beside(ends: Ends, move: Move) -> None:
    """Carry them over. ``prepare`` noted where they go; nothing was there."""
    for each in move.files:
        if each.kind == "nvram" and not each.shared:
            await _variables(ends, each)
        elif each.kind == "tpm" and not each.shared:
            await _tpm(ends, each)
    if not move.running:
        await _saved(ends, move)


async def carry_kept(ends: Ends, move: Move) -> None:
    """Carry over what only snapshots need: images of other branches, saved memory, copies of variables."""
    paths = dict.fromkeys((*snapshot_images(move), *(path for xml in move.snapshots for path in kept_files(xml))))
    if not paths:
        return
    said = (await ends.source.session.run(Command.script(KINDS, *paths, become=True))).text
    rows = [line.partition(" ") for line in said.splitlines()]
    places = [(kind, path, kept_place(move, path)) for kind, _, path in rows if path in paths]
    await make(ends.destination, move, [(kind, place, "0")[: 3 if kind == "file" else 2] for kind, _, place in places])
    files = [Cargo("snapshot", path, place) for kind, path, place in places if kind == "file"]
    await carry(ends, files, ThroughController(move.wanted.bandwidth))
    for kind, path, place in places:
        if kind != "file":
            await _tpm(ends, MoveFile("tpm", path, place, 0))


async def repoint(ends: Ends, move: Move) -> None:
    """Images name the one below by its path: where that is another now, they are told."""
    places = relocations(move)
    disks = [disk for disk in move.disks if not (disk.shared or disk.readonly)]
    own = [(disk, cargo) for disk in disks for cargo in images(disk)]
    pairs = [(cargo.source, cargo.target) for disk, cargo in own if cargo.source in disk.chain[:-1]]
    pairs += [(path, kept_place(move, path)) for path in snapshot_images(move) if on_overlay(path)]
    for source, target in pairs if places else ():
        told = json.loads((await ends.source.session.run(Command((*INFO, source), become=True))).stdout)
        below = str(told.get("full-backing-filename") or told.get("backing-filename") or "")
        if below in places:
            words = (target, places[below], str(told.get("backing-filename-format") or "raw"))
            await ends.destination.session.run(Command.script(REBASE, *words, become=True, mutates=True))


async def _variables(ends: Ends, each: MoveFile) -> None:
    try:
        content = await ends.source.session.pull(each.source, become=True)
    except NotFoundError:
        return  # a VM that never ran has none: libvirt makes them
    folder = each.path.rpartition("/")[0]
    await ends.destination.session.run(Command.script(FOLDER, folder, become=True, mutates=True))
    await ends.destination.session.push(content, each.path, mode=0o600, become=True)


async def _tpm(ends: Ends, each: MoveFile) -> None:
    packed = (await ends.source.session.run(Command.script(PACK, each.source, become=True))).stdout
    if packed:
        command = Command.script(UNPACK, each.path, become=True, mutates=True)
        await ends.destination.session.run(command, stdin=packed)
        await ends.destination.session.run(own(each.path))


async def _saved(ends: Ends, move: Move) -> None:
    """The memory of a guest that was put to sleep by ``virsh managedsave``; it goes on with its next start. Where
    files have other paths it would not find them: then it stays behind, in quarantine."""
    path = saved(move)
    there = await ends.source.session.run(Command.script(THERE, path, become=True), check=False)
    if there.ok and all(disk.source == disk.path for disk in move.disks):
        await make(ends.destination, move, [("file", path, "0")])
        await carry(ends, [Cargo("saved memory", path, path)], ThroughController(move.wanted.bandwidth))


def saved(move: Move) -> str:
    """The file of a managed save."""
    return f"{SAVED}/{move.domain}.save"
