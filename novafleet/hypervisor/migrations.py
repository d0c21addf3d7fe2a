"""Migrations of domains: functions that run in a worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from operator import or_
from typing import Any

from novafleet.hypervisor.domains import lookup
from novafleet.hypervisor.migrationrules import MIGRATION
from novafleet.hypervisor.session import Handle, unless
from novafleet.hypervisor.translate import OPERATION_INVALID, Failure, translate
from novafleet.model.migration import Progress

KINDS = ("none", "bounded", "unbounded", "completed", "failed", "cancelled")
"""virDomainJobType."""
PEER = "the destination"
"""Where what fails usually failed: on the source all of it ran a moment before."""
MIB = 1 << 20
FIELDS = {
    "elapsed_ms": "time_elapsed",
    "memory_total": "memory_total",
    "memory_processed": "memory_processed",
    "memory_remaining": "memory_remaining",
    "disk_total": "disk_total",
    "disk_processed": "disk_processed",
    "disk_remaining": "disk_remaining",
    "rate": "memory_bps",
    "iteration": "memory_iteration",
    "throttle": "auto_converge_throttle",
    "downtime_ms": "downtime",
    "downtime_net_ms": "downtime_net",
    "setup_ms": "setup_time",
}
"""Of ``Progress``, by libvirt's names (VIR_DOMAIN_JOB_*)."""


def migrate(
    handle: Handle, name: str, host: str, uri: str, parameters: Mapping[str, object], flags: frozenset[str]
) -> None:
    """Migrate and return when it is done, which may be hours later."""
    number = reduce(or_, (getattr(handle.libvirt, f"VIR_MIGRATE_{flag.upper()}") for flag in sorted(flags)), 0)
    domain = lookup(handle, name)
    with _migrating(handle, f"migrate domain {name}", host):
        domain.migrateToURI3(uri, dict(parameters), number)


@contextmanager
def _migrating(handle: Handle, what: str, host: str) -> Iterator[None]:
    """The source reports what it heard of the destination in words that, of our own connection, mean other things."""
    try:
        yield
    except handle.libvirt.libvirtError as error:
        if not handle.connection.isAlive():
            raise
        failure = Failure(error.get_error_code() or 0, error.get_error_domain() or 0, str(error))
        found = translate(failure, what=what, host=PEER, first=MIGRATION)
        found.where = host
        raise found from error.with_traceback(None)


def migration(handle: Handle, name: str, completed: bool) -> Progress:
    """The job under way, or the last that ended. A backup's job is none of ours."""
    libvirt, domain = handle.libvirt, lookup(handle, name)
    with unless(handle, OPERATION_INVALID):  # it is off
        stats = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED if completed else 0)
        ours = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
        if stats.get("operation", 0) in (0, *ours):
            return progress_of(stats)
    return Progress()


def progress_of(stats: Mapping[str, Any]) -> Progress:
    """``virDomainGetJobStats``'s dictionary; what it does not tell keeps its default."""
    number = stats.get("type", 0)
    told = {ours: stats[theirs] for ours, theirs in FIELDS.items() if theirs in stats}
    pages = stats.get("memory_dirty_rate", 0) * stats.get("memory_page_size", 4096)
    return Progress(kind=KINDS[number] if number < len(KINDS) else str(number), dirty_rate=pages, **told)


def set_max_downtime(handle: Handle, name: str, host: str, milliseconds: int) -> None:
    """How long the guest may stand still."""
    domain = lookup(handle, name)
    with _migrating(handle, f"set the downtime of the migration of domain {name}", host):
        domain.migrateSetMaxDowntime(milliseconds, 0)


def set_speed(handle: Handle, name: str, host: str, bandwidth: int, postcopy: bool) -> None:
    """libvirt counts whole MiB a second, of which 0 means unlimited only before the job."""
    flags = handle.libvirt.VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY if postcopy else 0
    domain = lookup(handle, name)
    with _migrating(handle, f"set the speed of the migration of domain {name}", host):
        domain.migrateSetMaxSpeed(max(1, bandwidth // MIB), flags)


def start_postcopy(handle: Handle, name: str, host: str) -> None:
    """Switch over now."""
    domain = lookup(handle, name)
    with _migrating(handle, f"switch domain {name} to post-copy", host):
        domain.migrateStartPostCopy(0)


def abort(handle: Handle, name: str, host: str) -> None:
    """Ask the job to end; a job of another kind (a backup) is left alone."""
    if migration(handle, name, False).kind in ("bounded", "unbounded"):
        domain = lookup(handle, name)
        ended = unless(handle, OPERATION_INVALID, lambda: migration(handle, name, False).kind == "none")
        with _migrating(handle, f"end the migration of domain {name}", host), ended:
            domain.abortJob()


def migratable_xml(handle: Handle, name: str, inactive: bool) -> str:
    """Without what only this host gave it; with secrets, as the destination needs them."""
    flags = handle.libvirt.VIR_DOMAIN_XML_MIGRATABLE | handle.libvirt.VIR_DOMAIN_XML_SECURE
    if inactive:
        flags |= handle.libvirt.VIR_DOMAIN_XML_INACTIVE
    xml: str = lookup(handle, name).XMLDesc(flags)
    return xml
