"""What a backup leaves on a host while it runs is named after the VM: the next run finds it without being told."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

FOLDER = "/run/novafleet/backup"
PREFIX = "nf-"


@dataclass(frozen=True, slots=True)
class Names:
    """Of one VM, by its UUID."""

    uuid: str

    @property
    def guard(self) -> str:
        """The unit that ends the job when its controller is gone or a file system runs full."""
        return f"nf-guard-{self.uuid}"

    @property
    def thaw(self) -> str:
        """The unit that thaws the guest should nobody else do."""
        return f"nf-thaw-{self.uuid}"

    def reader(self, target: str) -> str:
        """The unit that exports a disk of a VM that is off."""
        return f"nf-read-{self.uuid}-{target}"

    @property
    def folder(self) -> str:
        """Root's own, 0700; for what must not outlive the host's next boot."""
        return f"{FOLDER}/{self.uuid}"

    @property
    def reason(self) -> str:
        """Why the guard ended a job."""
        return f"{self.folder}/reason"

    @property
    def note(self) -> str:
        """What its controller noted of a job."""
        return f"{self.folder}/job.json"

    def scratch(self, directory: str, target: str) -> str:
        """Where QEMU keeps what the guest overwrites meanwhile: beside the disk."""
        return f"{directory}/.nf-{self.uuid}-{target}.scratch"

    def socket(self, home: str) -> str:
        """Where QEMU exports a running VM's disks: in the one directory every confinement lets this QEMU write to."""
        return f"{home}/nf-backup.sock"

    def reader_socket(self, target: str) -> str:
        """Where ``qemu-nbd`` exports a disk."""
        return f"{self.folder}/{target}.sock"


def prefix(repository: str) -> str:
    """How the checkpoints of a repository begin."""
    return f"{PREFIX}{repository[:8]}-"


def checkpoint_name(repository: str, now: float) -> str:
    """A new one: it sorts by time, and no image has it by chance."""
    return f"{prefix(repository)}{int(now * 1000):012x}{secrets.token_hex(8)}"


def transient(unit: str, argv: Sequence[str], *properties: str) -> tuple[str, ...]:
    """The words that run a command as a unit that outlives our connection. ``properties`` are systemd-run's options.

    systemd expands ``$`` in the words of a command (systemd.service(5)); ``$$`` stands for itself.
    """
    words = (word.replace("$", "$$") for word in argv)
    return ("systemd-run", "--quiet", "--collect", f"--unit={unit}", *properties, "--", *words)
