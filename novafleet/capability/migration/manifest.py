"""What a job made on its destination, written down there before it exists and told by inode, not by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.through import no_room
from novafleet.errors import CommandError, MigrationError, Retry
from novafleet.model.command import Command
from novafleet.model.migration import Move

FOLDER = "/var/lib/novafleet/migrate"
"""Root's own, 0700: ``JOB/manifest`` on the destination. It survives a boot, and the loss of the controller."""
IN_THE_WAY = 93
READ = 'cat -- "$1" 2>/dev/null || :'
NOTE = 'printf "%s\\n" "$2" >>"$1" && sync -- "$1"'
FORGET = 'rm -rf -- "$1"'
LIST = 'cd -- "$1" 2>/dev/null && head -qn 1 -- */manifest 2>/dev/null; :'


@dataclass(frozen=True, slots=True)
class Made:
    """One thing. ``kind``: file | image | beside (made by QEMU, libvirt, the copy where nothing was) | lease | filter.
    ``token`` is device:inode, ``-`` for beside and filter (its name is the path); a lease has its network as token and
    its XML as path."""

    kind: str
    token: str
    path: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything job ``job`` made for ``domain`` (``uuid``) on one host."""

    job: str
    uuid: str
    domain: str
    made: tuple[Made, ...] = ()


def parse(text: str) -> Manifest | None:
    """A manifest's lines; None for none, or one that nobody can understand."""
    rows = [line.split(" ", 2) for line in text.splitlines() if line.count(" ") >= 2]
    head = next((row for row in rows if row[0] == "job"), None)
    if head is None:
        return None
    return Manifest("", head[1], head[2], tuple(Made(*row) for row in rows if row[0] != "job"))


async def read_manifest(end: End, job: str) -> Manifest | None:
    """The manifest of a job on a host."""
    done = await end.session.run(Command.script(READ, f"{FOLDER}/{job}/manifest", become=True))
    found = parse(done.text)
    return Manifest(job, found.uuid, found.domain, found.made) if found else None


async def make(end: End, move: Move, words: Sequence[Sequence[str]], *, look: bool = False) -> None:
    """Make things (see ``make.sh``) in the manifest's name; with ``look`` only see that nothing is in the way.

    Raises MigrationError NF-MIG-401 and -404, SpaceError NF-MIG-402."""
    flat = [word for thing in words for word in thing]
    refuse_unprintable(flat)
    mode = "look" if look else "make"
    command = script("make.sh", FOLDER, move.job, move.domain, move.uuid, mode, *flat, mutates=True)
    done = await end.session.run(command, check=False)
    complaint = done.stderr.decode("utf-8", "replace").strip()
    if done.status == IN_THE_WAY:
        raise _in_the_way(end, move, list(_there(done.text)))
    if "No space left" in complaint:
        raise no_room(end.host.name, next(iter(flat[1:2]), FOLDER), complaint)
    if not done.ok:
        raise CommandError(
            f"the destination's files of {move.domain} could not be made",
            status=done.status,
            stderr=complaint,
            where=end.host.name,
            cause=complaint[-500:],
        )


def refuse_unprintable(words: Sequence[str]) -> None:
    """A manifest has one line for each thing. Raises MigrationError NF-MIG-404."""
    for word in words:
        if not word.isprintable():
            raise MigrationError(
                f"{word!r} cannot be the name of a file that moves",
                code="NF-MIG-404",
                hints=("rename it on the source, in the definition too: virsh edit",),
            )


def _there(text: str) -> Iterator[str]:
    return (line.removeprefix("there ") for line in text.splitlines() if line.startswith("there "))


def _in_the_way(end: End, move: Move, paths: Sequence[str]) -> MigrationError:
    return MigrationError(
        f"{end.host.name} has files where {move.domain} would put its own",
        code="NF-MIG-401",
        where=end.host.name,
        cause=", ".join(paths),
        hints=(
            f"qemu-img info {paths[0]}   # on {end.host.name}: whose is it? then rename or remove it" if paths else "",
            "or another pool: --pool NAME",
        ),
        retry=Retry.AFTER_FIX,
    )


async def note_lease(end: End, job: str, network: str, xml: str) -> None:
    """Write down a DHCP lease before it is added."""
    words = (f"{FOLDER}/{job}/manifest", f"lease {network} {xml}")
    refuse_unprintable(words)
    await end.session.run(Command.script(NOTE, *words, become=True, mutates=True))


async def note_filter(end: End, job: str, name: str) -> None:
    """Write down a network filter before it is defined."""
    words = (f"{FOLDER}/{job}/manifest", f"filter - {name}")
    refuse_unprintable(words)
    await end.session.run(Command.script(NOTE, *words, become=True, mutates=True))


async def forget(end: End, job: str) -> None:
    """What was made belongs to the VM now (or is gone): the manifest goes. Convergent."""
    await end.session.run(Command.script(FORGET, f"{FOLDER}/{job}", become=True, mutates=True))
