"""Backup jobs, checkpoints, freezing and block jobs of domains: functions that run in a worker."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from novafleet.hypervisor.domains import lookup
from novafleet.hypervisor.session import Handle, unless
from novafleet.hypervisor.translate import NO_BACKUP, NO_CHECKPOINT, OPERATION_INVALID
from novafleet.model.snapshot import BackupJob, BlockInfo, BlockJob, Checkpoint

KINDS = ("unknown", "pull", "copy", "commit", "active-commit", "backup")
"""virDomainBlockJobType."""


def begin_backup(handle: Handle, name: str, backup_xml: str, checkpoint_xml: str) -> None:
    """Start a backup job, with a checkpoint unless its XML is empty."""
    lookup(handle, name).backupBegin(backup_xml, checkpoint_xml or None, 0)


def backup_job(handle: Handle, name: str) -> BackupJob | None:
    """The backup under way. Its statistics are 0 when it ends between the two questions."""
    domain = lookup(handle, name)
    with unless(handle, NO_BACKUP):
        xml = domain.backupGetXMLDesc(0)
        with unless(handle, OPERATION_INVALID):
            stats = domain.jobStats(0)
            return BackupJob(xml, stats.get("disk_temp_used", 0), stats.get("disk_temp_total", 0))
        return BackupJob(xml)
    return None


def abort_backup(handle: Handle, name: str) -> None:
    """Ask the backup job to end; another kind of job (a migration) is left alone."""
    if backup_job(handle, name) is not None:
        with unless(handle, OPERATION_INVALID):  # it ended by itself
            lookup(handle, name).abortJob()


def checkpoints(handle: Handle, name: str) -> tuple[Checkpoint, ...]:
    """All checkpoints, parents first."""
    libvirt = handle.libvirt
    listed = lookup(handle, name).listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)
    return tuple(_checkpoint(each.getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN)) for each in listed)


def _checkpoint(xml: str) -> Checkpoint:
    root = ElementTree.fromstring(xml)
    created = int(root.findtext("creationTime", "0"))
    return Checkpoint(root.findtext("name", ""), root.findtext("parent/name", ""), created, xml)


def redefine_checkpoint(handle: Handle, name: str, xml: str, validate: bool) -> None:
    """Make libvirt know a checkpoint again."""
    flags = handle.libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE
    if validate:
        flags |= handle.libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
    lookup(handle, name).checkpointCreateXML(xml, flags)


def delete_checkpoint(handle: Handle, name: str, checkpoint: str, metadata_only: bool) -> None:
    """Remove a checkpoint; absent is fine."""
    domain = lookup(handle, name)
    with unless(handle, NO_CHECKPOINT):
        found = domain.checkpointLookupByName(checkpoint, 0)
        found.delete(handle.libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY if metadata_only else 0)


def freeze(handle: Handle, name: str, mountpoints: tuple[str, ...]) -> int:
    """Freeze file systems of the guest; how many."""
    count: int = lookup(handle, name).fsFreeze(list(mountpoints) or None, 0)
    return count


def thaw(handle: Handle, name: str) -> int:
    """Thaw them all; how many."""
    count: int = lookup(handle, name).fsThaw(None, 0)
    return count


def block_info(handle: Handle, name: str, disk: str) -> BlockInfo:
    """The sizes of a disk."""
    return BlockInfo(*lookup(handle, name).blockInfo(disk, 0))


def block_pull(handle: Handle, name: str, disk: str, base: str, bandwidth: int) -> None:
    """Pull backing images above ``base`` into the active one."""
    flags = handle.libvirt.VIR_DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES
    lookup(handle, name).blockRebase(disk, base or None, bandwidth, flags)


def block_commit(handle: Handle, name: str, disk: str, images: tuple[str, str], active: bool, bandwidth: int) -> None:
    """Merge ``images`` (top, base) of a chain."""
    top, base = images
    flags = handle.libvirt.VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES
    if active:
        flags |= handle.libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
    lookup(handle, name).blockCommit(disk, base or None, top or None, bandwidth, flags)


def block_job(handle: Handle, name: str, disk: str) -> BlockJob | None:
    """The job on a disk. libvirt keeps ``cur`` below ``end`` until a job is ready (qemuBlockJobInfoTranslate)."""
    libvirt = handle.libvirt
    info = lookup(handle, name).blockJobInfo(disk, libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES)
    return _block_job(info) if info else None


def _block_job(info: dict[str, Any]) -> BlockJob:
    number, done, total = info["type"], info["cur"], info["end"]
    kind = KINDS[number] if number < len(KINDS) else str(number)
    ready = kind in {"copy", "active-commit"} and 0 < total == done
    return BlockJob(kind, done, total, info["bandwidth"], ready)


def end_block_job(handle: Handle, name: str, disk: str, pivot: bool) -> None:
    """Pivot a job's disk, or drop the job; none to drop is fine."""
    domain, libvirt = lookup(handle, name), handle.libvirt
    if pivot or domain.blockJobInfo(disk, 0):
        domain.blockJobAbort(disk, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT if pivot else 0)
