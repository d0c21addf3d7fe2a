"""A container stack from host to host: images, bundle and named volumes, most of it while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from novafleet.capability.migration.carry import measure
from novafleet.capability.migration.ends import End, Ends
from novafleet.capability.migration.manifest import FOLDER, IN_THE_WAY, forget
from novafleet.capability.migration.quarantine import (
    Quarantine,
    drop,
    kept_at,
    occupied,
    put_away,
    quarantine_of,
    quarantines,
    record,
)
from novafleet.capability.migration.scripts import script
from novafleet.errors import MigrationError, Retry
from novafleet.model.command import Command
from novafleet.model.environment import Gate
from novafleet.model.migration import Phase
from novafleet.observe.containers import PROJECT_LABEL
from novafleet.ports import Streaming

RUN = "/run/novafleet/carry"
IMAGES = """\
ids=$("$1" ps -aq --filter "label=$2") && [ -z "$ids" ] || "$1" container inspect --format "$3" $ids | sort -u
"""
HAS = '"$1" image inspect "$2" >/dev/null 2>&1'
SAVE = 'if [ "$3" = zstd ]; then "$1" save "$2" | zstd -1 -q -c; else exec "$1" save "$2"; fi'
LOAD = 'if [ "$2" = zstd ]; then zstd -d -q -c | "$1" load -q; else exec "$1" load -q; fi'
STATES = '"$1" ps -a --filter "label=$2" --format "{{.State}}|{{.Status}}"'
CLEAN = 'rm -rf -- "$1"'
PAUSE = "podman-pause"
"""What Podman makes itself for a pod."""
POLL = 0.5
DOWN = ("created", "exited", "dead", "removing", "stopped", "configured", "initialized")


@dataclass(frozen=True, slots=True)
class StackVolume:
    """A named volume: its folder on the source, and its labels."""

    name: str
    path: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StackMove:
    """One stack's way. ``engine`` runs it on the source, ``runs_by`` on the destination; ``name`` is its address in
    ``environment`` (``stack.edge``), ``root`` the folder of its bundle on both hosts."""

    job: str
    name: str
    project: str
    uuid: str
    environment: str
    source: str
    destination: str
    engine: str
    runs_by: str
    kind: str
    root: str
    volumes: tuple[StackVolume, ...] = ()
    left: tuple[str, ...] = ()
    """Volumes that an earlier move of this stack left on the destination."""
    stays: Mapping[str, str] = field(default_factory=dict)
    """Volumes that do not move, and why."""
    up: int = 0
    """Containers that were up and healthy on the source."""
    gates: tuple[Gate, ...] = ()
    """Its own, as far as they were met on the source: asked on the destination."""

    @property
    def label(self) -> str:
        """What finds its containers."""
        return f"{PROJECT_LABEL}={self.project}"


async def prepare_stack(ends: Ends, move: StackMove) -> Mapping[str, str]:
    """Make the volumes on the destination and bring the images; the folder of each volume there, and of the bundle
    under "". Raises MigrationError NF-MIG-420 when something of another is in the way."""
    words = [word for each in move.volumes for word in (each.name, _labels(each.labels))]
    asked = (f"{FOLDER}/{move.job}", move.runs_by, move.project, move.root, move.uuid, "\n".join(move.left), *words)
    done = await ends.destination.session.run(script("stack_make.sh", "make", *asked, mutates=True), check=False)
    rows = [line.split(" ", 2) for line in done.text.splitlines()]
    if done.status == IN_THE_WAY:
        raise _in_the_way(ends, move, [" ".join(row[1:]) for row in rows if row[0] == "there"])
    if not done.ok:
        raise _failed(ends.destination, move, done.stderr.decode("utf-8", "replace"))
    await _images(ends, move)
    return {"": move.root, **{row[1]: row[2] for row in rows if row[0] == "volume"}}


def _labels(labels: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in labels.items() if "\n" not in f"{key}{value}")


async def _images(ends: Ends, move: StackMove) -> None:
    """Those its containers were made of, unless the destination has one of that name."""
    form = "{{.ImageName}}" if move.engine == "podman" else "{{.Config.Image}}"
    asked = Command.script(IMAGES, move.engine, move.label, form, become=True)
    codec = await _codec(ends)
    names = (await ends.source.session.run(asked)).text.split()
    for name in (each for each in names if PAUSE not in each):
        there = Command.script(HAS, move.runs_by, name, become=True)
        if not (await ends.destination.session.run(there, check=False)).ok:
            ends.tell(f"image {name}", 0, 0)
            load = Command.script(LOAD, move.runs_by, codec, become=True, mutates=True)
            await pump(ends, move, Command.script(SAVE, move.engine, name, codec, become=True), load)


async def _codec(ends: Ends) -> str:
    here, there = await asyncio.gather(measure(ends.source, ()), measure(ends.destination, ()))
    return "zstd" if here[0] == there[0] == "zstd" else "none"


async def sync_stack(ends: Ends, move: StackMove, folders: Mapping[str, str], *, changes: bool) -> None:
    """Bundle and volumes, whole or only what changed since the last time, what is gone included."""
    codec = await _codec(ends)
    parts = [("", move.root), *((each.name, each.path) for each in move.volumes)]
    for number, (name, path) in enumerate(parts):
        ends.tell(f"{name or 'bundle'}: {'changes' if changes else 'copy'}", number, len(parts))
        state = f"{RUN}/{move.job}/{number}.snar"
        packed = script("stack_pack.sh", path, state, "changes" if changes else "all", codec)
        await pump(ends, move, packed, script("stack_unpack.sh", folders[name], codec, mutates=True))


async def pump(ends: Ends, move: StackMove, reader: Command, writer: Command) -> None:
    """What one command writes on the source, another reads on the destination. Raises MigrationError NF-MIG-422."""
    complaints = ["", ""]
    async with ends.source.session.stream(reader) as reading:
        async with ends.destination.session.stream(writer, stdin=_output(reading, complaints)) as writing:
            async for piece in writing:
                if piece.stream == 2:
                    complaints[1] = (complaints[1] + piece.data.decode("utf-8", "replace"))[-2000:]
            wrote = await writing.status()
        read = await reading.status()
    if read or complaints[0]:
        raise _failed(ends.source, move, complaints[0])
    if wrote:
        raise _failed(ends.destination, move, complaints[1])


async def _output(reading: Streaming, complaints: list[str]) -> AsyncIterator[bytes]:
    async for piece in reading:
        if piece.stream == 1:
            yield piece.data
        elif b"tar" in piece.data and b"ended with" in piece.data:
            complaints[0] += piece.data.decode("utf-8", "replace")


async def containers_up(end: End, engine: str, label: str) -> tuple[int, int]:
    """How many containers are up (and healthy, where they can say), of how many."""
    said = await end.session.run(Command.script(STATES, engine, label, become=True))
    rows = [line.lower().partition("|") for line in said.text.splitlines()]
    well = [state for state, _, status in rows if not ("starting" in status or "unhealthy" in status)]
    return sum(not state.startswith(DOWN) for state in well), len(rows)


async def await_up(end: End, move: StackMove, wanted: int, timeout: float) -> None:
    """Raise MigrationError NF-MIG-421 unless that many are up in time."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    while (seen := await containers_up(end, move.runs_by, move.label))[0] < wanted:
        if clock() > deadline:
            raise MigrationError(
                f"{move.name} did not come up on {end.host.name}",
                code="NF-MIG-421",
                where=end.host.name,
                cause=f"{seen[0]} of {wanted} containers are up and healthy after {timeout:.0f} s",
                hints=(f"{move.runs_by} logs CONTAINER   # on {end.host.name}, and run it again",),
                retry=Retry.AFTER_FIX,
            )
        await asyncio.sleep(POLL)


async def unprepare_stack(destination: End, job: str) -> None:
    """Remove volumes and bundle that a job made; its containers are gone already. Images stay: they are a cache."""
    await destination.session.run(script("unmake.sh", FOLDER, job, mutates=True))
    await forget(destination, job)


async def commit_stack(ends: Ends, move: StackMove, at: float, ttl: float) -> Quarantine:
    """The source keeps its volumes and its bundle, put away, for ``ttl`` seconds. Convergent."""
    kept = await quarantine_of(ends.source, move.job) or Quarantine(
        job=move.job,
        vm=move.name,
        domain=f"stack.{move.project}",
        uuid=move.uuid,
        environment=move.environment,
        host=move.source,
        destination=move.destination,
        mode="warm",
        at=at,
        until=at + ttl,
        xml="",
        committed=True,
        files={move.root: kept_at(move.job, move.root)},
        size=await occupied(ends.source, (move.root, *(each.path for each in move.volumes))),
        engine=move.engine,
        volumes=tuple(each.name for each in move.volumes),
    )
    await record(ends.source, kept)
    await put_away(ends.source, kept)
    await forget(ends.destination, move.job)
    for before in await quarantines(ends.destination):
        if before.uuid == move.uuid and before.host == move.destination:
            await drop(ends.destination, replace(before, volumes=()))  # they are its own again
    await ends.note(Phase.COMMITTED, {"undo_until": kept.until})
    return kept


async def quiet_stack(source: End, job: str) -> None:
    """Remove what told changes from what was."""
    await source.session.run(Command.script(CLEAN, f"{RUN}/{job}", become=True, mutates=True))


def _in_the_way(ends: Ends, move: StackMove, what: Sequence[str]) -> MigrationError:
    host = ends.destination.host.name
    return MigrationError(
        f"{host} has something of a stack {move.project} already",
        code="NF-MIG-420",
        where=host,
        cause=", ".join(what),
        hints=(f"{move.runs_by} ps -a; {move.runs_by} volume ls   # on {host}: whose are they?",),
        retry=Retry.AFTER_FIX,
    )


def _failed(end: End, move: StackMove, cause: str) -> MigrationError:
    return MigrationError(
        f"{move.name} could not be carried over",
        code="NF-MIG-422",
        where=end.host.name,
        cause=cause.strip()[-500:],
        hints=(
            f"df -h /var/lib   # on {end.host.name}",
            "GNU tar and the engine's save and load are used on both hosts",
        ),
        retry=Retry.AFTER_FIX,
    )
