"""What placement is about: guests on sites, and the rules between them. Sizes are bytes; nothing here needs numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM where it was seen. ``name`` (``HOST/DOMAIN``) is unique in a problem.

    ``memory`` is 0 for one that is off; ``pinned`` host CPUs it has for itself; ``cpu`` host CPUs it uses and
    ``pressure`` its share of the time its host waits. ``disks``: bytes by pool (``""``: no pool). ``cpu_class``: only a
    host of this class can take it while it runs ("": any). ``stuck`` says why no host can take it at all, with its
    code.
    """

    name: str
    host: str
    domain: str
    uuid: str = ""
    environment: str = ""
    vm: str = ""
    running: bool = True
    memory: int = 0
    vcpus: int = 1
    pinned: int = 0
    cpu: float = 0.0
    pressure: float = 0.0
    disks: Mapping[str, int] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    cpu_class: str = ""
    stuck: str = ""
    stuck_code: str = "NF-PLACE-010"
    priority: int = 0

    @property
    def bytes(self) -> int:
        """What a move carries over."""
        return self.memory + sum(self.disks.values())


@dataclass(frozen=True, slots=True)
class Site:
    """A host as guests see it. ``free`` bytes of memory nobody was promised, ``free_pinned`` CPUs nobody has for
    himself (less than 0: more was promised than there is), ``pools`` free bytes by name. ``zone``: what fails together
    (a rack). ``closed`` says why it takes nobody in. ``taken_at``: when it was seen, seconds since the epoch."""

    name: str
    free: int
    cpus: int = 1
    free_pinned: int = 0
    pools: Mapping[str, int] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    cpu_class: str = ""
    zone: str = ""
    closed: str = ""
    taken_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Apart:
    """Guests of which no two may be on one host, or in one zone."""

    members: tuple[str, ...]
    zone: bool = False


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a guest cannot be on a host, found by looking at both: ``code`` NF-AREA-NNN."""

    code: str
    why: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """``together``: guests that stay on one host. ``spare``: so many hosts may fail and all guests still have room.
    ``live``: running guests may only go where their CPU goes on as it is. ``forbidden``: by guest and host."""

    apart: tuple[Apart, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()
    spare: int = 0
    live: bool = False
    forbidden: Mapping[str, Mapping[str, Obstacle]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """A fleet at one moment. Guests on hosts that are no site are left out by who makes it."""

    sites: tuple[Site, ...]
    guests: tuple[Guest, ...]
    rules: Rules = Rules()


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One guest's way. ``after``: indexes of moves that must have ended, because they make room for it. ``why``:
    ``drain``, ``room`` (for another guest), ``balance`` or ``home``."""

    guest: str
    source: str
    destination: str
    bytes: int
    priority: int = 0
    after: tuple[int, ...] = ()
    why: str = "drain"


@dataclass(frozen=True, slots=True)
class Unmovable:
    """A guest that no host can take. ``code`` is NF-PLACE-NNN; ``hosts`` says of each host why not."""

    guest: str
    code: str
    why: str
    fix: str
    hosts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of a plan. ``verdict``: feasible (the moves are the witness, replayed) | impossible (``text`` says
    which bound is broken) | not-found (a search ended without one: there might be one)."""

    verdict: str
    text: str


@dataclass(frozen=True, slots=True)
class Load:
    """How full hosts are, 0 to 1 of the fullest of CPU, memory and pressure: the ``peak`` host and the ``spread``
    (standard deviation over hosts)."""

    peak: float
    host: str
    spread: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Moves in an order in which each fits when it begins."""

    moves: tuple[PlannedMove, ...]
    unmovable: tuple[Unmovable, ...]
    proof: Proof
    before: Load
    after: Load
