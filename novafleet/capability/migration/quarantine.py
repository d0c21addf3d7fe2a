"""What the source of a migration keeps of a VM that left, until when, and how to find it again."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from posixpath import basename, dirname
from typing import Any

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.written import write
from novafleet.model.command import Command

log = logging.getLogger(__name__)

FOLDER = "/var/lib/novafleet/quarantine"
"""Root's own, 0700: ``JOB/record.json`` (0600) on the source."""
BESIDE = ".novafleet-quarantine"
"""Where files go: ``DIRECTORY/.novafleet-quarantine/JOB/``, beside where they were, so that a rename does it."""
RECORD = "record.json"
READ = 'grep -hsa "" -- "$1"/*/"$2"; :'
"""One line each, though they have no end of line."""
VOLUMES = """\
engine=$1 bundle=$2 label=com.docker.compose.project=$3
shift 3
[ -e "$bundle" ] || [ -n "$("$engine" ps -aq --filter "label=$label")" ] || "$engine" volume rm -f "$@" >/dev/null
"""
"""They stay when the stack came back: then they are its own again."""
TOTAL = 'du -scB1 -- "$@" 2>/dev/null'


@dataclass(frozen=True, slots=True)
class Quarantine:
    """One VM that left ``host`` for ``destination``. ``files`` maps where each was to where it is now; ``until``
    seconds since the epoch; ``size`` bytes it occupied then. ``committed``: the source knows the VM no more. Of a stack
    the ``volumes`` stay where they are, in ``engine``."""

    job: str
    vm: str
    domain: str
    uuid: str
    environment: str
    host: str
    destination: str
    mode: str
    at: float
    until: float
    xml: str
    running: bool = True
    autostart: bool = False
    committed: bool = False
    snapshots: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    leases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    size: int = 0
    engine: str = ""
    volumes: tuple[str, ...] = ()


def kept_at(job: str, path: str) -> str:
    """Where a file lies in quarantine."""
    return f"{dirname(path)}/{BESIDE}/{job}/{basename(path)}"


async def quarantines(end: End) -> tuple[Quarantine, ...]:
    """All of one host, oldest first. A record nobody can read is left out, its files left alone."""
    done = await end.session.run(Command.script(READ, FOLDER, RECORD, become=True))
    found = [each for line in done.text.splitlines() if line.strip() and (each := _read(end, line)) is not None]
    return tuple(sorted(found, key=lambda each: (each.at, each.job)))


async def quarantine_of(end: End, job: str) -> Quarantine | None:
    """The one of a job."""
    return next((each for each in await quarantines(end) if each.job == job), None)


def _read(end: End, line: str) -> Quarantine | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        known = {each.name for each in dataclasses.fields(Quarantine)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        values["leases"] = {name: tuple(hosts) for name, hosts in fields.get("leases", {}).items()}
        found = Quarantine(**{name: value for name, value in values.items() if name in known})
    except (ValueError, TypeError, AttributeError) as exc:
        log.warning("%s: a record in %s cannot be read: %s", end.host.name, FOLDER, exc)
        return None
    strange = [path for path in found.files.values() if f"/{BESIDE}/{found.job}/" not in path or ".." in path]
    return None if strange else found


async def record(end: End, quarantine: Quarantine) -> None:
    """Write it down, in one line, before anything of it happens (or happened)."""
    text = json.dumps(dataclasses.asdict(quarantine)).encode()
    await write(end, f"{FOLDER}/{quarantine.job}/{RECORD}", text)


async def put_away(end: End, quarantine: Quarantine) -> None:
    """Rename its files into quarantine; those that are there already, or never were, are fine."""
    await end.session.run(script("rename.sh", *_pairs(quarantine.files), mutates=True))


async def take_back(end: End, quarantine: Quarantine) -> None:
    """Rename them back to where they were. Raises CommandError when something else has the name by now."""
    await end.session.run(
        script("rename.sh", *_pairs({now: was for was, now in quarantine.files.items()}), mutates=True)
    )


def _pairs(renamed: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(word for pair in renamed.items() for word in pair)


async def occupied(end: End, paths: tuple[str, ...]) -> int:
    """Bytes they occupy."""
    said = (await end.session.run(Command.script(TOTAL, *paths, become=True), check=False)).text.rstrip()
    total = said.rpartition("\n")[2].partition("\t")[0]
    return int(total) if total.isdecimal() else 0


async def drop(end: End, quarantine: Quarantine) -> None:
    """Delete its files and its record, for good. Convergent."""
    folders = sorted({dirname(path) for path in quarantine.files.values()})
    if quarantine.volumes:
        project, bundle = quarantine.domain.removeprefix("stack."), next(iter(quarantine.files), "")
        asked = (quarantine.engine, bundle, project, *quarantine.volumes)
        await end.session.run(Command.script(VOLUMES, *asked, become=True, mutates=True))
    words = (f"{FOLDER}/{quarantine.job}", *folders)
    await end.session.run(script("drop.sh", *words, mutates=True))
