"""Repositories: what is in one, whether it is sound, what a collection did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from novafleet.app.repo import Info, Initialized, Rotated, Scrub
from novafleet.model.encode import encode
from novafleet.report import console
from novafleet.report.console import size
from novafleet.report.runs import when
from novafleet.repository.check import Checked, Damage, merged
from novafleet.repository.keys import Slot
from novafleet.repository.repair import Repaired
from novafleet.repository.replicate import Copied
from novafleet.repository.stats import Stats


def show_initialized(done: Initialized, form: str) -> None:
    """What was made, and what must be kept safe."""
    if form != "table":
        console.document(encode(done), form)
        return
    say(f"repository {done.id} at {done.url}", "bold")
    if done.new_key:
        say(f"key file   {done.new_key}   (new: keep a copy elsewhere, nothing can be restored without a key)")
    if done.sheet:
        say(f"sheet      {done.sheet}   (print it, then delete the file)")
    elif done.new_key:
        say(f"hint       novafleet repo key sheet {done.url} --key-file {done.new_key}")
    if not done.exclusive:
        say(f"single writer: {done.why}; never let two controllers write to it at once", "yellow")
    if abs(done.skew) > 60:
        say(f"the store's clock is {done.skew:+.0f} s off ours", "yellow")


def show_info(info: Info, form: str) -> None:
    """A list of facts."""
    if form != "table":
        console.document(encode(info), form)
        return
    grid = console.table("", "", "")
    facts: dict[str, Any] = {
        "repository": info.id,
        "url": info.url + (" (replica)" if info.replica else ""),
        "cell": size(info.cell),
        "snapshots": f"{info.snapshots} ({info.trash} in the trash, {info.holds} held)",
        "newest": info.newest or "-",
        "packs": f"{info.packs}, {size(info.stored)}",
        "keys": info.keys,
        "condemned packs": info.condemned,
        "quarantined packs": info.quarantined,
        "writers": ", ".join(info.writers) or "none",
    }
    for name, value in facts.items():
        grid.add_row(name, console.text(value))
    console.out().print(grid)


def checked_document(done: Checked) -> dict[str, Any]:
    """The JSON of ``repo check``."""
    return {
        "clean": done.clean,
        "snapshots": done.snapshots,
        "packs": done.packs,
        "bytes_read": done.bytes_read,
        "damage": encode(done.damage),
    }


def show_checked(done: Checked, form: str) -> None:
    """One line a finding, and the verdict."""
    if form != "table":
        console.document(checked_document(done), form)
        return
    for each in done.damage:
        say(f"damaged: {_place(each)}: {each.what}", "red")
    read = f", {size(done.bytes_read)} read and verified" if done.bytes_read else ""
    verdict = "clean" if done.clean else f"{len(done.damage)} findings"
    say(f"{verdict}: {done.snapshots} snapshots, {done.packs} packs{read}", "bold green" if done.clean else "bold red")


def _place(damage: Damage) -> str:
    if not damage.snapshot:
        return damage.object
    place = f"snapshot {damage.snapshot}"
    if damage.vm:
        place += f" of {damage.vm}"
    if damage.disk:
        place += f", {damage.disk}, bytes {damage.offset} to {damage.offset + damage.length}"
    return place


def show_scrub(done: Scrub, form: str) -> None:
    """What does not hash to its name."""
    if form != "table":
        console.document({"clean": not done.damaged, **encode(done)}, form)
        return
    for each in done.damaged:
        say(f"damaged: pack {each.name}: {each.why}", "red")
    say(
        f"{len(done.damaged) or 'no'} damaged of {done.packs} packs, {size(done.bytes_read)} read",
        "bold red" if done.damaged else "bold green",
    )


def show_repaired(done: Repaired, form: str) -> None:
    """What was mended, and what snapshots have lost."""
    if form != "table":
        console.document({**encode(done), "lost": encode(merged(done.lost))}, form)
        return
    for names, what in (
        (done.indexed, "packs listed in the index again"),
        (done.unlisted, "packs that are gone taken out of the index"),
        (done.dropped, "objects that could not be read removed"),
        (done.quarantined, f"damaged packs put aside, {done.salvaged} chunks of them saved"),
    ):
        if names:
            say(f"{len(names)} {what}")
    for each in merged(done.lost):
        say(f"lost: {_place(each)}: {each.what}", "red")
    if done.lost:
        say("the next backup stores what its VM still has; older snapshots are whole again then where it is the same")
    else:
        say("every snapshot is whole", "bold green")


def show_copied(done: Copied, form: str) -> None:
    """What arrived."""
    if form != "table":
        console.document(encode(done), form)
        return
    for each in done.damaged:
        say(f"damaged in the source, not copied: pack {each}", "red")
    gone = f", {done.deleted} objects removed" if done.deleted else ""
    say(f"{len(done.snapshots)} snapshots and {done.packs} packs copied, {size(done.bytes_copied)}{gone}", "bold")


def show_stats(stats: Stats, form: str) -> None:
    """One line a VM, and the sum."""
    if form != "table":
        console.document({**encode(stats), "ratio": round(stats.ratio, 2)}, form)
        return
    grid = console.table("", "VM", "SNAPSHOTS", "DISKS", "DATA", "ADDED", "NEWEST")
    for name, vm in stats.vms.items():
        sizes = [size(each) for each in (vm.logical, vm.mapped, vm.stored)]
        grid.add_row(console.text(name), str(vm.snapshots), *sizes, when(vm.newest))
    console.out().print(grid)
    say(
        f"{stats.snapshots} snapshots of {size(stats.mapped)} of data in {size(stats.stored)}: "
        f"{stats.ratio:.1f} to 1; {stats.packs} packs, {stats.chunks} chunks, {stats.trash} in the trash",
        "bold",
    )


def show_keys(slots: Sequence[Slot], form: str) -> None:
    """Key slots; nothing secret is in them."""
    rows = [{"id": each.id, "kind": each.kind.value, "label": each.label, "created": each.created} for each in slots]
    if form != "table":
        console.document({"keys": rows}, form)
        return
    grid = console.table("", "SLOT", "KIND", "LABEL", "CREATED")
    for each in slots:
        grid.add_row(console.text(each.id), each.kind.value, console.text(each.label), when(each.created))
    console.out().print(grid)


def show_slot(verb: str, slot: Slot, new_key: str, form: str) -> None:
    """A key that came or went."""
    if form != "table":
        console.document({verb: _slot(slot), "new_key": new_key}, form)
        return
    made = f", key file {new_key} made" if new_key else ""
    say(f"{verb} key slot {slot.id} ({slot.kind.value} {slot.label!r}){made}")


def show_rotated(done: Rotated, form: str) -> None:
    """The key that came and those that went; or ``{added, new_key, removed: […]}``."""
    if form != "table":
        removed = [_slot(each) for each in done.removed]
        console.document({"added": _slot(done.added), "new_key": done.new_key, "removed": removed}, form)
        return
    show_slot("added", done.added, done.new_key, form)
    for each in done.removed:
        show_slot("removed", each, "", form)


def _slot(slot: Slot) -> Mapping[str, str]:
    return {"id": slot.id, "kind": slot.kind.value, "label": slot.label}


def say(line: str, style: str = "") -> None:
    """A line that is not folded."""
    console.out().print(console.text(line, style), soft_wrap=True)
