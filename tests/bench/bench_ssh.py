"""Connect, run and close on many hosts, beside peers: one sshd, loopback addresses, one key, rounds interleaved.

``python -m tests.bench.bench_ssh`` prints figures as JSON. Peers are used where they are found on PATH or in the
``bin`` folder named by NOVAFLEET_BENCH_PEERS (parallel-ssh, pyinfra, ansible-core; OpenSSH with xargs is always there).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.sshd import Sshd, running_sshd

SIZES = (100, 200)
ROUNDS = 3
REPOSITORY = Path(__file__).resolve().parents[2]
SSHD = ("MaxStartups 1000", "LogLevel ERROR")
"""Peers do not hold back their logins; a default sshd would drop a part of theirs."""

NOVAFLEET = """
import asyncio, json, sys, time
from pathlib import Path
from novafleet.model.command import Command
from novafleet.model.fleet import Fleet, Host
from novafleet.model.secret import Secret
from novafleet.transport.pool import SshPool

async def main(folder, port, user, count):
    hosts = [
        Host(f"h{n}", f"127.0.{1 + n // 250}.{1 + n % 250}", port=port, user=user, key=f"{folder}/key",
             known_hosts=f"{folder}/known_hosts")
        for n in range(count)
    ]
    async with SshPool(Fleet({}, {}), known_hosts=Path(folder, "own"), passwords=lambda _: Secret.of("")) as pool:
        async def one(host):
            session = await pool.get(host)
            assert (await session.run(Command(("true",)))).ok
        began = time.monotonic()
        await asyncio.gather(*(one(host) for host in hosts))
        middle = time.monotonic()
        await asyncio.gather(*(one(host) for host in hosts))
        print(json.dumps({"second": time.monotonic() - middle, "first": middle - began}))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
"""

PARALLEL_SSH = """
import json, sys, time
from pssh.clients import ParallelSSHClient
folder, port, user, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
hosts = [f"127.0.{1 + n // 250}.{1 + n % 250}" for n in range(count)]
client = ParallelSSHClient(hosts, port=port, user=user, pkey=f"{folder}/key", pool_size=100, allow_agent=False)
def once():
    began = time.monotonic()
    output = client.run_command("true")
    client.join(output)
    assert all(each.exit_code == 0 for each in output)
    return time.monotonic() - began
first = once()
print(json.dumps({"first": first, "second": once()}))
"""


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


def run(sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> dict[str, object]:
    """Medians per size and contender: wall seconds, client CPU in ms a host, seconds of a second command."""
    with tempfile.TemporaryDirectory() as folder, running_sshd(Path(folder), *SSHD) as sshd:
        found = contenders()
        return {str(size): _round_robin(found, sshd, size, rounds) for size in sizes}


def contenders() -> list[Contender]:
    """NovaFleet, OpenSSH, and the peers installed."""
    plain: dict[str, str] = {}
    found = [
        Contender("novafleet", lambda sshd, count: _python(sys.executable, NOVAFLEET, sshd, count), plain),
        Contender("openssh-xargs", _openssh, plain),
    ]
    if interpreter := _peer("python3"):
        found.append(
            Contender("parallel-ssh", lambda sshd, count: _python(interpreter, PARALLEL_SSH, sshd, count), plain)
        )
    if pyinfra := _peer("pyinfra"):
        found.append(Contender("pyinfra", lambda sshd, count: _pyinfra(pyinfra, sshd, count), plain))
    if ansible := _peer("ansible"):
        settings = {"ANSIBLE_SSH_CONTROL_PATH_DIR": "/tmp/nf-bench-cp", "ANSIBLE_HOME": "/tmp/nf-bench-ansible"}
        found.append(Contender("ansible-core", lambda sshd, count: _ansible(ansible, sshd, count), settings))
    return found


def addresses(count: int) -> list[str]:
    """Loopback addresses, one a host."""
    return [f"127.0.{1 + n // 250}.{1 + n % 250}" for n in range(count)]


def _peer(program: str) -> str | None:
    folder = os.environ.get("NOVAFLEET_BENCH_PEERS", "")
    return shutil.which(program, path=folder) if folder else None


def _python(interpreter: str, program: str, sshd: Sshd, count: int) -> Sequence[str]:
    return (interpreter, "-c", program, str(sshd.folder), str(sshd.port), sshd.host().user, str(count))


def _options(sshd: Sshd) -> tuple[str, ...]:
    return ("-i", str(sshd.key), "-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "IdentitiesOnly=yes")


def _openssh(sshd: Sshd, count: int) -> Sequence[str]:
    listed = sshd.folder / "addresses"
    listed.write_text("\n".join(addresses(count)))
    options = (*_options(sshd), "-o", "BatchMode=yes", "-p", str(sshd.port), "-l", sshd.host().user)
    return ("xargs", "-a", str(listed), "-P", "64", "-I", "{}", "ssh", "-F", "none", *options, "{}", "true")


def _pyinfra(program: str, sshd: Sshd, count: int) -> Sequence[str]:
    data = {"ssh_port": sshd.port, "ssh_user": sshd.host().user, "ssh_key": str(sshd.key)}
    data |= {"ssh_known_hosts_file": str(sshd.known_hosts)}
    inventory = sshd.folder / "pyinfra_hosts.py"
    inventory.write_text(f"hosts = {[(address, data) for address in addresses(count)]!r}\n")
    return (program, "-y", str(inventory), "exec", "--", "true")


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
    last = output.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return Measured(wall, cpu, json.loads(last) if last.startswith('{"') else {})


def _medians(rows: Sequence[Measured], size: int) -> dict[str, float]:
    figures = {
        "wall_s": statistics.median(row.wall for row in rows),
        "client_cpu_ms_per_host": statistics.median(row.cpu for row in rows) * 1000 / size,
    }
    for name in rows[0].said:
        figures[f"{name}_command_s"] = statistics.median(row.said[name] for row in rows)
    return {name: round(value, 3) for name, value in figures.items()}


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
