"""The named volumes of container stacks, kept as archives on their host when an environment is snapshot.

They lie in ``FOLDER/PROJECT/NAME``: a tar a volume, and a note as libvirt has one of a VM's snapshot.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from novafleet.capability.snapshot import note
from novafleet.capability.snapshot.look import script
from novafleet.capability.snapshot.note import Note
from novafleet.errors import SnapshotError
from novafleet.model.command import Command
from novafleet.ports import ActionContext, HostSession, Json, Outcome

FOLDER = "/var/lib/novafleet/volumes"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PAUSE, STOP, SKIP = "pause", "stop", "skip"
WAYS = {PAUSE: "paused", STOP: "stopped"}
SLOW = 86400.0
REMOVE = 'for each; do rm -rf -- "$each"; done'
SAID = 'journalctl --unit="$1.service" --output=cat --lines=6 --no-pager'
END = 'systemctl stop "$1.service" 2>/dev/null; systemctl reset-failed "$1.service" 2>/dev/null; true'


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one stack: ``made`` seconds since the epoch, ``seconds`` its containers stood still; bytes by
    volume."""

    name: str
    project: str
    made: float
    note: Note
    seconds: float = 0.0
    volumes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shelf:
    """All of one stack, oldest first; ``parts`` are folders that were cut off."""

    kept: tuple[Kept, ...] = ()
    parts: tuple[str, ...] = ()

    def find(self, name: str) -> Kept | None:
        """One by name."""
        return next((each for each in self.kept if each.name == name), None)


def folder_of(project: str, name: str = "") -> str:
    """Where they lie."""
    return f"{FOLDER}/{project}/{name}" if name else f"{FOLDER}/{project}"


async def shelves(session: HostSession, projects: Sequence[str]) -> Mapping[str, Shelf]:
    """What a host keeps, by stack."""
    mark = f"novafleet-{secrets.token_hex(8)}"
    folders = [folder_of(project) for project in projects]
    done = await session.run(Command.script(script("volumes_look.sh"), mark, *folders, become=True))
    found = list(_answers(done.text, mark))
    parts = list(_parts(done.text, mark))
    return {
        project: Shelf(
            tuple(sorted((each for each in found if each.project == project), key=lambda each: each.made)),
            tuple(path for path in parts if path.startswith(f"{folder_of(project)}/")),
        )
        for project in projects
    }


def _parts(text: str, mark: str) -> Iterator[str]:
    return (line.removeprefix(f"{mark} part ") for line in text.splitlines() if line.startswith(f"{mark} part "))


def _answers(text: str, mark: str) -> Iterator[Kept]:
    for answer in text.split(f"{mark} snapshot ")[1:]:
        head, *volumes = answer.split(f"{mark} volume ")
        first, _, rest = head.partition("\n")
        seconds, _, path = first.partition(" ")
        times, _, told = rest.partition("\n")
        known = note.read(told.partition(f"{mark} ")[0])
        if known is None or not seconds.isdecimal():
            continue
        folder, _, name = path.rpartition("/")
        sizes = (each.partition("\n")[0].partition(" ") for each in volumes)
        yield Kept(
            name,
            folder.rpartition("/")[2],
            float(seconds),
            known,
            _between(times),
            {volume: int(size) for size, _, volume in sizes if size.isdecimal()},
        )


def _between(times: str) -> float:
    try:
        began, ended = (float(each) for each in times.split())
    except ValueError:
        return 0.0
    return round(ended - began, 3)


async def take(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Keep the volumes of ``args["project"]`` as ``args["name"]``, its containers held as ``args["how"]`` says.

    Raises SnapshotError NF-SNAP-003, NF-SNAP-015.
    """
    name, project = args["name"], args["project"]
    if not NAME.fullmatch(name):
        raise _failed(ctx, project, f"{name!r} is no name for a folder", "letters, digits, '.', '_' and '-' will do")
    if (await shelves(ctx.session, [project]))[project].find(name) is not None:
        raise SnapshotError(f"stack {project} has a snapshot {name}", code="NF-SNAP-003", where=ctx.host.name)
    words = (args["engine"], project, folder_of(project, name), args["how"], note.write(_note(ctx, args)))
    await _as_unit(ctx, project, "volumes_take.sh", words)
    kept = (await shelves(ctx.session, [project]))[project].find(name)
    if kept is None:
        raise _failed(ctx, project, "nothing was kept", "novafleet snapshot prune")
    return {"snapshot": name, "mode": kept.note.mode, "held_seconds": kept.seconds, "volumes": dict(kept.volumes)}


def _note(ctx: ActionContext, args: Mapping[str, Any]) -> Note:
    return Note(
        text=args.get("text", ""),
        mode=WAYS[args["how"]],
        run=ctx.run_id,
        group=args.get("group", ""),
        environment=args.get("environment", ""),
        tags=tuple(args.get("tags", ())),
        expires=float(args.get("expires", 0.0)),
        hold=bool(args.get("hold", False)),
    )


async def taken(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome | None:
    """Did this run keep them already?"""
    kept = (await shelves(ctx.session, [args["project"]]))[args["project"]].find(args["name"])
    if kept is None or kept.note.run != ctx.run_id:
        return None
    return {"snapshot": kept.name, "mode": kept.note.mode, "volumes": dict(kept.volumes), "adopted": True}


async def put(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Give the volumes of ``args["project"]`` what ``args["name"]`` keeps; containers that ran run again. Raises
    SnapshotError NF-SNAP-015."""
    words = (args["engine"], args["project"], folder_of(args["project"], args["name"]))
    await _as_unit(ctx, args["project"], "volumes_put.sh", words)
    return {"snapshot": args["name"]}


async def remove(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Remove ``args["names"]`` of ``args["project"]``, and what was cut off."""
    shelf = (await shelves(ctx.session, [args["project"]]))[args["project"]]
    going = [each for each in shelf.kept if each.name in args["names"]]
    folders = [folder_of(args["project"], each.name) for each in going]
    if shelf.parts:
        await ctx.session.run(Command.script(END, _unit(args["project"]), become=True, mutates=True))
    await ctx.session.run(Command.script(REMOVE, *folders, *shelf.parts, become=True, mutates=True))
    return {"removed": [each.name for each in going], "freed": sum(sum(each.volumes.values()) for each in going)}


def _unit(project: str) -> str:
    return f"nf-volumes-{project}"


async def _as_unit(ctx: ActionContext, project: str, name: str, words: Sequence[str]) -> None:
    """Run a script that ends although we may not. systemd expands ``$`` in a command (systemd.service(5))."""
    unit = _unit(project)
    await ctx.session.run(Command.script(END, unit, become=True, mutates=True))
    argv = ("sh", "-c", script(name), "novafleet", *words)
    command = ("systemd-run", "--quiet", "--collect", "--wait", f"--unit={unit}", "--")
    run = Command((*command, *(word.replace("$", "$$") for word in argv)), become=True, mutates=True)
    done = await ctx.session.run(run, check=False, timeout=SLOW)
    if not done.ok:
        said = await ctx.session.run(Command.script(SAID, unit, become=True), check=False)
        cause = (said.text or done.stderr.decode("utf-8", "replace")).strip()[-400:]
        raise _failed(ctx, project, cause, f"journalctl -u {unit}   # on {ctx.host.name}")


def _failed(ctx: ActionContext, project: str, cause: str, hint: str) -> SnapshotError:
    return SnapshotError(
        f"the volumes of stack {project} could not be kept or given back",
        code="NF-SNAP-015",
        where=ctx.host.name,
        cause=cause,
        hints=(hint,),
    )
