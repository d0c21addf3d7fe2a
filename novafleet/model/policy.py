"""What a backup policy asks for: where, when, how much is kept, how it is proven, who is told.

Times are seconds, shares are 0 to 1. Secrets are named, never held: ``file:PATH``, ``env:NAME`` or ``credential:NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from novafleet.errors import Location


@dataclass(frozen=True, slots=True)
class Keep:
    """How many snapshots of a VM stay: the newest ``last``, and the newest of as many hours, days, ISO weeks, months
    and years; ``within`` keeps everything younger than that many seconds. All zero: nothing is ever forgotten."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """When backups may start: minutes after midnight, by the controller's clock. It may span midnight."""

    start: int
    end: int

    def holds(self, minute: int) -> bool:
        """Is a minute of the day in it?"""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def __str__(self) -> str:
        return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))


@dataclass(frozen=True, slots=True)
class Email:
    """A mail server and whom to write. ``password`` is a reference; without it nobody logs in."""

    to: tuple[str, ...]
    sender: str
    server: str
    port: int = 25
    starttls: bool = True
    user: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that is sent JSON, signed when ``secret`` (a reference) is given."""

    url: str
    secret: str = ""


EVENTS = ("failure", "success", "missed")


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told of what. ``apprise``: references to apprise's URLs, which hold secrets."""

    on: tuple[str, ...] = ("failure", "missed")
    email: Email | None = None
    webhook: Webhook | None = None
    apprise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HookRules:
    """Scripts run before and after a backup, files on the controller: in the guest around the moment the backup is of,
    on its host around all of it. ``on_error``: fail | warn."""

    guest_pre: str = ""
    guest_post: str = ""
    host_pre: str = ""
    host_post: str = ""
    timeout: float = 60.0
    on_error: str = "fail"


@dataclass(frozen=True, slots=True)
class BackupLimits:
    """How much backups may weigh. ``bandwidth``: bytes a second, all together; ``per_host``, ``per_datastore``: VMs
    read at once of one host, of one file system or block device; ``latency``: seconds a request of a guest may take
    before reading pauses. 0: no limit."""

    bandwidth: int = 0
    per_host: int = 2
    per_datastore: int = 0
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The backup policy of a VM, or as much of it as one place of a file says.

    ``key_file`` is a path or ``passphrase`` a reference. ``schedule`` and ``drill`` are cron expressions of five fields
    or one of ``@hourly @daily @weekly @monthly``; ``verify`` is the share of the repository read at each run; ``guard``
    how old the newest backup may be when a plan destroys data, 0: any. ``exclude``: disks by name. ``enabled`` False:
    no backups.
    """

    repository: str = ""
    key_file: str = ""
    passphrase: str = ""
    schedule: str = ""
    window: Window | None = None
    consistency: str = "auto"
    keep: Keep = Keep()
    verify: float = 0.0
    drill: str = ""
    guard: float = 0.0
    exclude: tuple[str, ...] = ()
    hooks: HookRules = HookRules()
    limits: BackupLimits = BackupLimits()
    notify: Notify | None = None
    enabled: bool = True
    source: Location = Location("")
    origins: Mapping[str, Location] = field(default_factory=dict)
    """Where each value was written, by the name it has here (``keep``, ``guard``)."""
