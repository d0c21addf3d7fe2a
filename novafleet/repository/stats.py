"""How much a repository holds, and how much it saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from novafleet.model.backup import Snapshot
from novafleet.repository.check import Progress, pack_sizes
from novafleet.repository.repository import Repository
from novafleet.repository.trash import trashed
from novafleet.repository.walk import Walk


@dataclass(frozen=True, slots=True)
class VmStats:
    """One VM: bytes of its disks in all snapshots (``logical``), what of that is data (``mapped``), and what its
    backups added to the repository (``stored``)."""

    snapshots: int
    logical: int
    mapped: int
    stored: int
    newest: float


@dataclass(frozen=True, slots=True)
class Stats:
    """A repository. ``stored`` is the bytes of its packs; ``mapped / stored`` is what deduplication and compression
    save together, over all snapshots."""

    snapshots: int
    trash: int
    packs: int
    chunks: int
    logical: int
    mapped: int
    stored: int
    vms: Mapping[str, VmStats] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Bytes of data in all snapshots for each byte stored."""
        return self.mapped / self.stored if self.stored else 0.0


async def stats(repository: Repository, progress: Progress = lambda *_: None) -> Stats:
    """Reads every map once. Raises RepositoryError for what is damaged: run ``check``."""
    snapshots = await repository.snapshots()
    walk = Walk(repository, lambda *_: "")
    for number, each in enumerate(snapshots):
        progress("following snapshots", number, len(snapshots))
        async for _ in walk.snapshot(each):
            pass  # what is lost is for `check` to say
    sizes = await pack_sizes(repository.store)
    vms: dict[str, list[Snapshot]] = {}
    for each in snapshots:
        vms.setdefault(name_of(each), []).append(each)
    return Stats(
        len(snapshots),
        len(await trashed(repository.store)),
        len(sizes),
        (await repository.index()).chunks,
        sum(each.size for each in snapshots),
        sum(walk.mapped.values()),
        sum(sizes.values()),
        {name: _of_vm(vms[name], walk.mapped) for name in sorted(vms)},
    )


def name_of(snapshot: Snapshot) -> str:
    """``ENV/NAME``, or ``HOST/DOMAIN`` for a VM of no environment."""
    return f"{snapshot.environment or snapshot.host}/{snapshot.vm}"


def _of_vm(snapshots: list[Snapshot], mapped: Mapping[str, int]) -> VmStats:
    return VmStats(
        len(snapshots),
        sum(each.size for each in snapshots),
        sum(mapped[each.id] for each in snapshots),
        sum(each.bytes_stored for each in snapshots),
        max(each.at for each in snapshots),
    )
