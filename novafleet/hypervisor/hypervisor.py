"""``ports.Hypervisor`` over one host's libvirt: each method is one call into the workers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from novafleet.hypervisor import domains, jobs, measures, networks, snapshots
from novafleet.hypervisor.events import lifecycle
from novafleet.hypervisor.migrating import LibvirtMigrations
from novafleet.hypervisor.session import WORKERS, Handle
from novafleet.hypervisor.translate import OPERATION_INVALID, OPERATION_TIMEOUT, Failure, translate
from novafleet.model.facts import Domain, DomainEvent, DomainState
from novafleet.model.snapshot import BackupJob, BlockInfo, BlockJob, Checkpoint, DiskLoad, DomainSnapshot, SnapshotFlag

SLOW = 120.0
"""Seconds for what starts processes on the host or waits for them."""
WRITES = 3600.0
"""Seconds for what writes a guest's memory or merges images before it returns."""
POLL = 0.05


class LibvirtHypervisor(LibvirtMigrations):
    """One host's libvirt, connected at the first call. Method by method as ``ports.Hypervisor`` says."""

    async def version(self) -> tuple[int, int]:
        """(libvirt, QEMU) version numbers."""
        return await self._call("ask for versions", _version)

    async def capabilities(self) -> str:
        """The host capabilities XML."""
        return await self._call("read the capabilities", _capabilities)

    async def domains(self) -> tuple[Domain, ...]:
        """All domains; their definitions are read by all workers at once."""
        link = await self._session.connected()
        listed = await link.run("list domains", domains.listing)
        workers = min(WORKERS, listed.waiting.qsize())
        batches = await asyncio.gather(*(link.run("read domains", domains.read, listed) for _ in range(workers)))
        return tuple(sorted((each for batch in batches for each in batch), key=lambda each: each.name))

    async def domain(self, name: str) -> Domain:
        """One domain."""
        return await self._call(f"read domain {name}", domains.one, name)

    async def domain_state(self, name: str) -> DomainState:
        """One domain, even one whose QEMU hangs."""
        return await self._call(f"read the state of domain {name}", domains.state_of, name)

    async def define_domain(self, xml: str) -> Domain:
        """Define or redefine."""
        return await self._call("define the domain", domains.define, xml, deadline=SLOW)

    async def start_domain(self, name: str) -> None:
        """Boot."""
        await self._call(f"start domain {name}", domains.start, name, deadline=SLOW)

    async def shutdown_domain(self, name: str) -> None:
        """Ask the guest to power off; a stopped domain is left alone."""
        await self._call(f"shut domain {name} down", domains.shutdown, name)

    async def destroy_domain(self, name: str) -> None:
        """Pull the plug."""
        await self._call(f"stop domain {name}", domains.destroy, name, deadline=SLOW)

    async def reboot_domain(self, name: str) -> None:
        """Ask the guest to reboot."""
        await self._call(f"reboot domain {name}", domains.reboot, name)

    async def suspend_domain(self, name: str) -> None:
        """Pause; a paused domain is left alone."""
        await self._call(f"suspend domain {name}", domains.suspend, name)

    async def resume_domain(self, name: str) -> None:
        """Unpause; a running domain is left alone."""
        await self._call(f"resume domain {name}", domains.resume, name)

    async def undefine_domain(self, name: str, *, nvram: bool = True) -> None:
        """Forget the definition."""
        await self._call(f"undefine domain {name}", domains.undefine, name, nvram)

    async def set_domain_autostart(self, name: str, enabled: bool) -> None:
        """Start with the host, or not."""
        await self._call(f"set autostart of domain {name}", domains.set_autostart, name, enabled)

    async def attach_device(self, name: str, xml: str, *, live: bool) -> None:
        """Add a device."""
        await self._call(f"attach a device to domain {name}", domains.attach, name, xml, live, deadline=SLOW)

    async def detach_device(self, name: str, xml: str, *, live: bool) -> None:
        """Remove a device."""
        await self._call(f"detach a device from domain {name}", domains.detach, name, xml, live, deadline=SLOW)

    async def update_device(self, name: str, xml: str, *, live: bool) -> None:
        """Change a device."""
        await self._call(f"change a device of domain {name}", domains.update, name, xml, live, deadline=SLOW)

    async def set_memory(self, name: str, kib: int, *, live: bool) -> None:
        """Balloon within the maximum; without ``live`` the definition's maximum moves too."""
        await self._call(f"set the memory of domain {name}", domains.set_memory, name, kib, live)

    async def set_vcpus(self, name: str, count: int, *, live: bool) -> None:
        """Plug CPUs within the maximum; without ``live`` the definition's maximum moves too."""
        await self._call(f"set the CPUs of domain {name}", domains.set_vcpus, name, count, live)

    async def set_metadata(self, name: str, xml: str, *, key: str, uri: str) -> None:
        """Replace our metadata element."""
        await self._call(f"record metadata of domain {name}", domains.set_metadata, name, xml, key, uri)

    async def agent(self, name: str, request: str, *, timeout: float = 5.0) -> str:
        """One guest-agent command; libvirt counts whole seconds and reports its own time-out (NF-LV-160)."""
        seconds = max(1, math.ceil(timeout))
        what = f"ask the guest agent of domain {name}"
        return await self._call(what, domains.agent, name, request, seconds, deadline=seconds + 10.0)

    async def define_network(self, xml: str) -> None:
        """Define or redefine a network."""
        await self._call("define the network", networks.define, xml, deadline=SLOW)

    async def start_network(self, name: str) -> None:
        """Start."""
        await self._call(f"start network {name}", networks.start, name, deadline=SLOW)

    async def stop_network(self, name: str) -> None:
        """Stop."""
        await self._call(f"stop network {name}", networks.stop, name, deadline=SLOW)

    async def undefine_network(self, name: str) -> None:
        """Forget the definition."""
        await self._call(f"undefine network {name}", networks.undefine, name)

    async def set_network_autostart(self, name: str, enabled: bool) -> None:
        """Start with the host, or not."""
        await self._call(f"set autostart of network {name}", networks.set_autostart, name, enabled)

    async def update_network_host(self, name: str, xml: str, *, add: bool) -> None:
        """Add or delete one DHCP lease or DNS record."""
        await self._call(f"change hosts of network {name}", networks.update_host, name, xml, add)

    async def ensure_pool(self, name: str, path: str) -> None:
        """A started directory pool."""
        await self._call(f"make pool {name}", networks.ensure_pool, name, path, deadline=SLOW)

    async def refresh_pool(self, name: str) -> None:
        """Make libvirt see what changed."""
        await self._call(f"refresh pool {name}", networks.refresh_pool, name, deadline=SLOW)

    async def begin_backup(self, name: str, backup_xml: str, checkpoint_xml: str = "") -> None:
        """Start a backup job; with one under way libvirt would wait 30 s for its end."""
        what = f"begin a backup of domain {name}"
        if await self.backup_job(name) is not None:
            running = Failure(OPERATION_INVALID, 0, "another backup job is already running")
            raise translate(running, what=what, host=self._session.host)
        await self._call(what, jobs.begin_backup, name, backup_xml, checkpoint_xml, deadline=SLOW)

    async def backup_job(self, name: str) -> BackupJob | None:
        """The backup under way."""
        return await self._call(f"read the backup job of domain {name}", jobs.backup_job, name)

    async def abort_job(self, name: str) -> None:
        """End the backup job; returns when it has ended."""
        what = f"end the backup job of domain {name}"
        await self._call(what, jobs.abort_backup, name, deadline=SLOW)
        for _ in range(int(SLOW / POLL)):
            if await self.backup_job(name) is None:
                return
            await asyncio.sleep(POLL)
        raise translate(
            Failure(OPERATION_TIMEOUT, 0, f"it goes on after {SLOW:g} s"), what=what, host=self._session.host
        )

    async def checkpoints(self, name: str) -> tuple[Checkpoint, ...]:
        """All checkpoints."""
        return await self._call(f"list checkpoints of domain {name}", jobs.checkpoints, name)

    async def redefine_checkpoint(self, name: str, xml: str, *, validate: bool = False) -> None:
        """Make libvirt know a checkpoint again."""
        await self._call(f"redefine a checkpoint of domain {name}", jobs.redefine_checkpoint, name, xml, validate)

    async def delete_checkpoint(self, name: str, checkpoint: str, *, metadata_only: bool = False) -> None:
        """Remove a checkpoint."""
        what = f"delete checkpoint {checkpoint} of domain {name}"
        await self._call(what, jobs.delete_checkpoint, name, checkpoint, metadata_only, deadline=SLOW)

    async def freeze(self, name: str, mountpoints: Sequence[str] = ()) -> int:
        """Freeze the guest's file systems."""
        return await self._call(f"freeze domain {name}", jobs.freeze, name, tuple(mountpoints))

    async def thaw(self, name: str) -> int:
        """Thaw them."""
        return await self._call(f"thaw domain {name}", jobs.thaw, name)

    async def running_xml(self, name: str) -> str:
        """What runs of a domain."""
        return await self._call(f"read domain {name}", snapshots.running_xml, name)

    async def snapshots(self, name: str) -> tuple[DomainSnapshot, ...]:
        """All snapshots."""
        return await self._call(f"list snapshots of domain {name}", snapshots.listing, name)

    async def create_snapshot(self, name: str, xml: str, flags: SnapshotFlag = SnapshotFlag.NONE) -> DomainSnapshot:
        """Make one."""
        return await self._call(f"snapshot domain {name}", snapshots.create, name, xml, flags, deadline=WRITES)

    async def revert_snapshot(
        self, name: str, snapshot: str, *, running: bool = False, paused: bool = False, force: bool = False
    ) -> None:
        """Go back to it."""
        wishes = _chosen(RUNNING=running, PAUSED=paused, FORCE=force)
        what = f"revert domain {name} to snapshot {snapshot}"
        await self._call(what, snapshots.revert, name, snapshot, wishes, deadline=WRITES)

    async def delete_snapshot(
        self, name: str, snapshot: str, *, children: bool = False, metadata_only: bool = False
    ) -> None:
        """Remove it."""
        wishes = _chosen(CHILDREN=children, METADATA_ONLY=metadata_only)
        what = f"delete snapshot {snapshot} of domain {name}"
        await self._call(what, snapshots.delete, name, snapshot, wishes, deadline=WRITES)

    async def block_info(self, name: str, disk: str) -> BlockInfo:
        """The sizes of a disk."""
        return await self._call(f"read the size of disk {disk} of domain {name}", jobs.block_info, name, disk)

    async def block_pull(self, name: str, disk: str, *, base: str = "", bandwidth: int = 0) -> None:
        """Pull backing images into the active one."""
        what = f"pull disk {disk} of domain {name}"
        await self._call(what, jobs.block_pull, name, disk, base, bandwidth, deadline=SLOW)

    async def block_commit(
        self, name: str, disk: str, *, top: str = "", base: str = "", active: bool = False, bandwidth: int = 0
    ) -> None:
        """Merge images of a disk's chain downwards."""
        what = f"commit disk {disk} of domain {name}"
        await self._call(what, jobs.block_commit, name, disk, (top, base), active, bandwidth, deadline=SLOW)

    async def block_job(self, name: str, disk: str) -> BlockJob | None:
        """The job on a disk."""
        return await self._call(f"read the job on disk {disk} of domain {name}", jobs.block_job, name, disk)

    async def pivot_block_job(self, name: str, disk: str) -> None:
        """Switch a ready job's disk over."""
        await self._call(f"pivot disk {disk} of domain {name}", jobs.end_block_job, name, disk, True, deadline=SLOW)

    async def abort_block_job(self, name: str, disk: str) -> None:
        """End the job on a disk."""
        what = f"end the job on disk {disk} of domain {name}"
        await self._call(what, jobs.end_block_job, name, disk, False, deadline=SLOW)

    async def compare_cpu(
        self, cpu: str, *, emulator: str = "", arch: str = "", machine: str = "", kind: str = ""
    ) -> str:
        """Can this host provide a CPU?"""
        return await self._call("compare the CPU", measures.compare_cpu, cpu, emulator, arch, machine, kind)

    async def disk_load(self, names: Sequence[str]) -> Mapping[str, Mapping[str, DiskLoad]]:
        """What guests' disks have done."""
        return await self._call("read the disk statistics", measures.disk_load, names)

    async def dirty_rate(self, name: str, seconds: int = 1) -> int:
        """Sample how fast a guest changes its memory."""
        what = f"measure the dirty rate of domain {name}"
        await self._call(what, measures.start_dirty_rate, name, seconds)
        await asyncio.sleep(seconds)
        for _ in range(int(SLOW / POLL)):
            await asyncio.sleep(POLL)
            if (rate := await self._call(what, measures.dirty_rate, name)) is not None:
                return rate
        raise translate(Failure(OPERATION_TIMEOUT, 0, "QEMU does not end it"), what=what, host=self._session.host)

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[DomainEvent]]:
        """Lifecycle events from now on; the iterator raises HypervisorError NF-LV-103 when the connection ends."""
        return lifecycle(self._session)

    async def close(self) -> None:
        """End the connection and its threads; a later call would connect again."""
        await self._session.close()


def _chosen(**wishes: bool) -> tuple[str, ...]:
    return tuple(word for word, wished in wishes.items() if wished)


def _version(handle: Handle) -> tuple[int, int]:
    return handle.connection.getLibVersion(), handle.connection.getVersion()


def _capabilities(handle: Handle) -> str:
    xml: str = handle.connection.getCapabilities()
    return xml
