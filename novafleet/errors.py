"""One exception family. An error is a finding: what, where, cause, fix, and whether a retry can help.

Adapters translate foreign errors once (``transport/translate.py``, ``hypervisor/translate.py``);
nothing above them matches on message text. Every code has a page in ``docs/errors/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Exit statuses of the command line; stable, documented in ``docs/reference/exit-codes.md``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    UNREACHABLE = 4
    STALE_PLAN = 5
    LOCK_HELD = 6
    CHANGES = 10
    INTERRUPTED = 130


class Retry(StrEnum):
    """Would doing it again change the outcome?"""

    NEVER = "never"
    AFTER_FIX = "after_fix"
    LATER = "later"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file a person wrote; ``line`` and ``column`` count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n)]
        return ":".join(parts)


class NovaFleetError(Exception):
    """Base of every error NovaFleet raises on purpose.

    ``what`` is one sentence; ``code`` is ``NF-AREA-NNN``; ``where`` a host, step or file:line;
    ``cause`` the foreign message that led here; ``hints`` commands or lines that fix it.
    """

    code = "NF-BUG-001"
    retry = Retry.NEVER
    exit_code = ExitCode.FAILED

    def __init__(
        self,
        what: str,
        *,
        code: str | None = None,
        where: str | Location = "",
        cause: str = "",
        hints: tuple[str, ...] = (),
        retry: Retry | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.code = code or type(self).code
        self.where = where
        self.cause = cause
        self.hints = hints
        self.retry = retry or type(self).retry

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        cause = f" ({self.cause})" if self.cause else ""
        return f"{place}{self.what}{cause}"

    def finding(self) -> dict[str, object]:
        """The machine-readable form: JSON output, events and the journal hold this."""
        return {
            "code": self.code,
            "what": self.what,
            "where": str(self.where),
            "cause": self.cause,
            "hints": list(self.hints),
            "retry": self.retry.value,
        }

    def at(self, where: str | Location) -> NovaFleetError:
        """The same error with a place, kept when it already has one."""
        if not self.where:
            self.where = where
        return self


class ConfigError(NovaFleetError):
    """A file or an option is wrong; nothing was touched."""

    code = "NF-CFG-001"
    exit_code = ExitCode.USAGE


class ConfigErrors(ConfigError):
    """Several independent findings of one validation, reported together."""

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        super().__init__(f"{len(errors)} errors", code=errors[0].code, where=errors[0].where)
        self.errors = errors


class UnreachableError(NovaFleetError):
    """No usable SSH connection could be made, or it was lost (NF-SSH-1xx)."""

    code = "NF-SSH-100"
    retry = Retry.LATER
    exit_code = ExitCode.UNREACHABLE


class TrustError(NovaFleetError):
    """The host key is unknown, changed or revoked (NF-SSH-2xx)."""

    code = "NF-SSH-200"
    retry = Retry.AFTER_FIX
    exit_code = ExitCode.UNREACHABLE


class AuthError(NovaFleetError):
    """The server took none of the identities offered (NF-SSH-3xx)."""

    code = "NF-SSH-300"
    retry = Retry.AFTER_FIX
    exit_code = ExitCode.UNREACHABLE


class ChannelError(NovaFleetError):
    """The server refused a channel or a forward (NF-SSH-4xx)."""

    code = "NF-SSH-400"
    retry = Retry.NOW


class CommandError(NovaFleetError):
    """A remote command ended with a non-zero status or a signal (NF-CMD-*)."""

    code = "NF-CMD-001"

    def __init__(self, what: str, *, status: int = -1, stderr: str = "", **details: object) -> None:
        super().__init__(what, **details)  # type: ignore[arg-type]
        self.status = status
        self.stderr = stderr


class PrivilegeError(NovaFleetError):
    """sudo refused; a wrong password is never tried twice (NF-SUDO-*)."""

    code = "NF-SUDO-001"
    retry = Retry.AFTER_FIX


class HypervisorError(NovaFleetError):
    """libvirt or QEMU refused or failed (NF-LV-*)."""

    code = "NF-LV-001"


class NotFoundError(HypervisorError):
    """The domain, network, pool or volume does not exist."""

    code = "NF-LV-404"


class StackError(NovaFleetError):
    """A container stack could not be brought to its desired state (NF-STK-*)."""

    code = "NF-STK-001"


class ImageError(NovaFleetError):
    """An image could not be fetched or its digest differs (NF-IMG-*)."""

    code = "NF-IMG-001"


class GateError(NovaFleetError):
    """A readiness gate never saw its evidence (NF-GATE-*)."""

    code = "NF-GATE-001"


class DeadlineError(NovaFleetError):
    """A phase took longer than it may; ``what`` names the phase (NF-TIME-*)."""

    code = "NF-TIME-001"
    retry = Retry.LATER


class StalePlanError(NovaFleetError):
    """The world changed between plan and apply (NF-PLAN-*)."""

    code = "NF-PLAN-001"
    retry = Retry.AFTER_FIX
    exit_code = ExitCode.STALE_PLAN


class GuardError(NovaFleetError):
    """The plan would destroy what is protected, or what NovaFleet did not create (NF-GUARD-*)."""

    code = "NF-GUARD-001"
    retry = Retry.AFTER_FIX


class LockHeldError(NovaFleetError):
    """Another run holds the lock or lease; ``what`` names the holder (NF-LOCK-*)."""

    code = "NF-LOCK-001"
    retry = Retry.LATER
    exit_code = ExitCode.LOCK_HELD


class FencedError(NovaFleetError):
    """Our lease was taken over while we were away; this run must not touch the host again."""

    code = "NF-LOCK-002"
    exit_code = ExitCode.LOCK_HELD


class SpaceError(NovaFleetError):
    """A file system or pool is full or would be (NF-DISK-*)."""

    code = "NF-DISK-001"
    retry = Retry.AFTER_FIX


class StoreError(NovaFleetError):
    """The place a repository lies in could not be reached or refused (NF-STORE-*)."""

    code = "NF-STORE-001"
    retry = Retry.LATER


class MissingObjectError(StoreError):
    """The object does not exist."""

    code = "NF-STORE-404"
    retry = Retry.NEVER


class UnreadableError(StoreError):
    """One object that its disk does not give back (input/output error); others may well be read."""

    code = "NF-STORE-011"


class RepositoryError(NovaFleetError):
    """A backup repository is damaged, of another kind, or does not open with this key (NF-REPO-*)."""

    code = "NF-REPO-001"


class BackupError(NovaFleetError):
    """A VM could not be backed up or restored (NF-BAK-*)."""

    code = "NF-BAK-001"


class SnapshotError(NovaFleetError):
    """A VM's snapshot could not be made, gone back to, or removed (NF-SNAP-*)."""

    code = "NF-SNAP-001"
    retry = Retry.AFTER_FIX


class MigrationError(NovaFleetError):
    """A VM could not be moved, or its move not undone (NF-MIG-*)."""

    code = "NF-MIG-001"
    retry = Retry.AFTER_FIX


class BlockError(NovaFleetError):
    """A disk export refused or broke off (NF-NBD-*)."""

    code = "NF-NBD-001"
    retry = Retry.LATER


class ScheduleError(NovaFleetError):
    """A schedule could not be installed, or its run before ended in the middle (NF-SCHED-*)."""

    code = "NF-SCHED-003"
    retry = Retry.AFTER_FIX


class NotifyError(NovaFleetError):
    """Somebody could not be told (NF-NOTIFY-*)."""

    code = "NF-NOTIFY-001"
    retry = Retry.LATER


class FileSystemError(NovaFleetError):
    """A file could not be read out of a disk (NF-FS-*)."""

    code = "NF-FS-001"


class LabError(NovaFleetError):
    """The practice fleet could not be built or started (NF-LAB-*)."""

    code = "NF-LAB-001"
