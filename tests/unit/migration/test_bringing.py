"""Files that several VMs of one run stand on are brought once."""

from __future__ import annotations

import asyncio

from novafleet.app.bringing import Bringing
from novafleet.model.migration import Mode, Move, MoveDisk, MoveFile, Path

IMAGE = "/images/novafleet-image-1"


def move(vm: str, *files: MoveFile, source: str = "kvm1", disks: tuple[MoveDisk, ...] = ()) -> Move:
    return Move(vm, vm, vm, "", "", source, "kvm2", True, (Mode.LIVE,), Path.RELAY, "", disks=disks, files=files)


def image(kind: str = "image", path: str = IMAGE, sha256: str = "") -> MoveFile:
    return MoveFile(kind, path, path, 1, sha256)


async def follow(bringing: Bringing, first: Move, second: Move, *, arrives: bool = True) -> Move:
    """The second one's move, once the first has ended."""

    async def follows() -> Move:
        async with bringing.turn(second) as going:
            return going

    async with bringing.turn(first) as going:
        following = asyncio.create_task(follows())
        await rest()
        assert not following.done()
        if arrives:
            bringing.arrived(going)
    return await following


async def rest() -> None:
    """Whatever can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_second_finds_what_the_first_brought() -> None:
    found = await follow(Bringing(), move("a", image(), image("nvram", "/a")), move("b", image(), image("nvram", "/b")))
    assert [each.present for each in found.files] == [True, False]


async def test_linked_clones_share_their_template() -> None:
    template = image("layer", "/images/template.qcow2")
    assert (await follow(Bringing(), move("a", template), move("b", template))).files[0].present


async def test_it_brings_it_itself_where_the_first_failed() -> None:
    found = await follow(Bringing(), move("a", image()), move("b", image()), arrives=False)
    assert not found.files[0].present


async def test_from_elsewhere_only_the_same_content_will_do() -> None:
    same, other = (move("b", image(sha256=digest), source="kvm3") for digest in ("1", "2"))
    assert (await follow(Bringing(), move("a", image(sha256="1")), same)).files[0].present
    assert not (await follow(Bringing(), move("a", image(sha256="1")), other)).files[0].present


async def test_a_disk_that_nobody_writes_to_is_as_good_as_a_file() -> None:
    disk = MoveDisk("sda", "/iso/a", "/iso/a", "raw", 1, 1, readonly=True)
    found = await follow(Bringing(), move("a", disks=(disk,)), move("b", disks=(disk,)))
    assert found.disks[0].shared


async def test_what_lies_there_is_looked_at_once_nobody_brings() -> None:
    bringing, seen = Bringing(), list[str]()
    async with bringing.turn(move("a", image())):
        looking = asyncio.create_task(bringing.settled("kvm2"))
        looking.add_done_callback(lambda _task: seen.append("looked"))
        await bringing.settled("kvm9")
        await rest()
        assert seen == []
    await looking
