"""``ports.Hypervisor``, continued: backup jobs, checkpoints, snapshots, block jobs and migrations of a domain.

``name`` is a domain's name, ``disk`` a guest's disk (``vda``). All raise NotFoundError for a domain that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from novafleet.model.snapshot import SnapshotFlag

if TYPE_CHECKING:
    from novafleet.model.migration import Progress
    from novafleet.model.snapshot import BackupJob, BlockInfo, BlockJob, Checkpoint, DiskLoad, DomainSnapshot


class BackupJobs(Protocol):
    """Pull-mode backups, and the bitmaps the next one is read by."""

    async def begin_backup(self, name: str, backup_xml: str, checkpoint_xml: str = "") -> None:
        """Start a backup job and, in the same moment, a checkpoint. The job outlives this connection.

        Raises HypervisorError NF-LV-170 while another job runs, NF-LV-171 when a bitmap cannot be used, NF-LV-122 for
        a domain that is off. After an error look at ``checkpoints``: the new one may be there.
        """

    async def backup_job(self, name: str) -> BackupJob | None:
        """The backup under way."""

    async def abort_job(self, name: str) -> None:
        """End the backup job (for pull mode the ordinary end) with its export and scratch; none is fine."""

    async def checkpoints(self, name: str) -> tuple[Checkpoint, ...]:
        """All checkpoints libvirt knows, parents before children."""

    async def redefine_checkpoint(self, name: str, xml: str, *, validate: bool = False) -> None:
        """Make libvirt know a checkpoint again; ``validate`` (a running guest) demands its bitmaps be usable:
        raises HypervisorError NF-LV-171."""

    async def delete_checkpoint(self, name: str, checkpoint: str, *, metadata_only: bool = False) -> None:
        """Remove it with its bitmaps, or only what libvirt knows of it; absent is fine."""

    async def freeze(self, name: str, mountpoints: Sequence[str] = ()) -> int:
        """Freeze the guest's file systems (all, or these) through its agent; how many are. Raises HypervisorError
        NF-LV-160 or NF-LV-161 without an agent, NF-LV-162 when the guest refuses."""

    async def thaw(self, name: str) -> int:
        """Thaw them all; 0 when none was frozen."""


class Snapshots(Protocol):
    """Snapshots libvirt keeps of a domain."""

    async def running_xml(self, name: str) -> str:
        """What runs of a domain, with the files its disks are really on; empty when it is off."""

    async def snapshots(self, name: str) -> tuple[DomainSnapshot, ...]:
        """All snapshots, parents before children."""

    async def create_snapshot(self, name: str, xml: str, flags: SnapshotFlag = SnapshotFlag.NONE) -> DomainSnapshot:
        """Make (or redefine) one. Raises HypervisorError NF-LV-172 where this host or disk cannot have that kind."""

    async def revert_snapshot(
        self, name: str, snapshot: str, *, running: bool = False, paused: bool = False, force: bool = False
    ) -> None:
        """Go back to it, in the state it was taken in or as said. Raises NotFoundError, HypervisorError NF-LV-172,
        and NF-LV-173 where only ``force`` would do."""

    async def delete_snapshot(
        self, name: str, snapshot: str, *, children: bool = False, metadata_only: bool = False
    ) -> None:
        """Remove it, with its children if asked, or only what libvirt knows of it; absent is fine.

        External ones: libvirt < 9.10 only forgets (``metadata_only``); else HypervisorError NF-LV-172.
        """


class BlockJobs(Protocol):
    """Moving a disk's data between the images of its chain; jobs run on in QEMU, one a disk."""

    async def block_info(self, name: str, disk: str) -> BlockInfo:
        """Its sizes."""

    async def block_pull(self, name: str, disk: str, *, base: str = "", bandwidth: int = 0) -> None:
        """Copy into the active image what lies in backing images above ``base`` (a path; empty: all), at most
        ``bandwidth`` bytes a second (0: unlimited)."""

    async def block_commit(
        self, name: str, disk: str, *, top: str = "", base: str = "", active: bool = False, bandwidth: int = 0
    ) -> None:
        """Merge the images from ``top`` (empty: the active one) down into ``base`` (empty: the lowest). With
        ``active`` the top is the image in use: the job becomes ready and ends with ``pivot_block_job``."""

    async def block_job(self, name: str, disk: str) -> BlockJob | None:
        """The job on a disk."""

    async def pivot_block_job(self, name: str, disk: str) -> None:
        """Switch a ready job's disk over."""

    async def abort_block_job(self, name: str, disk: str) -> None:
        """End the job, the disk as it was; none is fine."""


class Measures(Protocol):
    """What is asked before a migration, and how a guest's disks do."""

    async def disk_load(self, names: Sequence[str]) -> Mapping[str, Mapping[str, DiskLoad]]:
        """By domain and disk (``vda``), in one call: reads, writes and flushes of the guest's own. Domains that are off
        have none."""

    async def compare_cpu(
        self, cpu: str, *, emulator: str = "", arch: str = "", machine: str = "", kind: str = ""
    ) -> str:
        """Can this host's QEMU provide a CPU (its ``<cpu>`` element)? "" if so, else what it lacks. ``kind`` is the
        domain's type: kvm | qemu. Raises HypervisorError NF-LV-120 where libvirt cannot compare."""

    async def dirty_rate(self, name: str, seconds: int = 1) -> int:
        """Measure for so many seconds (1 to 60) how many bytes a second a running guest changes in its memory.
        Raises HypervisorError NF-LV-122 for one that is off, NF-LV-120 where QEMU cannot measure."""


class Migrations(Protocol):
    """Peer-to-peer migrations, which the source's libvirt carries on with when we are gone."""

    async def migrate(self, name: str, uri: str, parameters: Mapping[str, object], flags: frozenset[str]) -> None:
        """Migrate to the libvirt at ``uri`` and return when it is done (hours later, on a connection of its own).

        ``parameters`` by libvirt's names (``migrate_uri``, ``disks_uri``, ``migrate_disks``, ``destination_xml``,
        ``bandwidth``, …; a sequence repeats one), ``flags`` the words of ``VIR_MIGRATE_*`` in lower case (``live``,
        ``peer2peer``, ``persist_dest``, ``non_shared_inc``, ``auto_converge``, ``postcopy``, …). Cancelling aborts
        the job unless post-copy began. Raises HypervisorError NF-LV-18x. After an error nobody knows how far it came:
        look at both hosts.
        """

    async def migration(self, name: str, *, completed: bool = False) -> Progress:
        """The job under way; with ``completed`` the statistics of the last one that ended (read once)."""

    async def set_max_downtime(self, name: str, milliseconds: int) -> None:
        """How long the guest may stand still at the switch-over of the migration under way."""

    async def set_migration_speed(self, name: str, bandwidth: int, *, postcopy: bool = False) -> None:
        """Bytes a second, from now on."""

    async def start_postcopy(self, name: str) -> None:
        """Switch a migration begun with ``postcopy`` over now. From here on neither host has the whole guest."""

    async def migratable_xml(self, name: str, *, inactive: bool = False) -> str:
        """What runs of a domain (of one that is off: its definition, which ``inactive`` always means) as a destination
        needs it: without what only this host gave it, with its secrets. Never write it down."""

    async def abort_migration(self, name: str) -> None:
        """End the migration under way, the guest staying here; none is fine. Refused once post-copy began."""
