"""``snapshot import``: a VM with its snapshots out of a file, on a host, in one journalled step."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from novafleet.app.context import Reached, reach
from novafleet.app.errand import Errand, Watch, carry_out, exit_code_of
from novafleet.app.wiring import World, open_world
from novafleet.capability.backup import restore_xml
from novafleet.capability.backup.restore_check import wished
from novafleet.capability.backup.restore_names import FORMATS, Order, plain
from novafleet.capability.backup.restore_xml import NewDisk, Wish
from novafleet.capability.snapshot import arrive, manifest
from novafleet.capability.snapshot.archive import Reader
from novafleet.capability.snapshot.arrive import Images, Place
from novafleet.capability.snapshot.land import land, sweep
from novafleet.capability.snapshot.manifest import Manifest
from novafleet.capability.snapshot.xml import disks, parse
from novafleet.errors import ConfigError, ExitCode, SnapshotError
from novafleet.execute.gather import gather
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.observe.facts import error_of
from novafleet.observe.registry import collectors
from novafleet.plan.storage import DEFAULT_PATH, DEFAULT_POOL, pool_path, volume_of
from novafleet.ports import ActionContext, Outcome
from novafleet.store.journal import new_run_id

VERB = "snapshot import"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
OBSERVED = ("libvirt", "system")
Confirm = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """``name`` empty: the domain's own; ``networks``: NEW by OLD."""

    inventory: tuple[Path, ...]
    archive: Path
    host: str
    name: str = ""
    pool: str = DEFAULT_POOL
    networks: Mapping[str, str] = field(default_factory=dict)
    start: bool = False
    lock_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of it. ``state``: done | failed | cancelled | declined; ``vm``: name, uuid, disks, snapshots, macs,
    started, notes."""

    run: str
    archive: str
    host: str
    state: str
    vm: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: Mapping[str, Any] | None = None

    @property
    def exit_code(self) -> ExitCode:
        """See ``exit_code_of``."""
        return exit_code_of(self.state, self.error)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An import about to begin."""

    world: World
    request: ImportRequest
    reader: Reader
    manifest: Manifest
    reached: Reached
    facts: HostFacts
    order: Order


async def import_vm(request: ImportRequest, confirm: Confirm, watch: Watch) -> Imported:
    """Make a VM of an archive on a host. A failure of the step does not raise; see ``Imported``.

    Raises SnapshotError NF-SNAP-010, ConfigError NF-CFG-005, NF-VOL-003, and the error of a host that is not reached.
    """
    if request.name and not NAME.fullmatch(request.name):
        raise ConfigError(f"--as takes letters, digits, '.', '_' and '-', not {request.name!r}", code="NF-CFG-005")
    with opened(request.archive) as reader:
        told = manifest.read(reader.read(manifest.NAME), str(request.archive))
        async with open_world(request.inventory) as world:
            arrival = await _arrival(world, request, reader, told)
            if not confirm(_question(arrival)):
                return Imported("", str(request.archive), arrival.facts.host, "declined")
            return await _carried_out(arrival, watch)


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """An archive. Raises SnapshotError NF-SNAP-010."""
    try:
        file = path.open("rb")
    except OSError as exc:
        raise SnapshotError(
            "the archive cannot be used", code="NF-SNAP-010", where=str(path), cause=exc.strerror or str(exc)
        ) from exc
    with file:
        yield Reader(file, str(path))


async def _arrival(world: World, request: ImportRequest, reader: Reader, told: Manifest) -> Arrival:
    if request.host not in world.fleet.hosts:
        cause = "it has " + ", ".join(sorted(world.fleet.hosts)[:20])
        raise ConfigError(f"the inventory has no host {request.host!r}", code="NF-CFG-005", cause=cause)
    fleet = await gather(world.sessions, list(world.fleet.hosts.values()), collectors(OBSERVED), world.clock)
    facts = fleet.hosts[request.host]
    if facts.error:
        raise error_of(facts)
    reached, failed = await reach(world, (request.host,))
    for error in failed.values():
        raise error
    keep = request.name in ("", told.domain) and not _taken(reader, told, fleet)
    order = await _order(world, request, told, reached[request.host], facts, keep=keep)
    return Arrival(world, request, reader, told, reached[request.host], facts, order)


def _taken(reader: Reader, told: Manifest, fleet: FleetFacts) -> bool:
    """Is a domain somewhere the VM of the archive, or does it have one of its MAC addresses?"""
    wanted = restore_xml.needs(reader.read(told.definition).decode("utf-8", "replace"))
    domains = [domain for host in fleet.hosts.values() for domain in host.domains.values()]
    others = [restore_xml.needs(domain.xml) for domain in domains]
    return any(other.uuid == wanted.uuid or other.macs & wanted.macs for other in others)


async def _order(
    world: World, request: ImportRequest, told: Manifest, reached: Reached, facts: HostFacts, *, keep: bool
) -> Order:
    if request.pool == DEFAULT_POOL and DEFAULT_POOL not in facts.pools:
        await reached.hypervisor.ensure_pool(DEFAULT_POOL, DEFAULT_PATH)
        facts = (await gather(world.sessions, [reached.host], collectors(OBSERVED), world.clock)).hosts[facts.host]
    free = facts.pools[request.pool].available if request.pool in facts.pools else 0
    return Order(
        request.name or told.domain, pool_path(facts, request.pool), free, keep, request.networks, request.start
    )


def _question(arrival: Arrival) -> str:
    told, order = arrival.manifest, arrival.order
    what = "as the VM it was" if order.keep else "as a copy with a new UUID and new MAC addresses"
    return f"Import {told.domain} of {told.host} to {arrival.facts.host} as {order.name}, {what}?"


async def _carried_out(arrival: Arrival, watch: Watch) -> Imported:
    world, request, name = arrival.world, arrival.request, arrival.order.name
    run_id = new_run_id(world.clock.now())
    header = {"archive": str(request.archive), "vm": name}
    errand = Errand(world, arrival.reached, arrival.facts, run_id, VERB, name, f"vm.{name}", header, request.lock_wait)

    async def work(ctx: ActionContext) -> Outcome:
        return await _land(ctx, arrival)

    ended = await carry_out(errand, work, watch)
    return Imported(
        run_id, str(request.archive), arrival.facts.host, ended.state, ended.outcome, ended.seconds, ended.error
    )


async def _land(ctx: ActionContext, arrival: Arrival) -> Outcome:
    told, order, reader = arrival.manifest, arrival.order, arrival.reader
    text = reader.read(told.definition).decode("utf-8", "replace")
    place = place_of(told, order, ctx.host.name, text)
    await sweep(ctx, told, place)
    definition = arrive.closed(text, frozenset(told.active))
    wish = await wished(ctx, order, definition.xml, {})

    def fit(text: str, images: Images) -> str:
        return _fitted(wish, text, images).xml

    outcome = dict(await land(ctx, reader, told, place, fit))
    fitted = _fitted(wish, definition.xml, place.images(told, told.active))
    if order.start:
        await ctx.hypervisor.start_domain(order.name)
    notes = [*outcome["notes"], *fitted.notes]
    return {**outcome, "macs": list(fitted.macs), "started": order.start, "notes": notes}


def _fitted(wish: Wish, text: str, images: Images) -> restore_xml.Fitted:
    return restore_xml.fit(text, replace(wish, disks={target: NewDisk(*image) for target, image in images.items()}))


def place_of(told: Manifest, order: Order, host: str, definition: str) -> Place:
    """Where everything goes: disks of the VM itself under the names they had, those of a copy under its own."""
    own = {image.target: image.format for image in told.images if not image.token and not image.base}
    before = {disk.target: volume_of(disk.path).rpartition("/")[2] for disk in disks(parse(definition))}

    def file(target: str) -> str:
        kept = plain(before.get(target, "")) if order.keep and before.get(target) else ""
        return kept or f"{order.name}.{plain(target)}.{FORMATS[own.get(target, 'qcow2')]}"

    stems = {target: f"{order.pool}/{file(target)}" for target in told.active}
    mark = hashlib.sha256(f"{host}/{order.name}".encode()).hexdigest()[:12]
    return Place(order.name, f"{order.pool}/.nf-import-{mark}", stems, not order.keep, order.free)
