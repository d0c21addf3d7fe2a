"""What a migration that something dies in is made of: a guest that shows a second writer, wounds, and what may be left
over."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from tests.e2e.controller import Controller, wait_for
from tests.lab.movebench import POOL, VIRSH, OnShared, Pinned
from tests.labfixture import ROOT, Lab

BOOT = 420.0
"""Seconds a guest without KVM may take on a busy machine."""
ENDS = 420.0
"""Seconds a wounded controller may take to see that it cannot go on."""
SLOW = "8M"
"""Bytes a second, so that a small guest is on its way for some seconds."""

QEMU = 'kill -9 "$(cat "/run/libvirt/qemu/$1.pid")"'
LIBVIRTD = 'kill -9 "$(systemctl show --property=MainPID --value libvirtd.service)"'
LIBVIRTD_AGAIN = (
    "systemctl reset-failed libvirtd.service; systemctl start libvirtd.service; virsh -q -c qemu:///system list"
)
WALL = """\
nft add table inet nf-kills
nft add chain inet nf-kills in '{ type filter hook input priority -5; }'
nft add rule inet nf-kills in ip saddr "$1" drop
"""
NO_WALL = "nft delete table inet nf-kills 2>/dev/null; :"
CUT = """\
for port; do
  kill -9 $(ss -Htnp "sport = :22 and dport = :$port" | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)
done
"""
TRACES = """\
read -r job
virsh -q -c qemu:///system list --all --name | grep -x "$1" | sed 's/^/domain /'
virsh -q -c qemu:///system checkpoint-list "$1" --name 2>/dev/null | sed '/^$/d;s/^/checkpoint /'
virsh -q -c qemu:///system domjobinfo "$1" 2>/dev/null | grep bounded | sed 's/^/job /'
ls -A "$2" | grep "$1" | sed 's/^/volume /'
grep -lF " $1" /var/lib/novafleet/migrate/*/manifest 2>/dev/null | sed 's/^/manifest /'
for image in "$2/$1".*.qcow2; do
  [ ! -e "$image" ] || qemu-img info -U "$image" | grep 'name: nf-migrate' | sed 's/^/bitmap /'
done
ls -A /root/.ssh /home/*/.ssh 2>/dev/null | grep '^[.]novafleet' | sed 's/^/key file /'
[ -n "$job" ] || exit 0
grep -hF "$job" /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys 2>/dev/null | sed 's/^/key /'
find /run /tmp /var/tmp /var/lib/novafleet /var/lib/libvirt -name "*$job*" 2>/dev/null | sed 's/^/file /'
systemctl list-units --all --plain --no-legend "*$job*" | sed 's/^/unit /'
echo "$job" | grep -laFf - /proc/[0-9]*/cmdline 2>/dev/null | sed 's/^/process /'
exit 0
"""
"""Whatever has the VM's or the job's name (which comes by standard input: its own processes do not have it)."""
KEYS = "cat /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys 2>/dev/null | grep -v ' novafleet-migrate-'; :"
PORTS = "ss -Hltn | awk '{print $4}' | grep -oE ':(491[5-9][0-9]|492[01][0-9])$' | sort -u; :"
"""Those of ``offer.PORTS`` and of QEMU's migrations."""


class Guest(Pinned):
    """Its console is kept over boots: no number may ever be said twice."""

    def _xml(self) -> Element:
        root = super()._xml()
        log = root.find("devices/serial/log")
        assert log is not None
        log.set("append", "on")
        return root

    def heard(self, host: str, since: int = 0) -> list[int]:
        """The numbers it said there from the byte ``since`` of its console on, whole lines only."""
        text = self.lab.on(host, "tail", "-c", f"+{since + 1}", self.log, check=False)
        return [int(each) for each in re.findall(r"mc: count (\d+)\r?\n", text)]

    def length(self, host: str) -> int:
        """Bytes of its console there."""
        return int(self.lab.on(host, "stat", "-c", "%s", self.log, check=False).strip() or 0)


class SharingGuest(OnShared, Guest):
    """Both hosts may write to its disks."""


@dataclass(frozen=True, slots=True)
class Way:
    """From host to host, and the moments of a migration by it at which something dies. ``shared``: the disks stay where
    they are."""

    mode: str
    path: str
    hosts: tuple[str, str]
    moments: tuple[str, ...]
    shared: bool = False

    def __str__(self) -> str:
        return "-".join((self.mode, self.path, *(["shared"] if self.shared else [])))

    def guest(self, lab: Lab, pause: int) -> Guest:
        """Who goes it."""
        return (SharingGuest if self.shared else Guest)(lab, f"kills-{self}", "64M", pause)


@dataclass
class Wounded:
    """A migration under way that is held at a moment."""

    lab: Lab
    guest: Guest
    source: str
    destination: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def job(self) -> str:
        """What it is called; empty when it did not get that far."""
        file = self.folder / "job"
        return file.read_text() if file.exists() else ""

    @property
    def ended(self) -> bool:
        """Is the controller gone?"""
        return self.process.poll() is not None

    def said(self) -> str:
        """All it told."""
        return "".join((self.folder / name).read_text() for name in ("out", "err"))

    def reached(self, moment: str) -> bool:
        """Wait for the moment. One that ended well before it was told of it has missed it."""
        wait_for(lambda: self.ended or (self.folder / "reached").exists(), BOOT, f"the moment {moment}")
        assert not self.ended or self.process.returncode == 0, self.said()
        return not self.ended

    def go_on(self) -> None:
        """What is left of the controller works until it ends by itself."""
        (self.folder / "go").touch()
        wait_for(lambda: self.ended, ENDS, "the controller's end")


def controller(wounded: Wounded) -> None:
    """As by the power button."""
    wounded.process.kill()
    wounded.process.wait()


def qemu(host: Callable[[Wounded], str]) -> Callable[[Wounded], None]:
    """The guest's own process on a host."""

    def kill(wounded: Wounded) -> None:
        if isinstance(wounded.guest, SharingGuest) and host is at_destination:
            # what libvirt does there when it does not know that storage is shared, now and then in time to be noticed
            wounded.lab.on(wounded.destination, "chown", "root:root", *wounded.guest.disks.values())
        wounded.lab.on(host(wounded), "sh", "-c", QEMU, "sh", wounded.guest.name)

    return kill


def libvirtd(host: Callable[[Wounded], str]) -> Callable[[Wounded], None]:
    """systemd starts it again."""

    def kill(wounded: Wounded) -> None:
        wounded.lab.on(host(wounded), "sh", "-c", LIBVIRTD)

    return kill


def ssh(host: Callable[[Wounded], str]) -> Callable[[Wounded], None]:
    """What sshd has of the controller's connections to a host."""

    def cut(wounded: Wounded) -> None:
        name = host(wounded)
        known = ("ss", "-Htnp", f"dst {wounded.lab.hosts[name].address} and dport = :22")
        lines = subprocess.run(known, capture_output=True, text=True, check=True).stdout.splitlines()
        ours = [line for line in lines if f"pid={wounded.process.pid}," in line]
        ports = [found[1] for line in ours if (found := re.search(r":(\d+)\s+\S+:22\s", line))]
        assert ports, lines
        wounded.lab.on(name, "sh", "-c", CUT, "sh", *ports)

    return cut


def network(wounded: Wounded) -> None:
    """Neither host hears the other any more."""
    ends = (wounded.source, wounded.destination)
    for host, peer in zip(ends, reversed(ends), strict=True):
        wounded.lab.on(host, "sh", "-c", WALL, "sh", wounded.lab.hosts[peer].address)


def at_source(wounded: Wounded) -> str:
    """Where it comes from."""
    return wounded.source


def at_destination(wounded: Wounded) -> str:
    """Where it goes to."""
    return wounded.destination


VICTIMS: Mapping[str, Callable[[Wounded], None]] = {
    "controller": controller,
    "source-qemu": qemu(at_source),
    "destination-qemu": qemu(at_destination),
    "source-libvirtd": libvirtd(at_source),
    "destination-libvirtd": libvirtd(at_destination),
    "source-ssh": ssh(at_source),
    "destination-ssh": ssh(at_destination),
    "network": network,
}
LIVES_HERE = frozenset(("preparing", "copying", "round", "memory", "handover", "postcopy"))
LIVES_THERE = frozenset(("memory", "handover", "postcopy", "switched", "verified", "committing"))
SHARED = frozenset(("source-libvirtd", "destination-libvirtd", "network"))
"""Victims that others need, too."""


@dataclass(frozen=True, slots=True)
class Case:
    """Something dies at a moment of a migration by some way."""

    way: Way
    moment: str
    victim: str

    def __str__(self) -> str:
        return f"{self.way}-{self.moment}-{self.victim}"

    @property
    def possible(self) -> bool:
        """Is there such a victim at that moment? A relay needs nothing between the hosts."""
        if self.victim == "source-qemu":
            return self.moment in LIVES_HERE
        if self.victim == "destination-qemu":
            return self.moment in LIVES_THERE
        return self.victim != "network" or self.way.path == "tunnel"

    @property
    def words(self) -> tuple[str, ...]:
        """How it is asked for. A rate would send a cold copy through the controller."""
        slow = () if (self.way.mode, self.way.path) == ("cold", "tunnel") else ("--bandwidth", SLOW)
        return ("--mode", self.way.mode, "--path", self.way.path, *slow, "--yes")


@dataclass
class Arena:
    """Two hosts, a guest on one of them, and a controller. The guest stays where a case leaves it."""

    lab: Lab
    guest: Guest
    hosts: tuple[str, str]
    folder: Path
    marks: dict[str, int] = field(default_factory=dict)
    top: int = 0
    _made: int = 0

    @property
    def controller(self) -> Controller:
        """The one that migrates this guest."""
        return Controller(self.lab, self.folder / f"{self.guest.name}-{self._made}")

    @property
    def stranger(self) -> Controller:
        """One that sees these hosts for the first time."""
        return Controller(self.lab, self.folder / f"{self.guest.name}-{self._made}-other")

    def ready(self) -> str:
        """The host the guest counts on, made anew where the last case left it in pieces."""
        states = {host: self.guest.state(host) for host in self.hosts}
        homes = [host for host, state in states.items() if state == "running"]
        if sorted(states.values()) != ["", "running"] or self.left_over("", homes[0]):
            self.end()
            self._made += 1
            self.guest.create(self.hosts[0])
            homes = [self.hosts[0]]
            self.lab.on(homes[0], *VIRSH, "start", self.guest.name)
        heard = [number for host in self.hosts for number in self.guest.heard(host)]
        self.top = self.guest.counts(homes[0], max(heard, default=0), BOOT)
        self.marks = {host: self.guest.length(host) for host in self.hosts}
        return homes[0]

    def end(self) -> None:
        """Nothing of it stays."""
        for host in self.hosts:
            self.guest.remove(host)
            self.lab.on(host, "rm", "-f", self.guest.log)

    def begin(self, case: Case, source: str, number: int) -> Wounded:
        """Start the migration that will be held."""
        destination = next(host for host in self.hosts if host != source)
        folder = self.folder / str(number)
        folder.mkdir()
        words = ("-i", str(self.lab.inventory), "migrate", f"{source}/{self.guest.name}", "--to", destination)
        argv = [sys.executable, "-m", "tests.lab.heldcontroller", case.moment, str(folder), *words, *case.words]
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            process = subprocess.Popen(
                [*argv, "-o", "json"], cwd=ROOT, env=self.controller.variables, stdout=out, stderr=err, text=True
            )
        return Wounded(self.lab, self.guest, source, destination, folder, process)

    def mend(self) -> None:
        """What was broken comes back, whether it was or not."""
        for host in self.hosts:
            self.lab.on(host, "sh", "-c", NO_WALL)
            wait_for(lambda: self.lab.answers(host, "sh", "-c", LIBVIRTD_AGAIN), 60, f"libvirtd of {host}")  # noqa: B023

    def recover(self, by: Controller, advised: Mapping[str, Callable[[], None]]) -> list[str]:
        """Until nothing is left to do; the rules that were applied. Where a person is asked, it does as it is told."""
        rules: list[str] = []

        def done() -> bool:
            answer = by.run("migrate", "recover", self.guest.name, "--lock-wait", "30", "-o", "json")
            assert answer.returncode in (0, 1, 3), answer.stderr
            rows: Sequence[Mapping[str, Any]] = by_json(answer)["jobs"]
            rules.extend(row["rule"] for row in rows)
            for row in rows:
                met = row["error"]["code"] if row["error"] else ""
                rules.extend([met] if met else [])
                if row["action"] in ("ask", "alarm") or met in advised:
                    advice = advised.get(met) or advised.get(row["rule"])
                    assert advice, row
                    advice()
            return answer.returncode == 0

        wait_for(done, BOOT, f"recovery, {rules}")
        again = by_json(self.controller.run("migrate", "recover", self.guest.name, "-o", "json"))["jobs"]
        assert again == [], (rules, again)
        return list(dict.fromkeys(rules))

    def left_over(self, job: str, home: str) -> list[str]:
        """What should not be there: all but the VM's own at home, and what the host it left keeps of it."""
        own = {f"volume {path.rpartition('/')[2]}" for path in self.guest.disks.values() if path.startswith(POOL)}
        own |= {f"volume {self.guest.name}.seed.iso", f"domain {self.guest.name}"}
        found = []
        for host in self.hosts:
            lines = self.lab.on(host, "sh", "-c", TRACES, "sh", self.guest.name, POOL, stdin=f"{job}\n").splitlines()
            strange = set(lines) - own if host == home else set(lines)
            found += [f"{host}: {line}" for line in strange if not (host != home and "quarantine" in line)]
            found += [f"{host}: lacks {line}" for line in own - set(lines) if host == home]
        return found

    def heard(self) -> list[int]:
        """All it said since this case began, on either host."""
        return [number for host in self.hosts for number in self.guest.heard(host, self.marks[host])]

    def screen(self, host: str) -> str:
        """The end of its console there."""
        return self.lab.on(host, "tail", "-c", "2000", self.guest.log, check=False)

    def doors(self) -> dict[str, tuple[str, set[str]]]:
        """By host its keys, and the ports of migrations that are open."""
        return {
            host: (self.lab.on(host, "sh", "-c", KEYS), set(self.lab.on(host, "sh", "-c", PORTS).split()))
            for host in self.hosts
        }

    def closed(self, before: Mapping[str, tuple[str, set[str]]]) -> bool:
        """Are the keys those of before, and no other ports open? Somebody else's may have been, and closed since."""
        now = self.doors()
        return all(now[host][0] == keys and now[host][1] <= ports for host, (keys, ports) in before.items())


def by_json(answer: subprocess.CompletedProcess[str]) -> Any:
    """The document a command printed."""
    assert answer.stdout, answer.stderr
    return json.loads(answer.stdout)
