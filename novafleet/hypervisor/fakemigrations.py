"""Migrations between libvirts in memory: the fake's. At once, but held down to 1 MiB/s one takes until it is let go."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, NoReturn

from novafleet.errors import ChannelError
from novafleet.hypervisor import plug, rewrite, translate
from novafleet.hypervisor.guests import FakeGuests, Guest, Leaving, xml_of
from novafleet.hypervisor.migrationrules import MIGRATION
from novafleet.hypervisor.plug import Refusal
from novafleet.model.migration import Progress

if TYPE_CHECKING:
    from novafleet.hypervisor.fake import FakeHypervisor
    from novafleet.ports import Channel

GIB = 1 << 30


class FakeMigrations(FakeGuests):
    """``jobs.Migrations`` in memory. ``peers`` are the libvirts it reaches, by URI."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.peers: Mapping[str, FakeHypervisor] = {}

    async def migrate(self, name: str, uri: str, parameters: Mapping[str, object], flags: frozenset[str]) -> None:
        """Have a peer run it; here it stays defined unless said otherwise."""
        what = f"migrate domain {name}"
        try:
            if "postcopy_resume" in flags:
                self._join(name, uri)
                return
            guest, peer = self._ready(name, uri)
            job = guest.leaving = Leaving("postcopy" in flags)
            try:
                if parameters.get("bandwidth") == 1:
                    await job.over.wait()
                if job.called_off:
                    raise Refusal(translate.OPERATION_ABORTED, "operation aborted: migration out: canceled by client")
                self._hand_over(name, guest, peer, parameters, held="paused" in flags)
            finally:
                guest.leaving = None
        except Refusal as refusal:
            raise translate.translate(refusal.failure, what=what, host=self.host, first=MIGRATION) from refusal

    def _ready(self, name: str, uri: str) -> tuple[Guest, FakeHypervisor]:
        """A guest that may go, and where. Refuses as qemuMigrationSrcIsAllowed does."""
        guest = self._active(name)
        if uri not in self.peers:
            _invalid(f"Cannot connect to {uri}: Connection refused", translate.OPERATION_FAILED)
        if guest.snapshots:
            _invalid(f"cannot migrate domain with {len(guest.snapshots)} snapshots")
        if guest.jobs or guest.backup:
            _invalid("domain has an active block job")
        peer = self.peers[uri]
        if peer is self:
            _invalid("Attempt to migrate guest to the same host fake", translate.INTERNAL_ERROR)
        other = peer._guests.get(name)
        if other is not None and other.live is not None:
            _invalid(f"domain '{name}' is already active", translate.OPERATION_FAILED)
        return guest, peer

    def _join(self, name: str, uri: str) -> None:
        """The halves of a guest whose post-copy broke off. Refuses others, as qemuMigrationSrcBeginResume does."""
        guest = self._active(name)
        if guest.reason != "postcopy failed" or uri not in self.peers:
            _invalid(f"post-copy migration of domain '{name}' is not in a failed state")
        self.peers[uri]._guest(name).reason = "migrated"
        guest.live, guest.state, guest.reason = None, "shutoff", "migrated"

    def _hand_over(
        self, name: str, guest: Guest, peer: FakeHypervisor, parameters: Mapping[str, object], *, held: bool
    ) -> None:
        running, config = (
            plug.parse(str(parameters[key])) if key in parameters else deepcopy(ours)
            for key, ours in (("destination_xml", guest.live), ("persistent_xml", guest.tree))
        )
        assert running is not None
        assert config is not None
        rewrite.domain(running)
        rewrite.domain(config)
        self._tell(name, "suspended", "migrated")
        guest.left = Progress("completed", 1000, GIB, GIB, downtime_ms=50, iteration=2)
        state, reason = ("paused", "user") if held else ("running", "migrated")
        peer._guests[name] = Guest(config, running, state, reason, left=guest.left)
        peer._tell(name, *(("suspended", "paused") if held else ("resumed", "migrated")))
        guest.live, guest.state, guest.reason = None, "shutoff", "migrated"
        self._tell(name, "stopped", "migrated")

    async def migration(self, name: str, *, completed: bool = False) -> Progress:
        """Half done as long as it goes on; what ended is told once."""
        with self._asked(f"read the migration of domain {name}"):
            guest = self._guest(name)
        if completed:
            left, guest.left = guest.left, Progress()
            return left
        return Progress("unbounded", 500, GIB, GIB // 2, GIB // 2, iteration=1) if guest.leaving else Progress()

    async def set_max_downtime(self, name: str, milliseconds: int) -> None:
        """Remembered."""
        self._job(name, f"set the downtime of the migration of domain {name}").max_downtime = milliseconds

    async def set_migration_speed(self, name: str, bandwidth: int, *, postcopy: bool = False) -> None:
        """More than 1 MiB/s lets it go."""
        del postcopy
        if bandwidth > 1 << 20:
            self._job(name, f"set the speed of the migration of domain {name}").over.set()

    async def start_postcopy(self, name: str) -> None:
        """It is through at once."""
        what = f"switch domain {name} to post-copy"
        job = self._job(name, what)
        if not job.postcopy:
            text = "switching to post-copy requires migration to be started with VIR_MIGRATE_POSTCOPY flag"
            self._refuse(what, text)
        job.switched = True
        job.over.set()

    async def abort_migration(self, name: str) -> None:
        """Call it off."""
        with self._asked(f"end the migration of domain {name}"):
            job = self._guest(name).leaving
        if job is not None:
            job.called_off = True
            job.over.set()

    async def migratable_xml(self, name: str, *, inactive: bool = False) -> str:
        """What runs or is defined."""
        with self._asked(f"read domain {name}"):
            guest = self._guest(name)
            return xml_of(guest.tree if inactive or guest.live is None else guest.live)

    async def reach_daemon(self) -> Channel:
        """There is none."""
        raise ChannelError("a libvirt in memory has no socket", code="NF-SSH-402", where=self.host)

    def _job(self, name: str, what: str) -> Leaving:
        with self._asked(what):
            job = self._active(name).leaving
        return job or self._refuse(what, "domain is not being migrated")

    def _refuse(self, what: str, text: str) -> NoReturn:
        failure = Refusal(translate.OPERATION_INVALID, f"Requested operation is not valid: {text}").failure
        raise translate.translate(failure, what=what, host=self.host, first=MIGRATION)

    def _tell(self, name: str, kind: str, detail: str) -> None:
        raise NotImplementedError


def _invalid(text: str, number: int = translate.OPERATION_INVALID) -> NoReturn:
    raise Refusal(number, f"Requested operation is not valid: {text}")
