"""Connect, run and close on many hosts, beside peers: one sshd, loopback addresses, one key, rounds interleaved.

``python -m tests.bench.bench_ssh`` prints figures as JSON. Peers are used where they are installed (see program.py):
parallel-ssh, pyinfra, ansible-core; OpenSSH with xargs is always there.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.figure import Figure, Section
from tests.bench.program import REPOSITORY, ROUNDS, SMALL, peer
from tests.sshd import Sshd, running_sshd

SIZES = (10, 20) if SMALL else (100, 200)
CROWD = 50 if SMALL else 1000
"""Hosts in one process, for its memory."""
SSHD = ("MaxStartups 2000", "LogLevel ERROR", "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org")
"""Peers do not hold back their logins; a default sshd would drop a part of theirs. All use the same key exchange:
OpenSSH's own choice, sntrup761, costs it ten times the CPU of all the rest of a login."""

METHOD = """\
One sshd on loopback addresses, one key, `true`. First: a new process that connects to all, runs, closes (all but
parallel-ssh check host keys). Second: the same command once more on open connections (OpenSSH and ansible-core by
ControlPersist, as new processes). xargs -P 64, ansible -f 64, pool_size 100; pyinfra as it comes. All use the same key
exchange (curve25519: OpenSSH would choose the dearer sntrup761). sshd shares the machine's cores with its clients. CPU
is the client's with its children."""

SECOND = """\
A second command costs what sshd takes to set a session up and start a shell. A prototype that keeps one waiting `sh` a
connection and feeds it commands (100 hosts, loaded machine) took a third of that when each command got a process group
of its own, so that it can be killed; a sixth as a mere subshell; an eighth when it started nothing at all and only
answered: ten times is out of SSH's reach in Python. Not built: for a third it would give up the kill, the exit status
and the separate streams that sshd keeps for each session."""

PERSIST = 30
"""Seconds that ssh masters stay after their last use."""

ANSIBLE = {"ANSIBLE_SSH_CONTROL_PATH_DIR": "/tmp/nf-bench-cp", "ANSIBLE_HOME": "/tmp/nf-bench-ansible"}

NOVAFLEET = """
import asyncio, atexit, gc, json, resource, sys, time
from pathlib import Path
atexit.register(gc.freeze)  # as novafleet.__main__ does
from novafleet.model.command import Command
from novafleet.model.fleet import Fleet, Host
from novafleet.model.secret import Secret
from novafleet.transport.pool import SshPool

async def main(folder, port, user, count, times):
    hosts = [
        Host(f"h{n}", f"127.0.{1 + n // 250}.{1 + n % 250}", port=port, user=user, key=f"{folder}/key",
             known_hosts=f"{folder}/known_hosts")
        for n in range(count)
    ]
    async with SshPool(Fleet({}, {}), known_hosts=Path(folder, "own"), passwords=lambda _: Secret.of("")) as pool:
        async def one(host):
            session = await pool.get(host)
            assert (await session.run(Command(("true",)))).ok
        for _ in range(times):
            began = time.monotonic()
            await asyncio.gather(*(one(host) for host in hosts))
            last = time.monotonic() - began
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"last": last, "rss_mib": rss}))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
"""

PARALLEL_SSH = """
import json, sys, time
from pssh.clients import ParallelSSHClient
folder, port, user, count, times = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
hosts = [f"127.0.{1 + n // 250}.{1 + n % 250}" for n in range(count)]
client = ParallelSSHClient(hosts, port=port, user=user, pkey=f"{folder}/key", pool_size=100, allow_agent=False)
for _ in range(times):
    began = time.monotonic()
    output = client.run_command("true")
    client.join(output)
    assert all(each.exit_code == 0 for each in output)
    last = time.monotonic() - began
print(json.dumps({"last": last}))
"""

TWICE = """
import json, subprocess, sys, time
for _ in range(2):
    began = time.monotonic()
    subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
    last = time.monotonic() - began
print(json.dumps({"last": last}))
"""
"""For programs that leave connections behind (ControlPersist): the second time goes through them."""

PYINFRA = """
import json, sys, time
from pyinfra.operations import python, server
stamps = vars(sys).setdefault("stamps", [])  # this file is run once a host
def stamp():
    stamps.append(time.monotonic())
    if len(stamps) == 2 * {count}:
        print("\\n" + json.dumps({{"last": stamps[-1] - stamps[{count} - 1]}}), flush=True)
server.shell(commands=["true"])
python.call(function=stamp)
server.shell(commands=["true"])
python.call(function=stamp)
"""
"""Each operation runs on all hosts before the next; the second one finds the connections open."""


@dataclass(frozen=True, slots=True)
class Contender:
    """``argv`` makes its command line from the sshd and the number of hosts."""

    name: str
    argv: Callable[[Sshd, int], Sequence[str]]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Measured:
    """One round: wall and CPU seconds of the client and its children, and what it said of its two commands."""

    wall: float
    cpu: float
    said: dict[str, float]


def run(sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> dict[str, Any]:
    """``{sizes: {N: {first: {contender: figures}, second: {contender: figures}}}, crowd: figures}`` (medians)."""
    with tempfile.TemporaryDirectory() as folder, running_sshd(Path(folder), *SSHD) as sshd:
        measured = {
            str(size): {
                "first": _round_robin(contenders(), sshd, size, rounds),
                "second": _round_robin(keepers(), sshd, size, rounds),
            }
            for size in sizes
        }
        crowd = Contender("novafleet", lambda sshd, count: _python(sys.executable, NOVAFLEET, sshd, count), {})
        return {"sizes": measured, "crowd": _round_robin([crowd], sshd, CROWD, 1)["novafleet"]}


def contenders() -> list[Contender]:
    """Connect, run `true` once, close: NovaFleet, OpenSSH, and the peers installed."""
    found = [
        Contender("novafleet", lambda sshd, count: _python(sys.executable, NOVAFLEET, sshd, count), {}),
        Contender("openssh-xargs", _openssh, {}),
    ]
    if library := _parallel_ssh():
        found.append(Contender("parallel-ssh", lambda sshd, count: _python(library, PARALLEL_SSH, sshd, count), {}))
    if pyinfra := peer("pyinfra"):
        found.append(Contender("pyinfra", lambda sshd, count: _pyinfra(pyinfra, sshd, count, "exec", "--", "true"), {}))
    if ansible := peer("ansible"):
        settings = {**ANSIBLE, "ANSIBLE_SSH_ARGS": "-o ControlMaster=no"}
        found.append(Contender("ansible-core", lambda sshd, count: _ansible(ansible, sshd, count), settings))
    return found


def keepers() -> list[Contender]:
    """Run `true` twice; what counts is the second time, when connections stand."""
    found = [
        Contender("novafleet", lambda sshd, count: _python(sys.executable, NOVAFLEET, sshd, count, 2), {}),
        Contender("openssh-xargs, ControlMaster", _multiplexed, {}),
    ]
    if library := _parallel_ssh():
        found.append(Contender("parallel-ssh", lambda sshd, count: _python(library, PARALLEL_SSH, sshd, count, 2), {}))
    if pyinfra := peer("pyinfra"):
        found.append(Contender("pyinfra", lambda sshd, count: _pyinfra_twice(pyinfra, sshd, count), {}))
    if ansible := peer("ansible"):
        settings = {**ANSIBLE, "ANSIBLE_SSH_ARGS": f"-o ControlMaster=auto -o ControlPersist={PERSIST}"}
        twice = (sys.executable, "-c", TWICE)
        found.append(Contender("ansible-core", lambda sshd, count: (*twice, *_ansible(ansible, sshd, count)), settings))
    return found


def addresses(count: int) -> list[str]:
    """Loopback addresses, one a host."""
    return [f"127.0.{1 + n // 250}.{1 + n % 250}" for n in range(count)]


def _parallel_ssh() -> str | None:
    """The peers' Python, where it has the library."""
    interpreter = peer("python3")
    if not interpreter:
        return None
    found = subprocess.run((interpreter, "-c", "import pssh"), capture_output=True, check=False)
    return interpreter if found.returncode == 0 else None


def _python(interpreter: str, program: str, sshd: Sshd, count: int, times: int = 1) -> Sequence[str]:
    return (interpreter, "-c", program, str(sshd.folder), str(sshd.port), sshd.host().user, str(count), str(times))


def _options(sshd: Sshd) -> tuple[str, ...]:
    return ("-i", str(sshd.key), "-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "IdentitiesOnly=yes")


def _openssh(sshd: Sshd, count: int, *more: str) -> Sequence[str]:
    listed = sshd.folder / "addresses"
    listed.write_text("\n".join(addresses(count)))
    options = (*_options(sshd), *more, "-o", "BatchMode=yes", "-p", str(sshd.port), "-l", sshd.host().user)
    return ("xargs", "-a", str(listed), "-P", "64", "-I", "{}", "ssh", "-F", "none", *options, "{}", "true")


def _multiplexed(sshd: Sshd, count: int) -> Sequence[str]:
    keep = ("-o", "ControlMaster=auto", "-o", f"ControlPersist={PERSIST}", "-o", f"ControlPath={sshd.folder}/%h")
    return (sys.executable, "-c", TWICE, *_openssh(sshd, count, *keep))


def _pyinfra(program: str, sshd: Sshd, count: int, *words: str) -> Sequence[str]:
    data = {"ssh_port": sshd.port, "ssh_user": sshd.host().user, "ssh_key": str(sshd.key)}
    known = sshd.folder / "pyinfra_known_hosts"  # its SSH library does not read patterns
    key = sshd.known_hosts.read_text().removeprefix("* ")
    known.write_text("".join(f"[{address}]:{sshd.port} {key}" for address in addresses(count)))
    data |= {"ssh_known_hosts_file": str(known)}
    inventory = sshd.folder / "pyinfra_hosts.py"
    inventory.write_text(f"hosts = {[(address, data) for address in addresses(count)]!r}\n")
    return (program, "-y", str(inventory), *words)


def _pyinfra_twice(program: str, sshd: Sshd, count: int) -> Sequence[str]:
    deploy = sshd.folder / "deploy.py"
    deploy.write_text(PYINFRA.format(count=count))
    return _pyinfra(program, sshd, count, str(deploy))


def _ansible(program: str, sshd: Sshd, count: int) -> Sequence[str]:
    inventory = sshd.folder / "ansible_hosts"
    login = f"ansible_port={sshd.port} ansible_user={sshd.host().user} ansible_ssh_private_key_file={sshd.key}"
    arguments = f"ansible_ssh_common_args='-o UserKnownHostsFile={sshd.known_hosts}'"
    inventory.write_text("".join(f"{address} {login} {arguments}\n" for address in addresses(count)))
    return (program, "all", "-i", str(inventory), "-f", "64", "-m", "raw", "-a", "true")


def _round_robin(found: Sequence[Contender], sshd: Sshd, size: int, rounds: int) -> dict[str, object]:
    taken: dict[str, list[Measured]] = {each.name: [] for each in found}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for each in found:
            if each.name not in failed:
                outcome = asyncio.run(_measure(each, sshd, size))
                if isinstance(outcome, str):
                    failed[each.name] = outcome
                else:
                    taken[each.name].append(outcome)
    figures: dict[str, object] = {name: _medians(rows, size) for name, rows in taken.items() if rows}
    return figures | {name: {"failed": why} for name, why in failed.items()}


async def _measure(contender: Contender, sshd: Sshd, size: int) -> Measured | str:
    argv = contender.argv(sshd, size)
    before, began = os.times(), time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=REPOSITORY,
        env={**os.environ, **contender.environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate()
    wall, after = time.monotonic() - began, os.times()
    if process.returncode:
        return (complaint or output).decode("utf-8", "replace")[-500:]
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.startswith('{"')]
    return Measured(wall, cpu, json.loads(lines[-1]) if lines else {})


def _medians(rows: Sequence[Measured], size: int) -> dict[str, float]:
    figures = {
        "wall_s": statistics.median(row.wall for row in rows),
        "client_cpu_ms_per_host": statistics.median(row.cpu for row in rows) * 1000 / size,
    }
    for name in rows[0].said:
        figures[name] = statistics.median(row.said[name] for row in rows)
    return {name: round(value, 3) for name, value in figures.items()}


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    figures: list[Figure] = []
    for size, both in measured["sizes"].items():
        figures += _compared(size, both["first"], both["second"])
    rss = measured["crowd"]["rss_mib"]
    figures.append(Figure(f"{CROWD:,} hosts in one process: peak RSS", rss, "MiB", "< 1,024 MiB", rss < 1024))
    figures.append(Figure(f"{CROWD:,} hosts: connect + run", measured["crowd"]["wall_s"], "s"))
    return Section(
        "Connect and run on many hosts",
        METHOD,
        tuple(figures),
    )


def _compared(size: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Figure]:
    walls, cpus, seconds = _by("wall_s", first), _by("client_cpu_ms_per_host", first), _by("last", second)
    wall, cpu, again = (each.pop("novafleet") for each in (walls, cpus, seconds))
    fastest = min(walls.values(), default=wall)
    faster = min(seconds.values(), default=0.0) / again
    failed = {**first, **second}.items()
    notes = [f"{name} failed: {each['failed'].strip()[-200:]}" for name, each in failed if "failed" in each]
    return [
        Figure(f"{size} hosts: wall", wall, "s", "<= best peer", wall <= fastest, walls, "; ".join(notes)),
        Figure(f"{size} hosts: client CPU a host", cpu, "ms", "<= 10 ms", cpu <= 10, cpus),
        Figure(f"{size} hosts: second command", again, "s", ">= 10x the best peer", faster >= 10, seconds, SECOND),
    ]


def _by(figure: str, contenders: Mapping[str, Any]) -> dict[str, float]:
    return {name: each[figure] for name, each in contenders.items() if figure in each}


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
