"""Who moves a VM from host to host: NovaFleet as a person runs it, virsh, scp, tar. Each to its end, in seconds."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench.movelab import FOLDER, NAME, TIMEOUT, VIRSH, A, B, Pair, Vm
from tests.bench.peers import HOSTS, LAB
from tests.bench.program import REPOSITORY, novafleet

MOVE = f"""\
here=$1 there=$2
shift 2
for name; do
  {VIRSH} migrate --live --p2p --persistent --undefinesource --copy-storage-all --migrate-disks vda \\
    --migrateuri "tcp://$there" "$name" "qemu+ssh://root@$there/system?command={FOLDER}/ssh&no_tty=1" || exit
done
"""
SCP = 'scp -q -S "$1/ssh" "$2" "root@$3:$2"'
TAR = 'tar -C "${2%/*}" -cSf - "${2##*/}" | "$1/ssh" "root@$3" tar -C "${2%/*}" -xSf -'
AT_ONCE = 4
"""Moves that a drain has under way together, by its policies."""
STAYS = 3
"""NovaFleet's exit status when something stays on a drained host: VMs that are none of ours."""


@dataclass(frozen=True)
class Moved:
    """``seconds`` of the command; ``downtime`` in milliseconds as libvirt counted it, -1 where the guest was off."""

    seconds: float
    downtime: float = -1.0


@dataclass(frozen=True)
class Ours:
    """NovaFleet with an inventory of both hosts, whose other VMs stay."""

    pair: Pair
    home: Path

    @property
    def inventory(self) -> Path:
        """Its file."""
        return self.home / "inventory.yml"

    def write(self) -> None:
        """The inventory."""
        classes = {"ours": {"vms": [f"{NAME}-*"]}, "others": {"vms": ["*"], "stay": True}}
        hosts = {name: {"address": HOSTS[name]} for name in (A, B)}
        where = {"key": str(LAB.key), "known_hosts": str(LAB.known_hosts), "user": "root"}
        policies = {"novafleet_policies": {"parallel": {"host": AT_ONCE, "link": AT_ONCE}, "classes": classes}}
        self.inventory.write_text(yaml.safe_dump({**where, "hosts": hosts, "vars": policies}, sort_keys=False))

    def run(self, *words: str, statuses: Sequence[int] = (0,)) -> tuple[float, Any]:
        """Seconds and what it says. Raises RuntimeError with its complaint."""
        argv = novafleet("-i", str(self.inventory), *words, "-o", "json")
        began = time.perf_counter()
        done = subprocess.run(
            argv,
            cwd=REPOSITORY,
            env=self.pair.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode not in statuses:
            told = (done.stdout or done.stderr).decode()[-700:]
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {told}")
        return seconds, json.loads(done.stdout)

    def move(self, vm: Vm, here: str, there: str, *options: str) -> Moved:
        """One VM."""
        seconds, told = self.run("migrate", f"{here}/{vm.name}", "--to", there, *options, "--yes")
        return Moved(seconds, float(told["downtimes"].get("libvirt", -1)))

    def drain(self, vms: Sequence[Vm], here: str, there: str) -> Moved:
        """All of them."""
        seconds, told = self.run("host", "drain", here, "--to", there, "--yes", statuses=(0, STAYS))
        done = [row for row in told["vms"] if row["state"] == "done"]
        if len(done) != len(vms):
            raise RuntimeError(f"{len(done)} of {len(vms)} VMs left {here}: {json.dumps(told)[-700:]}")
        return Moved(seconds)

    def reopen(self, host: str) -> None:
        """Out of maintenance."""
        self.run("host", "maintenance", "off", host)


@dataclass(frozen=True)
class Peers:
    """Programs on the hosts themselves: they have a key for each other."""

    pair: Pair

    def virsh(self, vms: Sequence[Vm], here: str, there: str) -> Moved:
        """One after the other; the downtime is the last one's."""
        seconds = self._on(here, MOVE, HOSTS[here], HOSTS[there], *(vm.name for vm in vms))
        return Moved(seconds, self.pair.downtime(there, vms[-1]))

    def scp(self, vm: Vm, here: str, there: str) -> Moved:
        """Its disk."""
        return Moved(self._on(here, SCP, FOLDER, vm.disk, HOSTS[there]))

    def tar(self, vm: Vm, here: str, there: str) -> Moved:
        """Its disk, without the holes."""
        return Moved(self._on(here, TAR, FOLDER, vm.disk, HOSTS[there]))

    def _on(self, host: str, script: str, *words: str) -> float:
        began = time.perf_counter()
        self.pair.on(host, script, *words)
        return time.perf_counter() - began
