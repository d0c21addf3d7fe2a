"""Which snapshot, and which disk of it."""

from __future__ import annotations

from datetime import UTC, datetime

from novafleet.app.stored import matches
from novafleet.errors import ConfigError
from novafleet.model.backup import DiskCopy, Snapshot
from novafleet.repository import Repository


def moment(text: str) -> float:
    """``--until``: ISO 8601; without a zone the local one; a date alone is the end of that day. Empty is 0.

    Raises ConfigError NF-BAK-040.
    """
    if not text:
        return 0.0
    try:
        found = datetime.fromisoformat(text)
        end = len(text) <= len("2026-11-21")
        found = found.replace(hour=23, minute=59, second=59) if end else found
        seconds = (found if found.tzinfo else found.astimezone()).timestamp()
    except (ValueError, OverflowError) as exc:  # the year 1 or 9999 may not be one in the local zone
        raise _no_time(text) from exc
    if seconds <= 0:
        raise _no_time(text)
    return seconds


def _no_time(text: str) -> ConfigError:
    return ConfigError(f"--until takes a time, as in 2026-11-21T08:30 or 2026-11-21, not {text!r}", code="NF-BAK-040")


async def choose(repository: Repository, name: str, until: float = 0.0) -> Snapshot:
    """The snapshot of that id; with ``until`` the newest one of a VM that is not younger, in whole seconds, as times
    are shown. A VM that was made anew under its name on its host is one VM.

    Raises RepositoryError NF-REPO-008, ConfigError NF-BAK-038.
    """
    if not until:
        return await repository.snapshot(name)
    of_vm = [each for each in await repository.snapshots() if matches(each, (name,))]
    found = [each for each in of_vm if int(each.at) <= until]
    places = sorted({f"{each.host}/{each.domain}" for each in found})
    if len({each.uuid for each in found}) > 1 and len(places) > 1:
        vms = ", ".join(places)
        raise ConfigError(f"{name!r} leads to several VMs", code="NF-BAK-038", cause=vms, hints=("say HOST/DOMAIN",))
    if not found:
        oldest = f"the oldest is of {_when(min(each.at for each in of_vm))}" if of_vm else "there is none at all"
        raise ConfigError(
            f"no snapshot of {name!r} is from before {_when(until)}",
            code="NF-BAK-038",
            where=repository.store.url,
            cause=oldest,
            hints=(f"novafleet backup ls {name} --repo URL --key-file K",),
        )
    return max(found, key=lambda each: each.at)


def disk_of(snapshot: Snapshot, name: str) -> DiskCopy:
    """A disk by its name or the guest's. Raises ConfigError NF-BAK-031."""
    found = [disk for disk in snapshot.disks.values() if name in (disk.name, disk.target)]
    if not found:
        raise ConfigError(
            f"the snapshot has no disk {name!r}",
            code="NF-BAK-031",
            where=snapshot.id,
            cause="it has " + (", ".join(disk.name for disk in snapshot.disks.values()) or "none"),
        )
    return found[0]


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
